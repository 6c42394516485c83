"""Many leanmesh nodes in one process, unsigned over loopback TCP: what a delivery and an idle node cost.

    python crowd.py NODES

Prints one JSON object.  A process of its own, so that nothing else is in its CPU time and its memory.
"""

import gc
import json
import os
import random
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import attrs
import leanmesh
import trio

TOPIC = "crowd"
SIZE_BYTES = 1024
# Each dials so many of those before it, as the peers of a devnet do.
DIALS = 8
IDLE_S = 3.0
PACED = {50: 6.0, 500: 4.0}
# Acceptance case 16 of the metrics: 40 scrapes in ten seconds of saturation.
SATURATED_S = 10.0
SCRAPES = 40
BATCH = 32
# Deliveries that may be under way: enough to keep everyone busy, little enough that no outbox is full.
WINDOW = 8192
STALL_S = 5.0
MESH_TIMEOUT_S = 30.0


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def memory_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@attrs.define
class Crowd:
    """The running nodes, and what was delivered to them."""

    node: leanmesh.Node
    size: int
    expected: int = 0
    delivered: int = 0
    latencies_s: list[float] = attrs.Factory(list)
    progress: trio.Event = attrs.Factory(trio.Event)
    numbers: "count[int]" = attrs.Factory(count)

    async def consume(self, network_id: int) -> None:
        """Count what one node gets."""
        async with self.node.subscribe(
            TOPIC, overflow=leanmesh.Overflow.WAIT, limit=WINDOW, network_id=network_id
        ) as messages:
            while True:
                batch = await messages.receive_batch()
                now_ns = time.perf_counter_ns()
                self.delivered += len(batch)
                self.latencies_s += [
                    (now_ns - int.from_bytes(message.data[8:16], "big")) / 1e9 for message in batch
                ]
                if self.expected - self.delivered <= WINDOW:
                    self.progress.set()

    def payload(self) -> bytes:
        """A message like no other, with the time in it."""
        header = next(self.numbers).to_bytes(8, "big") + time.perf_counter_ns().to_bytes(8, "big")
        return header + bytes(SIZE_BYTES - len(header))

    async def publish(self, network_id: int, times: int) -> None:
        """Publish at one node."""
        self.expected += times * (self.size - 1)
        batch = [self.payload() for _ in range(times)]
        await self.node.publish_batch(TOPIC, batch, network_id=network_id)

    async def settle(self, limit: int = 0) -> None:
        """Wait until at most so many deliveries are under way; what does not come in time is lost."""
        with trio.move_on_after(STALL_S):
            while self.expected - self.delivered > limit:
                self.progress = trio.Event()
                await self.progress.wait()

    async def measure(self, work: Callable[[], object]) -> dict[str, float]:
        """CPU and latency per delivery of some work."""
        await self.settle()
        self.expected, self.delivered = 0, 0
        self.latencies_s.clear()
        cpu_before_s, began_s = cpu_s(), trio.current_time()
        await work()
        await self.settle()
        spent_s = cpu_s() - cpu_before_s
        ordered = sorted(self.latencies_s)
        return {
            "cpu_us": spent_s / self.delivered * 1e6,
            "per_s": self.delivered / (trio.current_time() - began_s),
            "p50_us": ordered[len(ordered) // 2] * 1e6,
            "p99_us": ordered[int(len(ordered) * 0.99)] * 1e6,
            "missing": self.expected - self.delivered,
        }

    async def paced(self, rate_per_s: int, seconds: float, choices: random.Random) -> None:
        """Publish at nodes in random turn."""
        began_s = trio.current_time()
        for number in range(int(rate_per_s * seconds)):
            await trio.sleep_until(began_s + number / rate_per_s)
            await self.publish(choices.randrange(self.size), 1)

    async def saturated(self) -> None:
        """Publish at all nodes in turn, as fast as it is delivered."""
        end_s = trio.current_time() + SATURATED_S
        while trio.current_time() < end_s:
            for network_id in range(self.size):
                await self.publish(network_id, BATCH)
                await self.settle(WINDOW)

    async def gauge_ages_s(self) -> list[float]:
        """How old the mesh gauge is on each of some pages that are asked for while work goes on."""
        ages_s: list[float] = []
        for _ in range(SCRAPES):
            await trio.sleep(SATURATED_S / SCRAPES)
            await self.node.snapshotter.page(names=["lean_gossip_mesh_peers"])
            ages_s.append(trio.current_time() - self.node.snapshotter.current.taken_at_s)
        return ages_s


@asynccontextmanager
async def crowd(size: int) -> AsyncIterator[Crowd]:
    """Nodes that listen and subscribe, and know nobody."""
    networks = tuple(
        leanmesh.NetworkParams(
            network_id=network_id, listen=("/ip4/127.0.0.1/tcp/0",), topics=(TOPIC,), signing="none"
        )
        for network_id in range(size)
    )
    async with leanmesh.open_node(leanmesh.Settings(network=networks), seed=1) as node:
        yield Crowd(node, size)


async def main(size: int) -> None:
    choices = random.Random(1)
    figures: dict[str, object] = {}
    async with crowd(size) as running, trio.open_nursery() as nursery:
        node = running.node
        began_s = trio.current_time()
        async with trio.open_nursery() as dials:
            for network_id in range(size):
                for other in choices.sample(range(network_id), min(DIALS, network_id)):
                    (address, *_) = node.network(other).listen_addresses

                    async def dial(network_id: int = network_id, address: object = address) -> None:
                        await node.connect(address, network_id=network_id)

                    dials.start_soon(dial)
        wanted = min(leanmesh.Settings().gossip.mesh_low, size - 1)
        for network_id in range(size):
            await node.wait_for_mesh(TOPIC, wanted, MESH_TIMEOUT_S, network_id=network_id)
        figures["mesh_s"] = trio.current_time() - began_s
        await trio.sleep(IDLE_S)
        figures["memory_bytes"] = memory_bytes()
        for network_id in range(size):
            nursery.start_soon(running.consume, network_id)
        for rate_per_s, seconds in PACED.items():

            async def pace(rate_per_s: int = rate_per_s, seconds: float = seconds) -> None:
                await running.paced(rate_per_s, seconds, choices)

            figures[f"at_{rate_per_s}"] = await running.measure(pace)

        async def scrape() -> None:
            figures["gauge_age_p99_s"] = sorted(await running.gauge_ages_s())[int(SCRAPES * 0.99)]

        async with trio.open_nursery() as saturation:
            saturation.start_soon(scrape)
            figures["saturated"] = await running.measure(running.saturated)
        nursery.cancel_scope.cancel()
    print(json.dumps(figures))


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
