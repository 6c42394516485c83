"""What looking at every copy costs: the tracker of duplicate lag, and the trace.  Part of `collect`."""

import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import trio
from harness import Result, at_most, note
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.duplicate_lag import LagTracker
from leanmesh.metrics.duplicate_lag_source import LagSource
from leanmesh.metrics.params import LagParams
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.service.params import TraceParams
from leanmesh.service.trace import Trace
from leanmesh.service.trace_file import TraceFile

sys.path.append(str(Path(__file__).parent.parent))
from simulator.network import peer_id

MESSAGES = 10_000
REPEATS = 9
MEMBERS = 9
TOPIC = "bench"
RATE_PER_S = 1000
# Copies of one message that come late, and peers that are told or tell IDONTWANT.
DUPLICATES, DECLINED = 5, 8


def run() -> Iterator[Result]:
    """The tracker, its page, and the trace."""
    nothing = _observe_ns(_Nothing())
    for rate, aim in ((1, 700.0), (64, 200.0)):
        tracker = LagTracker(LagParams(is_on=True, sample_rate=rate))
        first, late = (spent - free for spent, free in zip(_observe_ns(tracker), nothing, strict=True))
        against = f"sample rate {rate}; a first copy takes {first:.0f} ns"
        yield at_most(f"lag.observe.{rate}", late, "ns", aim, against)
    for peers, has_pairs in ((12, False), (33, True)):
        milliseconds = trio.run(_page_ms, peers, has_pairs)
        what = "all their pairs" if has_pairs else "winners and losers"
        yield note(f"lag.page.{peers}_peers", milliseconds, "ms", f"one refresh with {what}")
    for rate in (1, 64):
        spent_us = trio.run(_trace_us, rate)
        yield at_most(
            f"trace.{rate}",
            spent_us * RATE_PER_S / 1e6 * 100,
            "%",
            10.0,
            f"of a core at {RATE_PER_S} messages/s with {DUPLICATES} duplicates and {2 * DECLINED} IDONTWANT "
            f"each; sample rate {rate}, {spent_us:.1f} us per message",
        )


class _Nothing:
    def peer_added(self, *arguments: object) -> None:
        pass

    first_seen = duplicate = peer_added


def _observe_ns(tracker: LagTracker | _Nothing) -> tuple[float, float]:
    """CPU time of a first copy and of a late one, the least of all repeats."""
    peers = [peer_id(number) for number in range(MEMBERS)]
    for peer in peers:
        tracker.peer_added(peer, "/meshsub/1.2.0", 0.0)
    least = [float("inf")] * 2
    for repeat in range(REPEATS):
        ids = [os.urandom(20) for _ in range(MESSAGES)]
        for message_id in ids:
            # The tables of the router have asked for it by then.
            hash(message_id)
        for kind, call in enumerate((tracker.first_seen, tracker.duplicate)):
            spent = _cpu_s(partial(_each, call, peers[kind::2], ids, 10.0 * repeat + 0.001 * kind))
            least[kind] = min(least[kind], spent / MESSAGES * 1e9)
    return least[0], least[1]


def _each(call: Callable[..., None], peers: list, ids: list[bytes], now_s: float) -> None:
    count = len(peers)
    for number, message_id in enumerate(ids):
        call(peers[number % count], TOPIC, message_id, 1024, now_s)


def _cpu_s(work: Callable[[], object]) -> float:
    gc.collect()
    gc.disable()
    began_s = time.process_time()
    work()
    spent = time.process_time() - began_s
    gc.enable()
    return spent


async def _page_ms(peers: int, has_pairs: bool) -> float:
    tracker = LagTracker(LagParams(is_on=True, has_pairs=has_pairs))
    members = [peer_id(number) for number in range(peers)]
    for member in members:
        tracker.peer_added(member, "/meshsub/1.2.0", 0.0)
    for number, winner in enumerate(members):
        tracker.first_seen(winner, TOPIC, b"%d" % number, 1024, 1.0)
        for loser in members:
            tracker.duplicate(loser, TOPIC, b"%d" % number, 1024, 1.002)
    snapshotter = Snapshotter()
    source = LagSource({0: tracker}, has_pairs)
    snapshotter.add_source("duplicate_lag", source.families, source.read)
    spent: list[float] = []
    for _ in range(REPEATS):
        await trio.sleep_until(trio.current_time() + snapshotter.params.refresh_interval_min_s)
        began_s = time.process_time()
        await snapshotter.refresh()
        spent.append(time.process_time() - began_s)
    return min(spent) * 1e3


async def _trace_us(rate: int) -> float:
    """CPU time of all threads per message, lines written and all."""
    peers = [peer_id(number) for number in range(MEMBERS)]
    with tempfile.TemporaryDirectory() as folder:
        file = TraceFile(
            Path(folder) / "trace",
            TraceParams(queue_limit_bytes=1 << 30, sample_rate=rate),
            Cells.anonymous(),
        )
        trace = Trace(peers[0], file.put, rate)
        gc.collect()
        began_s = time.process_time()
        async with trio.open_nursery() as nursery:
            await nursery.start(file.run)
            for number in range(MESSAGES):
                message_id, now_s = number.to_bytes(20, "big"), number / RATE_PER_S
                trace.accepted(peers[1], TOPIC, message_id, 1024, now_s)
                trace.idontwant_sent(peers[1 : 1 + DECLINED], TOPIC, message_id, now_s)
                for other in range(DUPLICATES):
                    trace.duplicate(peers[2 + other], TOPIC, message_id, 1024, now_s)
                for other in range(DECLINED):
                    trace.idontwant_received(peers[1 + other], (message_id,), now_s)
                if number % 100 == 0:
                    await trio.sleep(0)
            await file.aclose()
        return (time.process_time() - began_s) / MESSAGES * 1e6
