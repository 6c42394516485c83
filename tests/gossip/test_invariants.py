"""Any sequence of events keeps the invariants; random bytes raise nothing but RemoteError."""

import contextlib

from gossip.one_router import OneRouter, message
from gossip.scores import SetScores
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from leanmesh.errors import LocalError, RemoteError
from leanmesh.gossip import wire
from leanmesh.gossip.message_id import sha256_of_data
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.rpc import Control, IHave, Prune, Rpc, Subscription
from leanmesh.gossip.rules import TopicRules
from leanmesh.gossip.validation import Ticket, Verdict
from leanmesh.gossip.wire_params import OutboxLimits
from leanmesh.identity.peer_id import PeerId

TOPICS = ("a", "b")
NAMES = (*TOPICS, "unknown")
PROTOCOLS = ("/meshsub/1.2.0", "/meshsub/1.1.0", "/meshsub/1.0.0", "/floodsub/1.0.0")
PARAMS = GossipParams(
    mesh_target=3,
    mesh_low=2,
    mesh_high=4,
    mesh_best=1,
    mesh_outbound=1,
    gossip_peers=2,
    seen_limit=6,
    # Shorter than a verdict may take: an id is forgotten while its message waits.
    seen_ttl_s=24,
    validation_timeout_s=60,
    history_limit_bytes=300,
    promise_limit=5,
    idontwant_ids_limit=4,
    idontwant_threshold_bytes=8,
    peer_topics_limit=3,
    fanout_limit=1,
    backoff_peers_limit=4,
    validation_limit=24,
    validation_topic_limit=16,
    rejected_limit=4,
    is_flood_publishing=False,
    misbehaviour_limit=30,
)
OUTBOX = OutboxLimits(messages=6)
RULES = TopicRules(message_id=sha256_of_data, is_validated=True)

names = st.sampled_from(NAMES)
datas = st.sampled_from([b"%d" % number * (1 + number % 12) for number in range(30)])
ids = st.one_of(
    st.binary(min_size=1, max_size=3), datas.map(lambda data: sha256_of_data(message(data), None))
)
numbers = st.integers(0, 7)
rpcs = st.builds(
    Rpc,
    st.lists(st.builds(Subscription, st.booleans(), names), max_size=4),
    st.lists(st.builds(message, datas, names), max_size=3),
    st.none()
    | st.builds(
        Control,
        st.lists(st.builds(IHave, names, st.lists(ids, max_size=3)), max_size=2),
        st.lists(ids, max_size=3),
        st.lists(names, max_size=2),
        st.lists(st.builds(Prune, names, st.sampled_from([None, 0, 1, 30, 2**64 - 1])), max_size=2),
        st.lists(ids, max_size=6),
    ),
)


class AnySequence(RuleBasedStateMachine):
    """Events in any order, each as a peer, an application or the clock could cause it."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = SetScores()
        self.bench = OneRouter(
            PARAMS, topics=TOPICS, scores=self.scores, rules=lambda topic: RULES, outbox_limits=OUTBOX
        )
        self.tickets: list[Ticket] = []
        for _ in range(2):
            self.bench.peer(topics=TOPICS)

    @property
    def now_s(self) -> float:
        return self.bench.now_s

    def some_peer(self, number: int) -> PeerId | None:
        peers = self.bench.router.view.peers
        return peers[number % len(peers)] if peers else None

    # Events.

    @rule(protocol=st.sampled_from(PROTOCOLS), is_outbound=st.booleans(), topics=st.sets(names))
    def a_peer_comes(self, protocol: str, is_outbound: bool, topics: set[str]) -> None:
        self.bench.peer(protocol=protocol, is_outbound=is_outbound, topics=tuple(sorted(topics)))

    @rule(number=numbers)
    def a_peer_goes(self, number: int) -> None:
        peer = self.some_peer(number)
        if peer is not None:
            self.bench.router.remove_peer(peer, self.now_s)

    @rule(number=numbers, rpc=rpcs)
    def a_peer_speaks(self, number: int, rpc: Rpc) -> None:
        peer = self.some_peer(number)
        if peer is not None:
            self.bench.router.on_frame(peer, wire.encode(rpc), self.now_s)

    @rule(number=numbers, frame=st.binary(max_size=60))
    def a_peer_talks_nonsense(self, number: int, frame: bytes) -> None:
        peer = self.some_peer(number)
        if peer is not None:
            with contextlib.suppress(RemoteError):
                self.bench.router.on_frame(peer, frame, self.now_s)

    @rule(topic=st.sampled_from(TOPICS), take=st.booleans())
    def we_change_our_mind(self, topic: str, take: bool) -> None:
        if take:
            self.bench.router.subscribe(topic, self.now_s)
        else:
            self.bench.router.unsubscribe(topic, self.now_s)

    @rule(topic=names, data=datas)
    def we_publish(self, topic: str, data: bytes) -> None:
        with contextlib.suppress(LocalError):
            self.bench.router.publish(topic, data, self.now_s)

    @rule(number=numbers, verdict=st.sampled_from(Verdict))
    def a_verdict_comes(self, number: int, verdict: Verdict) -> None:
        if self.tickets:
            ticket = self.tickets.pop(number % len(self.tickets))
            self.bench.router.on_verdict(ticket, verdict, self.now_s)

    @rule(number=numbers, sent=st.lists(datas, min_size=1, max_size=6), topic=st.sampled_from(TOPICS))
    def a_peer_sends_messages(self, number: int, sent: list[bytes], topic: str) -> None:
        peer = self.some_peer(number)
        if peer is not None:
            self.bench.say(peer, publish=tuple(message(data, topic) for data in sent))

    @rule(number=numbers, again=numbers)
    def a_peer_repeats_what_waits(self, number: int, again: int) -> None:
        peer = self.some_peer(number)
        if peer is not None and self.tickets:
            copy = self.tickets[again % len(self.tickets)].message
            self.bench.say(peer, publish=(copy,))

    @rule(number=numbers, score=st.sampled_from([-100.0, -60.0, -20.0, -1.0, 0.0, 5.0]))
    def a_score_changes(self, number: int, score: float) -> None:
        peer = self.some_peer(number)
        if peer is not None:
            self.scores.scores[peer] = score

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 25.0, 130.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.now_s += seconds

    @rule(number=numbers)
    def an_outbox_is_drained(self, number: int) -> None:
        peer = self.some_peer(number)
        if peer is not None:
            self.bench.sent(peer)

    @rule()
    def a_heartbeat_passes(self) -> None:
        self.bench.beat()
        view = self.bench.router.view
        for name in view.subscriptions:
            members = view.mesh(name)
            assert len(members) <= max(PARAMS.mesh_high, PARAMS.mesh_target + PARAMS.mesh_outbound)
            assert all(self.scores.score(peer, self.now_s) >= 0 for peer in members)
        assert view.history_bytes <= PARAMS.history_limit_bytes

    # What always holds.

    @invariant()
    def the_shell_takes_what_is_for_it(self) -> None:
        self.tickets += self.bench.router.take_tickets()
        waiting = [ticket.message_id for ticket in self.tickets if ticket.is_open]
        assert len(set(waiting)) == len(waiting) == self.bench.router.view.pending_validations
        for peer, _ in self.bench.router.take_cuts():
            assert peer in self.bench.router.view.peers
            self.bench.router.remove_peer(peer, self.now_s)
        assert all(peer in self.bench.router.view.peers for peer in self.bench.router.take_ready())

    @invariant()
    def meshes_hold_only_peers_that_are_there_and_take_the_topic(self) -> None:
        view = self.bench.router.view
        in_any: dict[PeerId, None] = {}
        for name in view.topics:
            topic = view.topic(name)
            assert topic is not None
            assert set(topic.mesh) <= set(topic.peers) <= set(view.peers)
            assert set(topic.fanout) <= set(topic.peers)
            assert topic.is_joined or not topic.mesh
            in_any.update(dict.fromkeys(topic.mesh))
        assert view.mesh_peer_count == len(in_any)
        for peer in view.peers:
            known = view.peer(peer, self.now_s)
            assert known is not None
            assert set(known.meshes) == {name for name in view.topics if peer in view.mesh(name)}
            assert known.protocol != "/floodsub/1.0.0" or not known.meshes

    @invariant()
    def every_peer_and_topic_agree_on_who_takes_what(self) -> None:
        view = self.bench.router.view
        for peer in view.peers:
            known = view.peer(peer, self.now_s)
            assert known is not None
            assert list(known.topics) == [name for name in known.topics if peer in view.topic_peers(name)]
            assert len(known.topics) <= PARAMS.peer_topics_limit

    @invariant()
    def nothing_is_delivered_twice_while_it_is_remembered(self) -> None:
        # With a bound of 6 ids an evicted one may come again; without an eviction none may.
        turned_away = [call for call in self.bench.observer.of("turned_away") if call[0] == "seen"]
        has_forgotten = bool(turned_away) or self.now_s > 1000.0 + PARAMS.seen_ttl_s
        assert has_forgotten or len(set(self.bench.data)) == len(self.bench.data)

    @invariant()
    def the_books_close(self) -> None:
        books = self.bench.books
        assert books.balance == 0
        assert books.pending == self.bench.router.view.pending_validations

    @invariant()
    def every_table_is_bounded(self) -> None:
        view = self.bench.router.view
        assert view.seen_ids <= PARAMS.seen_limit
        assert view.pending_validations <= PARAMS.validation_limit
        assert len(view.topics) <= len(NAMES)
        for name in view.topics:
            topic = view.topic(name)
            assert topic is not None
            assert len(topic.backoff_until_s) <= PARAMS.backoff_peers_limit
            latest_s = self.now_s + PARAMS.backoff_limit_s
            assert all(until_s <= latest_s for until_s in topic.backoff_until_s.values())
        for peer in view.peers:
            assert self.bench.router.outbox(peer).count <= OUTBOX.messages


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@settings(max_examples=300, deadline=None)
@given(rpc=rpcs, flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6))
def test_mutated_rpcs_raise_nothing_but_remote_error(rpc: Rpc, flips: list[tuple[int, int]]):
    bench = OneRouter(topics=TOPICS, rules=lambda topic: RULES)
    peer = bench.peer(topics=TOPICS)
    frame = bytearray(wire.encode(rpc))
    for position, value in flips:
        if frame:
            frame[position % len(frame)] = value
    with contextlib.suppress(RemoteError):
        bench.router.on_frame(peer, bytes(frame), bench.now_s)
    bench.beat(3)
    assert bench.books.balance == 0


@settings(max_examples=300, deadline=None)
@given(frame=st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_remote_error(frame: bytes):
    bench = OneRouter()
    peer = bench.peer()
    with contextlib.suppress(RemoteError):
        bench.router.on_frame(peer, frame, bench.now_s)
    bench.beat()
