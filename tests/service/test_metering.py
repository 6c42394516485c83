"""The work meter: what is in a chunk shares its time to the nanosecond; nothing else changes."""

import random
from collections import Counter
from functools import partial

import pytest
import trio
import trio.testing
from leanmesh.gossip import entries
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.router import Router
from leanmesh.gossip.rpc import Control, IHave, Rpc, Subscription
from leanmesh.gossip.scan import RpcRefused
from leanmesh.gossip.wire import encode
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.collector import Collector
from leanmesh.metrics.gossip_metrics import GossipMetrics
from leanmesh.metrics.params import CollectorParams
from leanmesh.metrics.topic_classes import TopicClasses
from leanmesh.service import metering
from leanmesh.service.journal import combined
from leanmesh.service.metering import WorkMeter
from simulator.network import peer_id

BLOCKS, VOTES = "blocks", "votes"


class Side:
    """A router with three peers that take two topics, metered or not."""

    def __init__(self, *, is_metered: bool) -> None:
        self.cells = Cells.anonymous()
        self.metrics = GossipMetrics(self.cells, "0")
        self.collector = Collector()
        self.meter = WorkMeter(self.collector, TopicClasses(CollectorParams())) if is_metered else None
        observers = [self.metrics] + ([self.meter] if self.meter else [])
        if is_metered:
            self.metrics.take_tally()
        self.delivered = []
        self.router = Router(
            peer_id(0),
            GossipParams(),
            random.Random(1),
            now_s=0.0,
            deliver=lambda message, *rest: self.delivered.append((message.data, rest)),
            observer=combined(*observers),
        )
        self.outboxes: list[tuple[bytes, list[bytes]]] = []
        for topic in (BLOCKS, VOTES):
            self.router.subscribe(topic, 0.0)
        for number in (1, 2, 3):
            self.router.add_peer(peer_id(number), "/meshsub/1.2.0", "", is_outbound=True, now_s=0.0)
            subscriptions = [Subscription(True, topic) for topic in (BLOCKS, VOTES)]
            self.router.on_rpc(peer_id(number), Rpc(subscriptions, [], None), 0.0)
            self.router.on_rpc(peer_id(number), Rpc([], [], Control(graft=[BLOCKS, VOTES])), 0.0)
        self.drain()

    def drain(self) -> None:
        for peer, outbox in self.router.take_ready().items():
            self.outboxes.append((peer, outbox.drain(1 << 30)))

    def chunk(self, number: int, *frames: bytes, now_s: float = 1.0) -> None:
        """What a reader does with one chunk."""
        peer, on_frame = peer_id(number), self.router.on_frame
        if self.meter is None:
            for frame in frames:
                on_frame(peer, frame, now_s)
        else:
            self.meter.handle(peer, frames, on_frame, now_s, self.metrics.take_tally)
        self.drain()


def messages(topic: str, *names: str) -> bytes:
    return b"".join(entries.message(topic.encode(), name.encode()) for name in names)


def control(**what) -> bytes:
    return encode(Rpc([], [], Control(**what)))


@pytest.fixture
def clock(monkeypatch) -> list[int]:
    """What the clock shows at each look, in nanoseconds."""
    looks: list[int] = []
    monkeypatch.setattr(metering, "perf_counter_ns", lambda: looks.pop(0))
    return looks


def figures(side: Side) -> dict[tuple[str, str, str], tuple[int, int]]:
    return {
        tuple(key): (work.count, work.duration_ns)
        for key, work in side.collector.figures().items()
        if key.source != "unknown"
    }


async def test_the_time_of_a_chunk_is_shared_evenly_and_none_of_it_is_lost(clock):
    side = Side(is_metered=True)
    clock += [1000, 1010]

    side.chunk(1, messages(BLOCKS, "a", "b"), messages(BLOCKS, "a"), messages(VOTES, "x"))

    assert figures(side) == {
        ("gossip", BLOCKS, "first"): (2, 5),
        ("gossip", BLOCKS, "duplicate"): (1, 2),
        ("gossip", VOTES, "first"): (1, 3),
    }


async def test_what_is_refused_and_what_is_asked_for_have_their_share(clock):
    side = Side(is_metered=True)
    clock += [0, 0, 0, 500, 0, 100]
    side.chunk(1, messages(BLOCKS, "a"))
    (published,) = side.router._exchange.history.messages

    side.chunk(
        2,
        messages("made up by a peer", "z"),
        control(ihave=[IHave(BLOCKS, [b"1" * 32])]),
        control(ihave=[IHave("made up too", [b"2" * 32])]),
        control(iwant=[published]),
    )
    side.chunk(3, control(prune=[]), encode(Rpc([Subscription(True, "else")], [], None)))

    assert figures(side) == {
        ("gossip", BLOCKS, "first"): (1, 0),
        ("gossip", "other", "refuse"): (1, 100),
        ("gossip_recovery", "none", "ihave"): (2, 200),
        ("gossip_recovery", "none", "iwant"): (1, 100),
        ("gossip_recovery", BLOCKS, "answer"): (1, 100),
        ("gossip", "none", "control"): (1, 100),
    }


async def test_a_chunk_in_which_a_frame_is_refused_counts_what_came_before_it(clock):
    side = Side(is_metered=True)
    clock += [0, 70, 0, 30]

    with pytest.raises(RpcRefused):
        side.chunk(1, messages(BLOCKS, "a"), b"\xff\xff\xff", messages(BLOCKS, "b"))
    side.chunk(1, messages(BLOCKS, "c"))

    assert figures(side) == {("gossip", BLOCKS, "first"): (2, 100)}


async def test_what_is_told_outside_a_chunk_is_no_part_of_the_next_one(clock):
    side = Side(is_metered=True)
    side.meter.ihave_received(peer_id(1), BLOCKS, 5, 1.0)
    clock += [0, 10]

    side.chunk(1, messages(BLOCKS, "a"))

    assert figures(side) == {("gossip", BLOCKS, "first"): (1, 10)}


def test_metered_or_not_the_same_goes_out_is_delivered_and_is_counted():
    async def run() -> None:
        sides = [Side(is_metered=True), Side(is_metered=False)]
        generator = random.Random(5)
        for number in range(200):
            peer = generator.randint(1, 3)
            topic = generator.choice([BLOCKS, VOTES, "made up"])
            names = [str(generator.randint(0, 60)) for _ in range(generator.randint(0, 5))]
            for side in sides:
                side.chunk(peer, messages(topic, *names), now_s=1.0 + number / 100)
                if number % 50 == 0:
                    side.router.heartbeat(1.0 + number / 100)
                    side.drain()
        metered, plain = sides
        assert metered.outboxes == plain.outboxes
        assert metered.delivered == plain.delivered
        copies = [side.cells.copy() for side in sides]
        assert copies[0].words.tobytes() == copies[1].words.tobytes()
        done = Counter({key[2]: count for key, (count, _) in figures(metered).items()})
        assert done["first"] + done["duplicate"] + done["refuse"] > 0
        total = sum(count for (source, _, op), (count, _) in figures(metered).items() if op != "control")
        # Every copy is one of the three.
        assert total == metered.metrics.received
        assert figures(plain) == {}

    trio.run(run)


async def test_what_is_timed_alone_is_counted_also_when_it_raises_or_is_cancelled(clock):
    side = Side(is_metered=True)
    meter = side.meter
    clock += [0, 1, 10, 12, 20, 23]

    def fail() -> None:
        raise ValueError("no")

    assert meter.timed(meter.publishing, BLOCKS, "publish", int, "5") == 5
    with pytest.raises(ValueError, match="no"):
        meter.timed(meter.publishing, BLOCKS, "publish", fail)
    with trio.move_on_after(0):
        await meter.awaited(meter.validation, BLOCKS, "async", trio.sleep(1))

    assert figures(side) == {
        ("publish", BLOCKS, "publish"): (2, 3),
        ("validation", BLOCKS, "async"): (1, 3),
    }


async def test_a_batch_is_timed_whole_and_one_that_fails_counts_what_it_did_and_the_failure(clock):
    side = Side(is_metered=True)
    meter = side.meter
    clock += [0, 6, 10, 17, 20, 20]
    done: list[str] = []

    def publish(names: str) -> None:
        for name in names:
            if name == "x":
                raise ValueError("refused")
            done.append(name)

    meter.timed_several(meter.publishing, BLOCKS, "publish", partial(publish, "abc"), done)
    done.clear()
    with pytest.raises(ValueError, match="refused"):
        meter.timed_several(meter.publishing, BLOCKS, "publish", partial(publish, "abxc"), done)
    done.clear()
    meter.timed_several(meter.publishing, BLOCKS, "publish", partial(publish, ""), done)

    assert figures(side) == {("publish", BLOCKS, "publish"): (6, 13)}


async def test_a_thread_that_nobody_waits_for_any_more_is_counted_when_it_ends():
    side = Side(is_metered=True)
    release, ended = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def validate() -> None:
        trio.from_thread.run(release.wait, trio_token=token)

    def work() -> None:
        side.meter.for_thread(BLOCKS, validate)()
        trio.from_thread.run_sync(ended.set, trio_token=token)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                await trio.to_thread.run_sync(work, abandon_on_cancel=True)

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert figures(side) == {}
    release.set()
    await ended.wait()

    assert {key: count for key, (count, _) in figures(side).items()} == {("validation", BLOCKS, "thread"): 1}
