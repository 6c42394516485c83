"""The work meter: what every path of the node reports its work to, when work is measured.

A chunk is timed whole, with two looks at the clock, however many messages it
holds; the core's observers say what was in it, and the time is shared evenly
among that.  So the sum of the seconds is exact, and their split within one
chunk is an estimate.  A batch that is published is timed whole, too; what else
happens outside of chunks, one by one.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from time import perf_counter_ns
from typing import ParamSpec, TypeVar

import attrs

from leanmesh.gossip.observer import IgnoreReason, Observer, RejectReason, ThrottleReason
from leanmesh.identity.peer_id import PeerId
from leanmesh.metrics.collector import Collector
from leanmesh.metrics.family import OTHER
from leanmesh.metrics.producers import PoolProducer, Producer
from leanmesh.metrics.topic_classes import NO_TOPIC, TopicClasses

Frame = bytes | memoryview
OnFrame = Callable[[PeerId, Frame, float], None]
# Topics of the messages since the last call, with the first copies and the duplicates of each.
TakeTally = Callable[[], list[tuple[str, int, int]]]
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


@attrs.define(eq=False)
class WorkMeter(Observer):
    """One per process: everything in it happens in Trio's thread, but for validators in threads."""

    collector: Collector
    classes: TopicClasses
    gossip: Producer = attrs.field(init=False)
    publishing: Producer = attrs.field(init=False)
    validation: Producer = attrs.field(init=False)
    threads: PoolProducer = attrs.field(init=False)
    recovery: Producer = attrs.field(init=False)
    requests: Producer = attrs.field(init=False)
    api: Producer = attrs.field(init=False)
    # What is in the chunk that is being handled besides first copies and duplicates: those are many, and
    # the observer that counts them anyway keeps the tally.
    _others: dict[tuple[Producer, str, str], int] = attrs.field(
        factory=dict[tuple[Producer, str, str], int], init=False
    )

    def __attrs_post_init__(self) -> None:
        collector = self.collector
        self.gossip = collector.producer("gossip")
        self.publishing = collector.producer("publish")
        self.validation = collector.producer("validation")
        self.threads = collector.pool_producer("validation")
        self.recovery = collector.producer("gossip_recovery")
        self.requests = collector.producer("reqresp")
        self.api = collector.producer("api")

    # Chunks.

    def handle(
        self, peer: PeerId, frames: Iterable[Frame], on_frame: OnFrame, now_s: float, take_tally: TakeTally
    ) -> None:
        """Have all frames of a chunk handled and count that, also those before one that is refused."""
        # What was told outside of a chunk, such as verdicts and heartbeats, is timed there.
        self._others.clear()
        began_ns = perf_counter_ns()
        try:
            for frame in frames:
                on_frame(peer, frame, now_s)
        finally:
            self._share(take_tally(), perf_counter_ns() - began_ns)

    def _share(self, tally: list[tuple[str, int, int]], duration_ns: int) -> None:
        """Share the time of a chunk among what was in it; what does not divide goes to the last."""
        gossip = self.gossip
        parts: list[tuple[Producer, str, str, int]] = []
        for topic, firsts, repeats in tally:
            topic_class = self.classes.of(topic)
            if firsts:
                parts.append((gossip, topic_class, "first", firsts))
            if repeats:
                parts.append((gossip, topic_class, "duplicate", repeats))
        if self._others:
            parts += [(*key, count) for key, count in self._others.items()]
        elif not parts:
            parts.append((gossip, NO_TOPIC, "control", 1))
        left = sum([part[3] for part in parts])
        for producer, topic_class, op, count in parts:
            share_ns = duration_ns * count // left
            producer.add(topic_class, op, count, share_ns)
            duration_ns -= share_ns
            left -= count

    def _one_more(self, producer: Producer, topic_class: str, op: str) -> None:
        key = (producer, topic_class, op)
        self._others[key] = self._others.get(key, 0) + 1

    # Outside chunks.

    def timed(
        self,
        producer: Producer,
        topic: str | None,
        op: str,
        call: Callable[Arguments, Answer],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        """Call something and count that, whatever comes of it.  `topic` is None or one of ours."""
        began_ns = perf_counter_ns()
        try:
            return call(*args, **kwargs)
        finally:
            producer.add(self._class(topic), op, 1, perf_counter_ns() - began_ns)

    def timed_several(
        self, producer: Producer, topic: str, op: str, call: Callable[[], None], done: Sequence[object]
    ) -> None:
        """Call what does several things at once and count those in `done`, and one more if it failed."""
        began_ns = perf_counter_ns()
        has_failed = 1
        try:
            call()
            has_failed = 0
        finally:
            if count := len(done) + has_failed:
                producer.add(self._class(topic), op, count, perf_counter_ns() - began_ns)

    async def awaited(
        self, producer: Producer, topic: str | None, op: str, awaitable: Awaitable[Answer]
    ) -> Answer:
        """Wait for something and count that, with the time that it waited itself."""
        began_ns = perf_counter_ns()
        try:
            return await awaitable
        finally:
            producer.add(self._class(topic), op, 1, perf_counter_ns() - began_ns)

    def for_thread(self, topic: str, call: Callable[[], Answer]) -> Callable[[], Answer]:
        """The same call for a thread, counted there: also when nobody waits for it any more."""
        return partial(self._in_thread, self._class(topic), call)

    def _in_thread(self, topic_class: str, call: Callable[[], Answer]) -> Answer:
        began_ns = perf_counter_ns()
        try:
            return call()
        finally:
            self.threads.add(topic_class, "thread", 1, perf_counter_ns() - began_ns)

    def answered(self, path: str, duration_ns: int) -> None:
        """An HTTP request was answered.  `path` is one of ours, or `other`."""
        self.api.add(NO_TOPIC, path, 1, duration_ns)

    def _class(self, topic: str | None) -> str:
        return NO_TOPIC if topic is None else self.classes.of(topic)

    # What the core tells.

    def rejected(
        self,
        peer: PeerId,
        topic: str,
        message_id: bytes | None,
        size_bytes: int,
        reason: RejectReason,
        now_s: float,
    ) -> None:
        """See Observer."""
        self._one_more(self.gossip, self.classes.of(topic), "refuse")

    def ignored(
        self,
        peer: PeerId,
        topic: str,
        message_id: bytes | None,
        size_bytes: int,
        reason: IgnoreReason,
        now_s: float,
    ) -> None:
        """See Observer."""
        self._one_more(self.gossip, self.classes.of(topic), "refuse")

    def throttled(
        self,
        peer: PeerId,
        topic: str,
        message_id: bytes,
        size_bytes: int,
        reason: ThrottleReason,
        now_s: float,
    ) -> None:
        """See Observer."""
        self._one_more(self.gossip, self.classes.of(topic), "refuse")

    def oversized(self, peer: PeerId, topic: str, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        self._one_more(self.gossip, self.classes.of(topic), "refuse")

    def not_subscribed(self, peer: PeerId, topic: str, size_bytes: int, now_s: float) -> None:
        """See Observer.  The topic's name is the peer's choice."""
        self._one_more(self.gossip, OTHER, "refuse")

    def ihave_received(self, peer: PeerId, topic: str, message_ids: Sequence[bytes], now_s: float) -> None:
        """See Observer.  The topic's name is the peer's choice."""
        self._one_more(self.recovery, NO_TOPIC, "ihave")

    def iwant_received(self, peer: PeerId, message_ids: Sequence[bytes], now_s: float) -> None:
        """See Observer."""
        self._one_more(self.recovery, NO_TOPIC, "iwant")

    def served(self, peer: PeerId, topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        self._one_more(self.recovery, self.classes.of(topic), "answer")
