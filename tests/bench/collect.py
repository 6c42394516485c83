"""What measuring the work costs: the core's part alone, and whole nodes as far as neighbours let see.

Measuring adds a fraction of a microsecond per message; whole nodes differ by
more than that from run to run.  So the share that has an aim is what the core
takes longer with it, of the CPU time that a whole node takes without, in one run.
"""

import gc
import statistics
import time
from collections.abc import Iterable, Iterator
from random import Random

import observing
import trio
from contestants import LEANMESH
from gossip import DRAIN_BYTES
from harness import Result, at_most, note
from leanmesh.gossip import entries
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.router import Router
from leanmesh.gossip.rpc import Control, Rpc, Subscription
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.collector import Collector
from leanmesh.metrics.gossip_metrics import GossipMetrics
from leanmesh.metrics.params import CollectorParams
from leanmesh.metrics.topic_classes import TopicClasses
from leanmesh.service.journal import combined
from leanmesh.service.metering import WorkMeter
from relay import relay
from simulator.network import peer_id

TOPIC = "bench"
MEMBERS = 9
MESSAGES = 6_000
REPEATS = 9
ROUNDS = 4
# A busy peer fills a chunk of 64 KiB; a quiet one sends message by message.
PER_CHUNK = (60, 1)


def run() -> Iterator[Result]:
    """The core with and without, then whole nodes with and without."""
    added: dict[tuple[str, int], float] = {}
    for per_chunk in PER_CHUNK:
        spent = trio.run(_core_us, per_chunk)
        for kind in ("first", "duplicate"):
            off = spent[kind, False]
            added[kind, per_chunk] = spent[kind, True] - off
            against = f"beyond {off:.2f} us of the core, {per_chunk} to a chunk"
            yield note(f"metering.{kind}.{per_chunk}", added[kind, per_chunk], "us", against)
    node_us: dict[bool, list[float]] = {True: [], False: []}
    turns = ((True, ()), (False, ("--unmetered",)))
    for number in range(ROUNDS):
        # Who is first in a round has it harder, or easier: each is as often.
        for is_metered, flags in turns if number % 2 else reversed(turns):
            node_us[is_metered].append(1e6 / trio.run(relay, LEANMESH, 0, *flags).per_cpu_s)
    whole = statistics.median(node_us[False])
    share = 100 * added["first", PER_CHUNK[0]] / whole
    yield at_most(
        "metering.share", share, "%", 3.0, f"of a node's {whole:.1f} us, 1 KiB to 8 peers, saturated"
    )
    difference = statistics.median(node_us[True]) / whole - 1
    yield note("metering.nodes", 100 * difference, "%", "whole nodes in turns: mostly noise")
    yield from observing.run()


async def _core_us(per_chunk: int) -> dict[tuple[str, bool], float]:
    """CPU time per message, the least of all repeats: (kind, is_metered) -> microseconds."""
    fields = [
        entries.message(TOPIC.encode(), number.to_bytes(8, "big") + bytes(1016)) for number in range(MESSAGES)
    ]
    frames = [b"".join(fields[start : start + per_chunk]) for start in range(0, MESSAGES, per_chunk)]
    least: dict[tuple[str, bool], float] = {}
    for _ in range(REPEATS):
        for is_metered in (True, False):
            side = _Side(is_metered)
            for kind, sender in (("first", 1), ("duplicate", 2)):
                gc.collect()
                gc.disable()
                began_s = time.process_time()
                side.receive(sender, frames)
                spent = (time.process_time() - began_s) / MESSAGES * 1e6
                gc.enable()
                least[kind, is_metered] = min(spent, least.get((kind, is_metered), spent))
    return least


class _Side:
    """A router with nine peers in its mesh and its metrics, measured or not."""

    def __init__(self, is_metered: bool) -> None:
        params = CollectorParams()
        self.collector = Collector(params)
        self.metrics = GossipMetrics(Cells.anonymous(), "0")
        self.meter = WorkMeter(self.collector, TopicClasses(params)) if is_metered else None
        observers = (self.metrics,) if self.meter is None else (self.metrics, self.meter)
        self.router = router = Router(
            peer_id(0),
            GossipParams(idontwant_threshold_bytes=1 << 20),
            Random(1),
            now_s=0.0,
            deliver=lambda *delivery: None,
            observer=combined(*observers),
        )
        router.subscribe(TOPIC, 0.0)
        for number in range(1, MEMBERS + 1):
            peer = peer_id(number)
            router.add_peer(peer, "/meshsub/1.2.0", "", is_outbound=bool(number % 2), now_s=0.0)
            router.on_rpc(peer, Rpc([Subscription(True, TOPIC)], [], None), 0.0)
            router.on_rpc(peer, Rpc([], [], Control(graft=[TOPIC])), 0.0)
        self._drain()

    def _drain(self) -> None:
        for outbox in self.router.take_ready().values():
            outbox.drain(DRAIN_BYTES)

    def receive(self, sender: int, frames: Iterable[bytes]) -> None:
        """What a reader and the writers do, each frame being a chunk."""
        peer, meter, on_frame = peer_id(sender), self.meter, self.router.on_frame
        for frame in frames:
            if meter is None:
                on_frame(peer, frame, 1.0)
            else:
                meter.handle(peer, (frame,), on_frame, 1.0, self.metrics.take_tally)
            self._drain()
