"""How long the networks of a worker are away: killed, and recycled.  Part of the benchmark `workers`."""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

import harness
import trio
from harness import Result
from leanmesh.run import open_node
from leanmesh.service.node import Node
from leanmesh.service.params import NetworkParams
from leanmesh.settings import Settings

REPEATS = 5
WAIT_S = 60.0
SETTINGS = """
[web]
listen = "127.0.0.1:0"
# Each of the repeats is a first end, with the shortest back-off.
[workers]
stable_after_s = 0.0
[[network]]
network_id = 0
listen = ["/ip4/127.0.0.1/tcp/0"]
topics = ["news"]
peers = ["{peer}"]
[[network]]
network_id = 1
listen = ["/ip4/127.0.0.1/tcp/0"]
topics = ["news"]
peers = ["{peer}"]
"""


def measured() -> Iterator[Result]:
    """From the end of a worker to its network in another node's mesh again."""
    with tempfile.TemporaryDirectory() as folder:
        yield from trio.run(measure, Path(folder) / "node.toml")


async def measure(config: Path) -> list[Result]:
    network = NetworkParams(listen=("/ip4/127.0.0.1/tcp/0",), topics=("news",))
    async with open_node(Settings(network=(network,))) as node:
        config.write_text(SETTINGS.format(peer=node.network().listen_addresses[0]))
        command = [
            *(sys.executable, "-m", "leanmesh", "run", "--config", str(config)),
            *("--workers", "2", "--log-format", "json"),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                lines = map(json.loads, process.stdout)
                ready = await trio.to_thread.run_sync(
                    lambda: next(line for line in lines if line["event"] == "ready")
                )
                await node.wait_for_mesh("news", 2, WAIT_S)
                return await repeat(node, ready["metrics"].removesuffix("/metrics"))
            finally:
                process.terminate()
                # To the end: its workers say how they stop, and nobody else reads it.
                process.communicate(timeout=WAIT_S)


async def repeat(node: Node, base: str) -> list[Result]:
    recycle = partial(ask, base, "/api/recycle?worker=0", "POST")
    killed = [await away_s(node, partial(kill, base)) for _ in range(REPEATS)]
    recycled = [await away_s(node, recycle) for _ in range(REPEATS)]
    against = f"another node's mesh, loopback, median of {REPEATS}"
    return [
        harness.note("mesh_after_sigkill_s", statistics.median(killed), "s", against),
        harness.note("mesh_after_recycling_s", statistics.median(recycled), "s", against),
    ]


async def away_s(node: Node, end) -> float:
    """Seconds from the moment in which our mesh loses a peer until it is back."""
    gossip = node.network().live.gossip
    await trio.to_thread.run_sync(end)
    with trio.fail_after(WAIT_S):
        await gossip.wait_until(lambda: len(node.mesh("news")) < 2)
        lost_s = trio.current_time()
        await gossip.wait_until(lambda: len(node.mesh("news")) == 2)
    return trio.current_time() - lost_s


def kill(base: str) -> None:
    os.kill(json.loads(ask(base, "/api/workers"))["workers"][0]["pid"], signal.SIGKILL)


def ask(base: str, path: str, method: str = "GET") -> bytes:
    with urlopen(Request(base + path, method=method), timeout=10) as answer:
        return answer.read()
