"""One worker as a process: what it inherits, and a machine that is out of descriptors."""

import gc
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from leanmesh.errors import LocalError
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


def open_descriptors() -> set[int]:
    gc.collect()  # Others' mappings have descriptors of their own until they are collected.
    names = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    # Without the one that the listing itself had.
    return {name for name in names if Path(f"/proc/self/fd/{name}").is_symlink()}


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """So many may be opened beside those that are open now."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open("/dev/null", os.O_RDONLY)]
    # The limit is above the highest number, so what is free below it is taken.
    highest = max(open_descriptors())
    while held[-1] < highest:
        held.append(os.open("/dev/null", os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (held[-1] + 1 + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in held:
            os.close(descriptor)


async def test_the_end_of_a_worker_is_seen_by_who_has_no_descriptor_left():
    process = WorkerProcess.start([sys.executable, "-c", "import time; time.sleep(600)"])
    with descriptors_left(0):
        with pytest.raises(OSError, match="Too many open files"):
            os.open("/dev/null", os.O_RDONLY)
        assert process.cpu_s == 0.0
        process.kill()
        with trio.fail_after(30):
            assert await process.wait() == -9
        await process.aclose()


@pytest.mark.parametrize("left", range(8))
def test_a_worker_that_cannot_be_started_leaves_nothing(left: int):
    before = open_descriptors()
    with descriptors_left(left), pytest.raises(LocalError, match="a worker cannot be started with /none: "):
        WorkerProcess.start(["/none"])
    assert open_descriptors() == before
