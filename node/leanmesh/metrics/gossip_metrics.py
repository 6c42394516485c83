"""Counts what the gossip core decides: an observer that writes cells.

A method is called inside the router's pass, some of them for every copy of
every message: each is a dict lookup and a few stores.  Topics have series of
their own once we take them or publish to them; what peers send under other
names is counted under `other`, or a peer could fill the family with names.
"""

from collections.abc import Iterable, Sequence

import attrs

from leanmesh.gossip.observer import (
    GraftReason,
    IgnoreReason,
    Misbehaviour,
    Observer,
    PruneReason,
    RejectReason,
    ThrottleReason,
)
from leanmesh.metrics import catalog_gossipsub as gossipsub
from leanmesh.metrics.catalog_node import MESSAGES, OUTBOX_DROPPED
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import OTHER, CounterSpec, GaugeSpec
from leanmesh.metrics.prime import prime

INBOUND = "inbound"
OUTBOUND = "outbound"
OUTCOMES = ("accepted", "duplicate", "rejected", "ignored", "throttled", "oversized", "not_subscribed")


@attrs.define(eq=False)
class TopicCells:
    """Where the counts of one topic are."""

    topic: str
    unfiltered: int
    received: int
    received_bytes: int
    useful_bytes: int
    accepted: int
    ignored: int
    rejected: int
    duplicates: int
    spared: int
    spared_bytes: int
    crossed: int
    published: int
    sent: int
    sent_bytes: int
    grafts: dict[GraftReason, int]
    prunes: dict[PruneReason, int]
    # What came since the tally was last taken.
    firsts: int = 0
    repeats: int = 0


@attrs.define(eq=False)
class GossipMetrics(Observer):
    """The gossipsub families of one network, and its part of the books of received copies."""

    cells: Cells
    network_id: str
    received: int = attrs.field(default=0, init=False)
    """Copies that peers sent, counted apart from what became of them."""
    pending: int = attrs.field(default=0, init=False)
    """Copies that wait for a verdict."""
    became: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(OUTCOMES, 0), init=False)
    _words: memoryview = attrs.field(init=False)
    _topics: dict[str, TopicCells] = attrs.field(factory=dict[str, TopicCells], init=False)
    _other: TopicCells = attrs.field(init=False)
    _is_tallied: bool = attrs.field(default=False, init=False)
    _tallied: dict[TopicCells, None] = attrs.field(factory=dict[TopicCells, None], init=False)
    _tallied_last: TopicCells | None = attrs.field(default=None, init=False)
    _outcomes: dict[str, int] = attrs.field(init=False)
    _indexes: dict[tuple[str, str], int] = attrs.field(factory=dict[tuple[str, str], int], init=False)
    _dropped: dict[str, int] = attrs.field(init=False)
    # Places of the number and of the bytes.
    _rpcs_received: tuple[int, int] = attrs.field(init=False)
    _rpcs_sent: tuple[int, int] = attrs.field(init=False)
    _empty_frames: int = attrs.field(init=False)
    _joined: set[str] = attrs.field(factory=set[str], init=False)
    _protocols: dict[str, int] = attrs.field(factory=dict[str, int], init=False)

    def __attrs_post_init__(self) -> None:
        cells = self.cells
        self._words = cells.words
        self._other = self._make_topic(OTHER)
        self._outcomes = {outcome: cells.counter(MESSAGES, INBOUND, outcome) for outcome in OUTCOMES}
        self._rpcs_received, self._rpcs_sent = (
            (
                cells.counter(gossipsub.RPCS, self.network_id, direction),
                cells.counter(gossipsub.RPC_BYTES, self.network_id, direction),
            )
            for direction in (INBOUND, OUTBOUND)
        )
        self._empty_frames = cells.counter(gossipsub.EMPTY_FRAMES, self.network_id)
        reasons = ("full", "expired", "withdrawn", "peer_gone")
        self._dropped = {reason: cells.counter(OUTBOX_DROPPED, reason) for reason in reasons}
        for spec in gossipsub.FAMILIES:
            if spec.labels == ("network_id",) or (spec.fixed and "topic" not in spec.labels):
                prime(cells, spec, network_id=self.network_id)

    @property
    def balance(self) -> int:
        """Copies received that nothing became of; 0 when the books close."""
        return self.received - sum(self.became.values()) - self.pending

    @property
    def topics(self) -> Iterable[str]:
        """The topics that have series of their own."""
        return self._topics

    def stopped(self) -> None:
        """The network runs no more: it subscribes to nothing and has no peers.  Its counts stay.

        Also when its core broke before it could say so.
        """
        for topic in tuple(self._joined):
            self._subscribed(topic, is_joined=False)
        for protocol, count in self._protocols.items():
            self._add(gossipsub.PEERS_PER_PROTOCOL, protocol, -count)
        self._protocols.clear()

    def _make_topic(self, topic: str) -> TopicCells:
        def cell(spec: CounterSpec) -> int:
            return self.cells.counter(spec, self.network_id, topic)

        return TopicCells(
            topic=topic,
            unfiltered=cell(gossipsub.RECEIVED_UNFILTERED),
            received=cell(gossipsub.RECEIVED),
            received_bytes=cell(gossipsub.RECEIVED_BYTES),
            useful_bytes=cell(gossipsub.USEFUL_BYTES),
            accepted=cell(gossipsub.ACCEPTED),
            ignored=cell(gossipsub.IGNORED),
            rejected=cell(gossipsub.REJECTED),
            duplicates=cell(gossipsub.DUPLICATES),
            spared=cell(gossipsub.SPARED),
            spared_bytes=cell(gossipsub.SPARED_BYTES),
            crossed=cell(gossipsub.CROSSED),
            published=cell(gossipsub.PUBLISHED),
            sent=cell(gossipsub.SENT),
            sent_bytes=cell(gossipsub.SENT_BYTES),
            grafts={
                reason: self.cells.counter(gossipsub.MESH_INCLUSIONS, self.network_id, topic, reason.value)
                for reason in GraftReason
            },
            prunes={
                reason: self.cells.counter(gossipsub.MESH_CHURN, self.network_id, topic, reason.value)
                for reason in PruneReason
            },
        )

    def _own(self, topic: str) -> TopicCells:
        """The cells of a topic of ours, new if need be."""
        cells = self._topics.get(topic)
        if cells is None:
            cells = self._topics[topic] = self._make_topic(topic)
        return cells

    def _count(self, spec: CounterSpec, label: str, count: int = 1) -> None:
        """Add to a counter of this network with one more label."""
        index = self._indexes.get((spec.name, label))
        if index is None:
            index = self._indexes[spec.name, label] = self.cells.counter(spec, self.network_id, str(label))
        self._words[index] += count

    def _became(self, outcome: str) -> None:
        self.became[outcome] += 1
        self._words[self._outcomes[outcome]] += 1

    # Topics and the mesh.

    def joined(self, topic: str, now_s: float) -> None:
        """See Observer."""
        self._own(topic)
        self._subscribed(topic, is_joined=True)

    def left(self, topic: str, now_s: float) -> None:
        """See Observer."""
        self._subscribed(topic, is_joined=False)

    def _subscribed(self, topic: str, *, is_joined: bool) -> None:
        """By steps: topics beyond the family's bound share a cell, which says how many of them are joined."""
        if (topic in self._joined) is not is_joined:
            (self._joined.add if is_joined else self._joined.remove)(topic)
            self._add(gossipsub.TOPIC_SUBSCRIPTION_STATUS, topic, 1 if is_joined else -1)

    def peer_added(self, peer: bytes, protocol: str, now_s: float) -> None:
        """See Observer."""
        self._protocols[protocol] = self._protocols.get(protocol, 0) + 1
        self._add(gossipsub.PEERS_PER_PROTOCOL, protocol, 1)

    def peer_removed(self, peer: bytes, protocol: str, now_s: float) -> None:
        """See Observer."""
        # None are left when the network was stopped before its peers went.
        if count := self._protocols.get(protocol, 0):
            self._protocols[protocol] = count - 1
            self._add(gossipsub.PEERS_PER_PROTOCOL, protocol, -1)

    def _add(self, spec: GaugeSpec, label: str, change: int) -> None:
        """Step a gauge of this network with one more label."""
        self.cells.signed_words[self.cells.gauge(spec, self.network_id, label)] += change

    def grafted(self, peer: bytes, topic: str, reason: GraftReason, now_s: float) -> None:
        """See Observer."""
        self._words[self._own(topic).grafts[reason]] += 1

    def pruned(self, peer: bytes, topic: str, reason: PruneReason, now_s: float) -> None:
        """See Observer."""
        self._words[self._own(topic).prunes[reason]] += 1

    # Frames.

    def rpc_received(self, peer: bytes, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        words, (rpcs_index, bytes_index) = self._words, self._rpcs_received
        words[rpcs_index] += 1
        words[bytes_index] += size_bytes

    def rpcs_sent(self, rpcs: int, size_bytes: int) -> None:
        """The writer has taken so many RPCs out of an outbox; not the core's to observe."""
        words, (rpcs_index, bytes_index) = self._words, self._rpcs_sent
        words[rpcs_index] += rpcs
        words[bytes_index] += size_bytes

    def rpc_refused(self, peer: bytes, reason: str, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        self._count(gossipsub.RPCS_REFUSED, reason)

    def empty_frames(self, count: int) -> None:
        """So many frames held nothing and were skipped; the core never sees them."""
        self._words[self._empty_frames] += count

    # The tally: what one chunk brought, for who measures the work.

    def take_tally(self) -> list[tuple[str, int, int]]:
        """Topics of the copies since the last call, with the first copies and the duplicates of each.

        The first call begins the count: nobody who does not ask pays for it.
        """
        self._is_tallied = True
        tally = [(cells.topic, cells.firsts, cells.repeats) for cells in self._tallied]
        for cells in self._tallied:
            cells.firsts = cells.repeats = 0
        self._tallied.clear()
        self._tallied_last = None
        return tally

    # Received copies.

    def message_received(self, peer: bytes, topic: str, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        self.received += 1
        cells = self._topics.get(topic, self._other)
        words = self._words
        words[cells.unfiltered] += 1
        words[cells.received_bytes] += size_bytes

    def first_seen(self, peer: bytes, topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        cells = self._topics.get(topic, self._other)
        self._words[cells.received] += 1
        self._words[cells.useful_bytes] += size_bytes
        if self._is_tallied:
            cells.firsts += 1
            if cells is not self._tallied_last:
                self._tallied[cells] = None
                self._tallied_last = cells

    def duplicate(self, peer: bytes, topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        cells = self._topics.get(topic, self._other)
        self._words[cells.duplicates] += 1
        if self._is_tallied:
            cells.repeats += 1
            if cells is not self._tallied_last:
                self._tallied[cells] = None
                self._tallied_last = cells
        self._became("duplicate")

    def accepted(self, peer: bytes, topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        self._words[self._topics.get(topic, self._other).accepted] += 1
        self._became("accepted")

    def rejected(
        self,
        peer: bytes,
        topic: str,
        message_id: bytes | None,
        size_bytes: int,
        reason: RejectReason,
        now_s: float,
    ) -> None:
        """See Observer."""
        self._words[self._topics.get(topic, self._other).rejected] += 1
        self._became("rejected")
        if reason is not RejectReason.VERDICT:
            self._count(gossipsub.INVALID, reason)

    def ignored(
        self,
        peer: bytes,
        topic: str,
        message_id: bytes | None,
        size_bytes: int,
        reason: IgnoreReason,
        now_s: float,
    ) -> None:
        """See Observer."""
        self._words[self._topics.get(topic, self._other).ignored] += 1
        self._became("ignored")

    def throttled(
        self,
        peer: bytes,
        topic: str,
        message_id: bytes,
        size_bytes: int,
        reason: ThrottleReason,
        now_s: float,
    ) -> None:
        """See Observer."""
        self._became("throttled")

    def oversized(self, peer: bytes, topic: str, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        self._became("oversized")
        self._count(gossipsub.INVALID, "size")

    def not_subscribed(self, peer: bytes, topic: str, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        self._became("not_subscribed")

    def pending_changed(self, count: int, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        self.pending = count

    # Sent copies.

    def published(
        self, topic: str, message_id: bytes, size_bytes: int, recipients: Sequence[bytes], now_s: float
    ) -> None:
        """See Observer."""
        cells = self._own(topic)
        self._words[cells.published] += 1
        self._sent(cells, len(recipients), size_bytes)

    def forwarded(
        self, topic: str, message_id: bytes, size_bytes: int, recipients: Sequence[bytes], now_s: float
    ) -> None:
        """See Observer."""
        self._sent(self._topics.get(topic, self._other), len(recipients), size_bytes)

    def served(self, peer: bytes, topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        self._sent(self._topics.get(topic, self._other), 1, size_bytes)

    def spared(self, peer: bytes, topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        cells = self._topics.get(topic, self._other)
        self._words[cells.spared] += 1
        self._words[cells.spared_bytes] += size_bytes

    def _sent(self, cells: TopicCells, copies: int, size_bytes: int) -> None:
        self._words[cells.sent] += copies
        self._words[cells.sent_bytes] += copies * size_bytes

    def copies_dropped(self, peer: bytes, reason: str, count: int, now_s: float) -> None:
        """See Observer."""
        self._words[self._dropped[reason]] += count

    # Gossip.

    def ihave_sent(self, peer: bytes, topic: str, message_ids: Sequence[bytes], now_s: float) -> None:
        """See Observer."""
        self._count(gossipsub.IHAVE_IDS, OUTBOUND, len(message_ids))

    def ihave_received(self, peer: bytes, topic: str, message_ids: Sequence[bytes], now_s: float) -> None:
        """See Observer."""
        self._count(gossipsub.IHAVE_IDS, INBOUND, len(message_ids))

    def iwant_sent(self, peer: bytes, message_ids: Sequence[bytes], now_s: float) -> None:
        """See Observer."""
        self._count(gossipsub.IWANT_IDS, OUTBOUND, len(message_ids))

    def iwant_received(self, peer: bytes, message_ids: Sequence[bytes], now_s: float) -> None:
        """See Observer."""
        self._count(gossipsub.IWANT_IDS, INBOUND, len(message_ids))

    def idontwant_sent(self, peers: Sequence[bytes], topic: str, message_id: bytes, now_s: float) -> None:
        """See Observer."""
        self._count(gossipsub.IDONTWANT_IDS, OUTBOUND, len(peers))

    def idontwant_received(self, peer: bytes, message_ids: Sequence[bytes], now_s: float) -> None:
        """See Observer."""
        self._count(gossipsub.IDONTWANT_IDS, INBOUND, len(message_ids))

    def crossed_idontwant(self, peer: bytes, topic: str, message_id: bytes, now_s: float) -> None:
        """See Observer."""
        self._words[self._topics.get(topic, self._other).crossed] += 1

    def promise_kept(self, peer: bytes, now_s: float) -> None:
        """See Observer."""
        self._count(gossipsub.IWANT_PROMISES, "kept")

    def promise_broken(self, peer: bytes, now_s: float) -> None:
        """See Observer."""
        self._count(gossipsub.IWANT_PROMISES, "broken")

    def misbehaved(self, peer: bytes, kind: Misbehaviour, count: int, now_s: float) -> None:
        """See Observer."""
        self._count(gossipsub.PENALTIES, kind, count)
