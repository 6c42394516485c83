"""What waits for one peer: bounded, in order, and with books that close."""

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from leanmesh.gossip import wire
from leanmesh.gossip.dialect import FLOODSUB, Dialect, dialect_for
from leanmesh.gossip.outbox import ControlDrops, Drop, Ledger, Outbox, Priority
from leanmesh.gossip.rpc import Control, IHave, PeerInfo, Prune, Rpc, Subscription
from leanmesh.gossip.signing import plain_message
from leanmesh.gossip.wire_params import OutboxLimits, WireLimits
from leanmesh.wire.varint import decode_varint

EVERYTHING = 1 << 30
LIMITS = OutboxLimits(
    messages=4,
    size_bytes=1_000,
    ihave_ids=4,
    iwant_ids=3,
    idontwant_ids=2,
    max_age_s=10.0,
    slow_after_s=5.0,
    slow_after_drops=3,
)
HELLO = plain_message("t", b"hello")


def outbox(protocol: str = "/meshsub/1.2.0", limits: OutboxLimits = LIMITS) -> Outbox:
    return Outbox(dialect_for(protocol), limits)


def read(rpcs: list[bytes]) -> list[Rpc]:
    """What the peer decodes."""
    read = []
    for each in rpcs:
        size_bytes, start = decode_varint(each)
        assert len(each) == start + size_bytes
        read.append(wire.decode(each[start:], WireLimits()))
    return read


def drained(box: Outbox, limit_bytes: int = EVERYTHING) -> list[Rpc]:
    return read(box.drain(limit_bytes))


def data_of(rpcs: list[Rpc]) -> list[bytes]:
    return [message.data for rpc in rpcs for message in rpc.publish]


def put(box: Outbox, data: bytes, now_s: float = 0.0, priority: Priority = Priority.FORWARDED) -> Drop | None:
    return box.put(data, plain_message("t", data).field, now_s, priority)


# Messages.


def test_a_message_leaves_once_as_a_whole_rpc():
    box = outbox()
    assert box.put(b"id", HELLO.field, 0.0) is None
    assert (box.count, box.size_bytes, box.is_empty) == (1, len(HELLO.field), False)

    assert drained(box) == [Rpc([], [HELLO])]
    assert (box.count, box.size_bytes, box.is_empty) == (0, 0, True)
    assert box.drain(EVERYTHING) == []


def test_messages_leave_in_order_of_priority_and_age():
    box = outbox()
    put(box, b"answer", priority=Priority.ANSWER)
    put(box, b"first", priority=Priority.FORWARDED)
    put(box, b"second", priority=Priority.FORWARDED)
    put(box, b"own", priority=Priority.OWN)

    assert data_of(drained(box)) == [b"own", b"first", b"second", b"answer"]


def test_a_message_that_waits_already_waits_once():
    box = outbox()
    assert put(box, b"id", priority=Priority.OWN) is None
    assert put(box, b"id", priority=Priority.ANSWER) is None

    assert data_of(drained(box)) == [b"id"]
    assert box.ledger(Priority.ANSWER) == Ledger()


def test_a_full_outbox_turns_copies_away_by_count():
    box = outbox()
    assert [put(box, b"%d" % number) for number in range(5)] == [None] * 4 + [Drop.FULL]
    assert box.ledger(Priority.FORWARDED) == Ledger(put=5, full=1)


def test_a_full_outbox_turns_copies_away_by_bytes():
    first, second = plain_message("t", b"a" * 400).field, plain_message("t", b"b" * 400).field
    box = outbox(limits=attrs.evolve(LIMITS, size_bytes=len(first) + len(second)))

    assert box.put(b"first", first, 0.0) is None
    assert box.put(b"one byte too many", second + b"x", 0.0) is Drop.FULL
    assert box.put(b"second", second, 0.0) is None


def test_an_empty_outbox_takes_a_message_of_any_size():
    box = outbox()
    assert put(box, b"a" * 100_000) is None
    assert data_of(drained(box)) == [b"a" * 100_000]


def test_a_withdrawn_copy_does_not_leave():
    box = outbox()
    put(box, b"wanted")
    put(box, b"unwanted", priority=Priority.ANSWER)

    assert [box.withdraw(b"unwanted"), box.withdraw(b"unwanted"), box.withdraw(b"other")] == [
        True,
        False,
        False,
    ]
    assert data_of(drained(box)) == [b"wanted"]
    assert box.ledger(Priority.ANSWER) == Ledger(put=1, withdrawn=1)


def test_copies_expire_by_age():
    box = outbox()
    put(box, b"old", 0.0)
    put(box, b"old too", 1.0, Priority.OWN)
    put(box, b"young", 1.5)

    assert box.expire(10.0) == 1
    assert box.expire(11.0) == 1
    assert data_of(drained(box)) == [b"young"]
    assert box.ledger(Priority.OWN) == Ledger(put=1, expired=1)


def test_a_limit_on_bytes_takes_part_of_the_messages_and_at_least_one():
    box = outbox()
    for number in range(4):
        put(box, b"%d" % number * 100)

    assert data_of(drained(box, 150)) == [b"0" * 100, b"1" * 100]
    assert data_of(drained(box, 1)) == [b"2" * 100]
    assert box.queued(Priority.FORWARDED) == 1
    assert box.ledger(Priority.FORWARDED) == Ledger(put=4, written=3)


def test_a_peer_that_is_gone_leaves_nothing_behind():
    box = outbox()
    put(box, b"a")
    put(box, b"b", priority=Priority.OWN)
    box.graft("t")

    assert box.close() == 2
    assert (box.is_empty, box.size_bytes, box.drain(EVERYTHING)) == (True, 0, [])
    assert box.ledger(Priority.OWN) == Ledger(put=1, peer_gone=1)


def test_nobody_can_change_the_books_through_a_copy():
    box = outbox()
    box.ledger(Priority.OWN).put = 7
    assert box.ledger(Priority.OWN) == Ledger()


# Control.


def test_control_and_messages_share_an_rpc():
    box = outbox()
    put(box, b"data")
    box.subscribe("t")
    box.graft("t")
    box.prune("u", 59.2, [PeerInfo(b"peer", b"record")])
    box.ihave("t", [b"h"])
    box.iwant([b"w"])
    box.idontwant([b"d"])

    assert drained(box) == [
        Rpc(
            [Subscription(True, "t")],
            [plain_message("t", b"data")],
            Control(
                [IHave("t", [b"h"])],
                [b"w"],
                ["t"],
                [Prune("u", 60, [PeerInfo(b"peer", b"record")])],
                [b"d"],
            ),
        )
    ]


def test_a_hello_is_one_rpc_with_all_topics():
    box = outbox()
    for topic in ("a", "b", "c"):
        box.subscribe(topic)
    assert drained(box) == [Rpc([Subscription(True, topic) for topic in ("a", "b", "c")])]


def test_mesh_changes_are_never_lost_to_a_full_outbox():
    box = outbox()
    while put(box, b"%d" % box.count) is None:
        pass
    for number in range(1_000):
        box.graft(f"graft {number}")
        box.prune(f"prune {number}", 60.0)

    controls = [rpc.control for rpc in drained(box) if rpc.control]
    assert [topic for control in controls for topic in control.graft] == [f"graft {n}" for n in range(1_000)]
    assert [p.topic for control in controls for p in control.prune] == [f"prune {n}" for n in range(1_000)]


def test_only_the_last_wish_for_a_topic_is_sent():
    box = outbox()
    box.graft("t")
    box.prune("t", 60.0)
    box.prune("u", 60.0)
    box.graft("u")
    box.subscribe("v")
    box.unsubscribe("v")

    assert drained(box) == [Rpc([Subscription(False, "v")], [], Control(graft=["u"], prune=[Prune("t", 60)]))]


def test_a_graft_that_waits_can_be_taken_back_but_a_prune_cannot():
    box = outbox()
    box.graft("t")
    box.prune("u", 60.0)

    assert [box.cancel_graft(topic) for topic in ("t", "t", "u", "v")] == [True, False, False, False]
    assert drained(box) == [Rpc([], [], Control(prune=[Prune("u", 60)]))]


def test_newer_gossip_replaces_what_still_waits():
    box = outbox()
    assert box.ihave("t", [b"1", b"2"]) == 2
    assert box.ihave("t", [b"2", b"3", b"4"]) == 3
    assert box.ihave("u", [b"5", b"6"]) == 1

    assert drained(box) == [Rpc([], [], Control([IHave("t", [b"2", b"3", b"4"]), IHave("u", [b"5"])]))]
    assert box.control_drops == ControlDrops(ihave=1)


def test_stale_gossip_is_not_said():
    box = outbox()
    box.ihave("t", [b"1", b"2"])
    box.ihave("u", [b"3"])
    assert [box.forget_ihave(), box.forget_ihave()] == [3, 0]

    box.ihave("u", [b"4"])
    assert drained(box) == [Rpc([], [], Control([IHave("u", [b"4"])]))]
    assert box.control_drops == ControlDrops(ihave=3)


def test_only_what_is_asked_for_is_reported_as_asked():
    box = outbox()
    assert box.iwant([b"1", b"2"]) == [b"1", b"2"]
    assert box.iwant([b"2", b"3", b"4"]) == [b"2", b"3"]
    assert box.control_drops == ControlDrops(iwant=1)
    assert drained(box) == [Rpc([], [], Control(iwant=[b"1", b"2", b"3"]))]


def test_a_question_that_has_not_left_can_be_taken_back():
    box = outbox()
    box.iwant([b"1", b"2"])
    assert [box.cancel_iwant(b"1"), box.cancel_iwant(b"1")] == [True, False]

    assert drained(box) == [Rpc([], [], Control(iwant=[b"2"]))]
    assert box.cancel_iwant(b"2") is False


def test_the_oldest_idontwant_gives_way():
    box = outbox()
    assert [box.idontwant([id_]) for id_ in (b"1", b"2", b"2", b"3")] == [[b"1"], [b"2"], [b"2"], [b"3"]]
    assert drained(box) == [Rpc([], [], Control(idontwant=[b"2", b"3"]))]
    assert box.control_drops == ControlDrops(idontwant=1)


def test_a_floodsub_peer_is_told_subscriptions_and_messages_alone():
    box = outbox(FLOODSUB)
    box.subscribe("t")
    box.graft("t")
    box.prune("t", 60.0)
    assert (box.ihave("t", [b"1"]), box.iwant([b"1"]), box.idontwant([b"1"])) == (0, [], ())
    put(box, b"data")

    assert drained(box) == [Rpc([Subscription(True, "t")], [plain_message("t", b"data")])]


@pytest.mark.parametrize(("protocol", "is_said"), [("/meshsub/1.1.0", False), ("/meshsub/1.2.0", True)])
def test_idontwant_is_said_from_version_1_2_on(protocol: str, is_said: bool):
    box = outbox(protocol)
    assert (box.idontwant([b"1"]) == [b"1"]) is is_said
    assert box.is_empty is not is_said


def test_a_peer_of_version_1_0_hears_a_prune_without_backoff_and_peers():
    box = outbox("/meshsub/1.0.0")
    box.prune("t", 60.0, [PeerInfo(b"peer")])
    assert drained(box) == [Rpc([], [], Control(prune=[Prune("t")]))]


# The writer, and the peer that does not read.


def test_the_writer_is_told_once_until_it_has_drained():
    told: list[Outbox] = []
    box = Outbox(Dialect(), LIMITS, told.append)
    put(box, b"a")
    put(box, b"b")
    box.graft("t")
    box.idontwant([b"c"])
    assert told == [box]

    box.drain(EVERYTHING)
    box.graft("t")
    assert told == [box, box]


def test_what_a_limited_drain_leaves_is_not_announced_again():
    told: list[Outbox] = []
    box = Outbox(Dialect(), LIMITS, told.append)
    put(box, b"a")
    put(box, b"b")
    box.drain(1)
    put(box, b"c")

    assert (told, box.is_empty) == ([box], False)


def test_a_peer_is_slow_when_its_outbox_is_full_for_long():
    box = outbox(limits=attrs.evolve(LIMITS, slow_after_drops=1_000))
    for number in range(4):
        put(box, b"%d" % number, 0.0)
    assert box.slow_reason(100.0) is None

    put(box, b"lost", 100.0)
    assert box.slow_reason(105.0) is None
    assert box.slow_reason(105.5) == "outbox full for 5.5 s, 1 copies turned away"

    box.drain(EVERYTHING)
    assert box.slow_reason(200.0) is None


def test_a_peer_is_slow_when_it_loses_many_copies_in_a_row():
    box = outbox()
    for number in range(7):
        put(box, b"%d" % number, 0.0)
    assert box.slow_reason(1.0) == "3 copies turned away in 1.0 s"

    box.drain(EVERYTHING)
    for number in range(5):
        put(box, b"%d" % number, 2.0)
    assert box.slow_reason(3.0) is None


@pytest.mark.parametrize("is_expired", [True, False])
def test_a_peer_whose_outbox_emptied_without_it_is_slow_no_more(is_expired: bool):
    box = outbox()
    for number in range(7):
        put(box, b"%d" % number, 0.0)
    assert box.slow_reason(6.0) is not None

    if is_expired:
        assert box.expire(20.0) == 4
    else:
        assert [box.withdraw(b"%d" % number) for number in range(4)] == [True] * 4
    assert (box.slow_reason(20.0), box.full_since_s, box.drops_in_row) == (None, None, 0)


def test_a_drain_that_leaves_most_behind_does_not_end_a_slow_spell():
    box = outbox()
    for number in range(5):
        put(box, b"%d" % number, 0.0)
    box.drain(1)
    assert box.slow_reason(6.0) is not None


class OutboxMachine(RuleBasedStateMachine):
    """Any sequence of calls: the bounds hold and every copy is accounted for."""

    def __init__(self) -> None:
        super().__init__()
        self.box = outbox()
        self.now_s = 0.0

    @rule(data=st.binary(max_size=400), priority=st.sampled_from(Priority))
    def put(self, data: bytes, priority: Priority):
        put(self.box, data, self.now_s, priority)

    @rule(data=st.binary(max_size=2))
    def withdraw(self, data: bytes):
        self.box.withdraw(data)

    @rule(seconds=st.floats(0, 12))
    def wait(self, seconds: float):
        self.now_s += seconds
        self.box.expire(self.now_s)

    @rule(limit_bytes=st.integers(1, 1_000))
    def drain(self, limit_bytes: int):
        queued = self.box.count
        rpcs = drained(self.box, limit_bytes)
        assert len(data_of(rpcs)) == queued - self.box.count
        assert len(data_of(rpcs)) > 0 or not queued

    @rule(topic=st.sampled_from("abc"), wish=st.sampled_from(["graft", "subscribe", "unsubscribe"]))
    def say(self, topic: str, wish: str):
        getattr(self.box, wish)(topic)

    @precondition(lambda self: self.box.count)
    @rule()
    def close(self):
        self.box.close()

    @invariant()
    def books_close(self):
        queued = 0
        for priority in Priority:
            book = self.box.ledger(priority)
            waiting = self.box.queued(priority)
            queued += waiting
            became = book.written + book.full + book.expired + book.withdrawn + book.peer_gone
            assert book.put == became + waiting
        assert queued == self.box.count

    @invariant()
    def bounds_hold(self):
        assert self.box.count <= LIMITS.messages
        assert self.box.size_bytes <= LIMITS.size_bytes
        assert (self.box.size_bytes > 0) is (self.box.count > 0)


TestOutboxMachine = OutboxMachine.TestCase


# Readiness.


@pytest.mark.parametrize(
    ("fill", "take_back"),
    [
        (lambda box: box.put(b"id", HELLO.field, 0.0), lambda box: box.withdraw(b"id")),
        (lambda box: box.put(b"id", HELLO.field, 0.0), lambda box: box.expire(1_000.0)),
        (lambda box: box.graft("t"), lambda box: box.cancel_graft("t")),
        (lambda box: box.iwant([b"id"]), lambda box: box.cancel_iwant(b"id")),
        (lambda box: box.ihave("t", [b"id"]), lambda box: box.forget_ihave()),
    ],
    ids=["withdraw", "expire", "cancel_graft", "cancel_iwant", "forget_ihave"],
)
def test_an_outbox_emptied_by_taking_back_is_said_to_be_ready_when_it_fills_again(fill, take_back):
    said: list[Outbox] = []
    box = Outbox(dialect_for("/meshsub/1.2.0", ""), LIMITS, said.append)
    fill(box)
    assert said == [box]
    assert take_back(box)
    # Whoever writes has looked by now, and found nothing to write.
    assert box.is_empty
    said.clear()
    fill(box)
    fill(box)
    assert said == [box]


def test_an_outbox_that_still_holds_something_is_not_said_to_be_ready_twice():
    said: list[Outbox] = []
    box = Outbox(dialect_for("/meshsub/1.2.0", ""), LIMITS, said.append)
    box.put(b"one", HELLO.field, 0.0)
    box.put(b"two", HELLO.field, 0.0)
    assert box.withdraw(b"one")
    box.put(b"three", HELLO.field, 0.0)
    assert said == [box]
