"""The NATS sink against a real server on this machine: cost, rate, and what the loop feels of it.

Messages are put into the sink's queue as a router puts them; CPU is that of
this process, the server's own not counted.  Lateness is that of a task that asks
to be woken every millisecond, with the sink and without it in turns.
"""

import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import trio
from harness import Result, at_least, at_most, note, percentile
from leanmesh.bridge.nats_sink import NatsSink
from leanmesh.bridge.params import NatsParams
from leanmesh.service import Overflow, ReceivedMessage, SinkBooks, SinkQueue

sys.path.append(str(Path(__file__).parents[1]))
from nats_server import COMMAND, NatsServer

COUNT = 50_000
SIZE_BYTES = 1024
ROUNDS = 3
WINDOW_S = 4.0
TICK_S = 0.001
# Per millisecond: 2,000 a second is what a busy mesh delivers, 10,000 what the sink must carry.
PACES = {"at_2000": 2, "at_10000": 10}


@attrs.frozen
class Lateness:
    """What a waiting task felt, in milliseconds."""

    p50_ms: float
    p99_ms: float


def run() -> Iterator[Result]:
    """Saturated, paced, and with the server away."""
    if COMMAND is None:
        yield note("skipped", 0, "", "there is no nats-server here")
        return
    # Servers are killed here on purpose.
    logging.getLogger("leanmesh").setLevel(logging.ERROR)
    yield from trio.run(_all)
    yield note("load", os.getloadavg()[0], "running tasks", f"on {os.cpu_count()} cores")


async def _all() -> list[Result]:
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer(Path(folder) / "nats")
        await server.start()
        try:
            return [*await _saturated(server), *await _paced(server), *await _away(server)]
        finally:
            await server.kill()


def _queue() -> SinkQueue:
    return SinkQueue("bench", 65536, 1 << 26, Overflow.DROP_OLDEST, None, SinkBooks())


def _params(server: NatsServer) -> NatsParams:
    return NatsParams(url=server.url, create_stream=True)


def _put(queue: SinkQueue, count: int) -> None:
    now_s = trio.current_time()
    data = os.urandom(SIZE_BYTES)
    for _ in range(count):
        queue.put(ReceivedMessage("bench", data, os.urandom(20), None, None, now_s))


async def _saturated(server: NatsServer) -> list[Result]:
    rates: list[float] = []
    costs_us: list[float] = []
    for _ in range(ROUNDS):
        queue = _queue()
        _put(queue, COUNT)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        async with trio.open_nursery() as nursery:
            await nursery.start(NatsSink(_params(server)), queue)
            queue.close()
        rates.append(COUNT / (time.perf_counter() - began_s))
        costs_us.append((time.process_time() - began_cpu_s) / COUNT * 1e6)
        assert queue.books.outcomes["acked"] == COUNT, queue.books
    against = f"{COUNT} messages of 1 KiB, acknowledged, stored in a file"
    return [
        at_most("cpu", statistics.median(costs_us), "us per message", 60.0, against),
        at_least("rate", statistics.median(rates), "messages/s", 10_000.0, against),
    ]


async def _paced(server: NatsServer) -> list[Result]:
    """Lateness and CPU at a given rate; the same feed without a sink is what it is compared with."""
    results: list[Result] = []
    for name, per_tick in PACES.items():
        rounds = [(await _feel(server, per_tick), await _feel(None, per_tick)) for _ in range(ROUNDS)]
        added_ms = statistics.median(with_sink.p99_ms - without.p99_ms for with_sink, without in rounds)
        against = f"{per_tick * 1000} messages/s of 1 KiB, with the sink less without"
        results.append(at_most(f"{name}.lateness_added_p99", added_ms, "ms", 3.0, against))
        without_ms = statistics.median(without.p99_ms for _, without in rounds)
        results.append(note(f"{name}.lateness_without_p99", without_ms, "ms"))
        p50_ms = statistics.median(with_sink.p50_ms - without.p50_ms for with_sink, without in rounds)
        results.append(note(f"{name}.lateness_added_p50", p50_ms, "ms"))
    return results


async def _away(server: NatsServer) -> list[Result]:
    """The server goes away while messages come: what the loop feels of that."""
    rounds: list[tuple[Lateness, Lateness]] = []
    for _ in range(ROUNDS):
        rounds.append(
            (await _feel(server, PACES["at_2000"], is_killed=True), await _feel(None, PACES["at_2000"]))
        )
        await server.start()
    added_ms = statistics.median(with_sink.p99_ms - without.p99_ms for with_sink, without in rounds)
    return [at_most("away.lateness_added_p99", added_ms, "ms", 3.0, "2000 messages/s, the server killed")]


async def _feel(server: NatsServer | None, per_tick: int, *, is_killed: bool = False) -> Lateness:
    """Feed for a while; without a server nobody takes anything out of the queue."""
    queue = _queue()
    late_ms: list[float] = []
    async with trio.open_nursery() as nursery:
        if server is not None:
            await nursery.start(NatsSink(_params(server)), queue)
            if is_killed:
                await server.kill()
        end_s = trio.current_time() + WINDOW_S
        due_s = trio.current_time()
        while due_s < end_s:
            due_s = max(due_s + TICK_S, trio.current_time())
            await trio.sleep_until(due_s)
            late_ms.append((trio.current_time() - due_s) * 1e3)
            _put(queue, per_tick)
        queue.close()
        if is_killed:
            nursery.cancel_scope.cancel()
    return Lateness(percentile(late_ms, 0.5), percentile(late_ms, 0.99))
