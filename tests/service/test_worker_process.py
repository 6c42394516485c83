"""One worker as a process: what it inherits."""

import sys
from pathlib import Path

import trio
from leanmesh.service.worker_process import WorkerProcess

SAY_SEED = "import os, sys; open(sys.argv[1], 'w').write(os.environ['PYTHONHASHSEED'])"


async def test_workers_hash_with_one_key_and_so_choose_the_same_sample(tmp_path: Path):
    seeds: list[str] = []
    for number in range(2):
        path = tmp_path / str(number)
        process = WorkerProcess.start([sys.executable, "-c", SAY_SEED, str(path)])
        try:
            with trio.fail_after(30):
                assert await process.wait() == 0
        finally:
            await process.aclose()
        seeds.append(path.read_text())
    assert seeds[0] == seeds[1]
    assert int(seeds[0]) > 0
