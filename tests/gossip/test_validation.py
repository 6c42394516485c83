"""What becomes of a received copy: policies, verdicts, throttling, replays, and books that close."""

import pytest
from gossip.one_router import TOPIC, OneRouter, id_of, message, misbehaviour
from leanmesh.gossip import entries
from leanmesh.gossip.message_id import DomainSeparatedHash, sha256_of_data
from leanmesh.gossip.observer import (
    IgnoreReason,
    Misbehaviour,
    RejectReason,
    ThrottleReason,
)
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.rpc import Message
from leanmesh.gossip.rules import TopicRules
from leanmesh.gossip.signing import SignaturePolicy, Signer
from leanmesh.gossip.validation import Ticket, Verdict
from leanmesh.identity.keys import KeyKind, PrivateKey
from leanmesh.identity.peer_id import PeerId

VALIDATED = TopicRules(message_id=sha256_of_data, is_validated=True)
KEY = PrivateKey.of_kind(KeyKind.ED25519, bytes(range(32)))
AUTHOR = PrivateKey.of_kind(KeyKind.ED25519, bytes(32))


def validated(params: GossipParams | None = None) -> OneRouter:
    return OneRouter(params, rules=lambda topic: VALIDATED)


def signed(**options: object) -> OneRouter:
    return OneRouter(policy=SignaturePolicy.STRICT_SIGN, signer=Signer(KEY), **options)


def altered(original: Message, **changes: bytes | None) -> Message:
    """A message with other fields, encoded anew."""
    known = {
        "source": original.source,
        "seqno": original.seqno,
        "signature": original.signature,
        "key": original.key,
    }
    known.update(changes)
    field = entries.message(original.topic.encode(), original.data, **known)
    return Message(original.topic, original.data, **known, field=field)


# Verdicts.


def test_accept_delivers_and_forwards():
    bench = validated()
    source, other = bench.member(), bench.member()
    bench.say(source, publish=(message(b"data"),))
    (ticket,) = bench.router.take_tickets()
    assert (bench.data, bench.sent_data(other)) == ([], [])
    assert (ticket.message.topic, ticket.data, ticket.peer) == (TOPIC, b"data", source)

    bench.router.on_verdict(ticket, Verdict.ACCEPT, bench.now_s)

    assert (bench.data, bench.sent_data(other)) == ([b"data"], [b"data"])
    assert bench.observer.count("accepted") == 1
    assert bench.books.balance == 0


@pytest.mark.parametrize("verdict", [Verdict.REJECT, Verdict.IGNORE])
def test_reject_and_ignore_go_no_further(verdict: Verdict):
    bench = validated()
    source, other = bench.member(), bench.member()
    bench.say(source, publish=(message(b"data"),))
    (ticket,) = bench.router.take_tickets()

    bench.router.on_verdict(ticket, verdict, bench.now_s)

    assert (bench.data, bench.sent_data(other)) == ([], [])
    is_rejected = verdict is Verdict.REJECT
    assert misbehaviour(bench, source) == ({Misbehaviour.INVALID_MESSAGE: 1} if is_rejected else {})
    name = "rejected" if is_rejected else "ignored"
    assert bench.observer.of(name)[0][:3] == (source, TOPIC, id_of(b"data"))
    assert bench.books.balance == 0
    bench.say(other, publish=(message(b"data"),))
    assert bench.router.take_tickets() == []


def test_nothing_goes_back_to_who_sent_it_meanwhile():
    bench = validated()
    source, meanwhile, other = bench.member(), bench.member(), bench.member()
    bench.say(source, publish=(message(b"data"),))
    bench.say(meanwhile, publish=(message(b"data"),))
    (ticket,) = bench.router.take_tickets()

    bench.router.on_verdict(ticket, Verdict.ACCEPT, bench.now_s)

    assert [bench.sent_data(peer) for peer in (source, meanwhile, other)] == [[], [], [b"data"]]
    assert bench.observer.of("sent_meanwhile") == [(meanwhile, TOPIC, id_of(b"data"))]


def test_a_rejection_is_charged_to_all_who_sent_it_before_and_after():
    bench = validated()
    source, meanwhile, after = bench.member(), bench.member(), bench.member()
    bench.say(source, publish=(message(b"data"),))
    bench.say(meanwhile, publish=(message(b"data"),))
    (ticket,) = bench.router.take_tickets()
    bench.router.on_verdict(ticket, Verdict.REJECT, bench.now_s)
    bench.say(after, publish=(message(b"data"),))
    for peer in (source, meanwhile, after):
        assert misbehaviour(bench, peer) == {Misbehaviour.INVALID_MESSAGE: 1}
    again = bench.observer.of("invalid_again")
    assert again == [(meanwhile, TOPIC, id_of(b"data")), (after, TOPIC, id_of(b"data"))]


def test_a_message_that_waits_holds_up_no_other():
    bench = validated()
    source, other = bench.member(), bench.member()
    bench.say(source, publish=(message(b"slow"), message(b"quick")))
    slow, quick = bench.router.take_tickets()
    bench.router.on_verdict(quick, Verdict.ACCEPT, bench.now_s)
    assert bench.sent_data(other) == [b"quick"]
    bench.router.on_verdict(slow, Verdict.ACCEPT, bench.now_s)
    assert bench.sent_data(other) == [b"slow"]


def test_a_second_verdict_means_nothing():
    bench = validated()
    source = bench.member()
    bench.say(source, publish=(message(b"data"),))
    (ticket,) = bench.router.take_tickets()
    for _ in range(2):
        bench.router.on_verdict(ticket, Verdict.ACCEPT, bench.now_s)
    bench.router.on_verdict(ticket, Verdict.REJECT, bench.now_s)
    assert bench.data == [b"data"]
    assert bench.books.balance == 0


def test_a_verdict_that_takes_too_long_counts_as_ignore():
    bench = validated(GossipParams(validation_timeout_s=3))
    source = bench.member()
    bench.say(source, publish=(message(b"data"),))
    (ticket,) = bench.router.take_tickets()
    bench.beat(5)
    assert [call[-1] for call in bench.observer.of("ignored")] == [IgnoreReason.TIMEOUT]
    assert bench.books.pending == 0
    bench.router.on_verdict(ticket, Verdict.ACCEPT, bench.now_s)
    assert bench.data == []


def test_a_verdict_after_the_sender_went_still_counts():
    bench = validated()
    source, other = bench.member(), bench.member()
    bench.say(source, publish=(message(b"data"),))
    (ticket,) = bench.router.take_tickets()
    bench.router.remove_peer(source, bench.now_s)
    bench.router.on_verdict(ticket, Verdict.ACCEPT, bench.now_s)
    assert bench.sent_data(other) == [b"data"]


FORGETFUL = GossipParams(seen_ttl_s=5, validation_timeout_s=60)


def forgotten_while_it_waits() -> tuple[OneRouter, PeerId, Ticket]:
    bench = validated(FORGETFUL)
    source = bench.member()
    bench.say(source, publish=(message(b"data"),))
    (ticket,) = bench.router.take_tickets()
    bench.beat(8)
    assert (ticket.is_open, bench.router.view.seen_ids) == (True, 0)
    return bench, source, ticket


def test_a_message_that_waits_is_no_new_one_after_its_id_was_forgotten():
    bench, _, ticket = forgotten_while_it_waits()
    teller, other = bench.outsider(), bench.member()
    bench.say(teller, ihave=(id_of(b"data"),))
    bench.sent(teller)

    bench.say(teller, publish=(message(b"data"),))

    assert bench.router.take_tickets() == []
    assert bench.observer.of("duplicate")[0][:3] == (teller, TOPIC, id_of(b"data"))
    assert bench.observer.of("promise_kept") == [(teller,)]
    bench.router.on_verdict(ticket, Verdict.ACCEPT, bench.now_s)
    assert (bench.data, bench.sent_data(other), bench.sent_data(teller)) == ([b"data"], [b"data"], [])
    assert bench.router.view.pending_validations == bench.books.balance == 0


@pytest.mark.parametrize("verdict", [*Verdict, None], ids=str)
def test_what_was_decided_after_its_id_was_forgotten_is_not_decided_again(verdict: Verdict | None):
    bench, source, ticket = forgotten_while_it_waits()
    if verdict is None:
        bench.beat(54)
    else:
        bench.router.on_verdict(ticket, verdict, bench.now_s)
    assert not ticket.is_open

    bench.say(source, publish=(message(b"data"),))

    assert bench.router.take_tickets() == []
    assert bench.observer.count("duplicate") == 1
    assert bench.data == ([b"data"] if verdict is Verdict.ACCEPT else [])


def test_leaving_a_topic_ends_the_wait_of_its_messages():
    bench = validated()
    source = bench.member()
    bench.say(source, publish=(message(b"data"),))
    (ticket,) = bench.router.take_tickets()
    bench.router.unsubscribe(TOPIC, bench.now_s)
    assert bench.router.view.pending_validations == 0
    bench.router.on_verdict(ticket, Verdict.ACCEPT, bench.now_s)
    assert bench.data == []
    assert [call[-1] for call in bench.observer.of("ignored")] == [IgnoreReason.LEFT]
    assert bench.books.balance == bench.books.pending == 0


# Throttling.


def test_a_throttled_copy_is_counted_and_another_may_still_come():
    bench = validated(GossipParams(validation_limit=2))
    first, second = bench.member(), bench.member()
    bench.say(first, publish=(message(b"a"),))
    bench.say(second, publish=(message(b"b"),))
    bench.say(first, publish=(message(b"c"),))
    assert [call[-1] for call in bench.observer.of("throttled")] == [ThrottleReason.GLOBAL]
    assert bench.books.balance == 0

    for ticket in bench.router.take_tickets():
        bench.router.on_verdict(ticket, Verdict.ACCEPT, bench.now_s)
    bench.say(second, publish=(message(b"c"),))
    assert [ticket.data for ticket in bench.router.take_tickets()] == [b"c"]


def test_a_promise_is_kept_by_a_copy_that_is_throttled():
    bench = validated(GossipParams(validation_limit=1))
    teller, other = bench.outsider(), bench.member()
    bench.say(other, publish=(message(b"first"),))
    bench.say(teller, ihave=(id_of(b"data"),))
    bench.say(teller, publish=(message(b"data"),))
    assert bench.observer.count("throttled") == 1
    bench.beat(6)
    assert bench.observer.of("promise_kept") == [(teller,)]
    assert misbehaviour(bench, teller) == {}


def test_a_forged_copy_keeps_no_promise():
    bench = signed()
    teller = bench.outsider()
    original = Signer(AUTHOR).message(TOPIC, b"data", 1)
    bench.say(teller, ihave=((original.source or b"") + (original.seqno or b""),))
    bench.sent(teller)
    bench.say(teller, publish=(altered(original, signature=bytes(64)),))
    bench.beat(6)
    assert bench.observer.of("promise_kept") == []
    assert bench.observer.of("promise_broken") == [(teller,)]


def test_one_topic_cannot_use_up_the_room_of_others():
    rules = lambda topic: VALIDATED  # noqa: E731
    bench = OneRouter(GossipParams(validation_topic_limit=2), topics=("a", "b"), rules=rules)
    peers = [bench.peer(topics=("a", "b")) for _ in range(3)]
    for index, peer in enumerate(peers):
        bench.say(peer, publish=(message(b"%d" % index, "a"),))
    bench.say(peers[2], publish=(message(b"x", "b"),))
    assert [call[-1] for call in bench.observer.of("throttled")] == [ThrottleReason.TOPIC]
    assert [ticket.data for ticket in bench.router.take_tickets()] == [b"0", b"1", b"x"]


def test_one_peer_cannot_use_up_the_room_of_others():
    bench = validated(GossipParams(validation_limit=100))
    greedy, modest = bench.member(), bench.member()
    bench.say(greedy, publish=tuple(message(b"g%d" % index) for index in range(200)))
    bench.say(modest, publish=tuple(message(b"m%d" % index) for index in range(10)))
    tickets = bench.router.take_tickets()
    assert sum(ticket.peer == greedy for ticket in tickets) == 50
    assert sum(ticket.peer == modest for ticket in tickets) == 10
    reasons = [call[-1] for call in bench.observer.of("throttled")]
    assert reasons == [ThrottleReason.PEER] * 150
    assert bench.books.balance == 0


def test_the_bytes_that_wait_are_bounded():
    bench = validated(GossipParams(validation_limit_bytes=5000))
    source, other = bench.member(), bench.member()
    bench.say(source, publish=(message(bytes(2000)),))
    bench.say(other, publish=(message(bytes(2100)), message(b"x" * 800)))
    assert [call[-1] for call in bench.observer.of("throttled")] == [ThrottleReason.PEER]
    bench.say(bench.member(), publish=(message(bytes(4000)),))
    assert [call[-1] for call in bench.observer.of("throttled")][-1] == ThrottleReason.BYTES


# Policies.


def test_strict_no_sign_refuses_what_says_who_made_it():
    bench = OneRouter()
    source = bench.member()
    bench.say(source, publish=(Signer(AUTHOR).message(TOPIC, b"data", 1),))
    assert bench.data == []
    assert [call[-1] for call in bench.observer.of("rejected")] == [RejectReason.POLICY]
    assert misbehaviour(bench, source) == {Misbehaviour.INVALID_MESSAGE: 1}


def test_strict_sign_takes_what_is_signed_rightly():
    bench = signed()
    source, other = bench.member(), bench.member()
    original = Signer(AUTHOR).message(TOPIC, b"data", 1)
    bench.say(source, publish=(original,))
    assert bench.data == [b"data"]
    assert bench.frames(other) == [original.field]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"signature": bytes(64)}, RejectReason.SIGNATURE),
        ({"signature": None}, RejectReason.POLICY),
        ({"source": None}, RejectReason.POLICY),
        ({"source": b"nobody"}, RejectReason.POLICY),
        ({"seqno": None}, RejectReason.POLICY),
        ({"seqno": b"short"}, RejectReason.POLICY),
        ({"seqno": bytes(8)}, RejectReason.SIGNATURE),
        ({"key": b"no key at all"}, RejectReason.POLICY),
        ({"key": KEY.public_key.encode()}, RejectReason.POLICY),
    ],
)
def test_strict_sign_refuses_everything_else(changes: dict[str, bytes | None], reason: RejectReason):
    """js 16.0.5: the key is bound to the author, and a malformed one is charged, not raised."""
    bench = signed()
    source = bench.member()
    bench.say(source, publish=(altered(Signer(AUTHOR).message(TOPIC, b"data", 1), **changes),))
    assert bench.data == []
    assert [call[-1] for call in bench.observer.of("rejected")] == [reason]
    assert misbehaviour(bench, source) == {Misbehaviour.INVALID_MESSAGE: 1}
    assert bench.books.balance == 0


def test_a_forged_copy_does_not_keep_the_true_one_out():
    bench = signed()
    forger, honest = bench.member(), bench.member()
    original = Signer(AUTHOR).message(TOPIC, b"data", 1)
    bench.say(forger, publish=(altered(original, signature=bytes(64)),))
    bench.say(honest, publish=(original,))
    assert bench.delivered == [(TOPIC, b"data", honest)]


def test_own_messages_from_before_a_restart_are_ignored_and_nobody_is_blamed():
    bench = signed(local=KEY.peer_id)
    source = bench.member()
    bench.say(source, publish=(Signer(KEY).message(TOPIC, b"data", 1),))
    assert [call[-1] for call in bench.observer.of("ignored")] == [IgnoreReason.OWN]
    assert misbehaviour(bench, source) == {}
    assert bench.data == []


def test_a_replay_is_ignored_after_its_id_was_forgotten():
    bench = signed(rules=lambda topic: TopicRules(is_replay_checked=True))
    source = bench.member()
    signer = Signer(AUTHOR)
    for seqno in (5, 6):
        bench.say(source, publish=(signer.message(TOPIC, b"%d" % seqno, seqno),))
    bench.beat(130)
    assert bench.router.view.seen_ids == 0

    for seqno in (5, 6, 7):
        bench.say(source, publish=(signer.message(TOPIC, b"%d" % seqno, seqno),))

    assert bench.data == [b"5", b"6", b"7"]
    assert [call[-1] for call in bench.observer.of("ignored")] == [IgnoreReason.REPLAY] * 2
    assert misbehaviour(bench, source) == {}


def test_authors_are_bounded():
    params = GossipParams(author_limit=2)
    bench = signed(params=params, rules=lambda topic: TopicRules(is_replay_checked=True))
    source = bench.member()
    for index in range(3):
        author = Signer(PrivateKey.of_kind(KeyKind.ED25519, bytes([index]) * 32))
        bench.say(source, publish=(author.message(TOPIC, b"data", 1),))
    assert bench.observer.of("turned_away") == [("authors", 1)]


# Size and transform.


class Doubling:
    """A transform that can be counted: what travels is half of what the application sees."""

    def __init__(self) -> None:
        self.runs = 0

    def compress(self, data: bytes) -> bytes:
        return data[: len(data) // 2]

    def decompress(self, data: bytes, limit_bytes: int) -> bytes | None:
        self.runs += 1
        if data.startswith(b"bad") or len(data) * 2 > limit_bytes:
            return None
        return data * 2


@pytest.fixture
def transform() -> Doubling:
    return Doubling()


def transformed(transform: Doubling, params: GossipParams | None = None) -> OneRouter:
    rules = TopicRules(
        message_id=DomainSeparatedHash(valid_domain=b"v", invalid_domain=b"i"), transform=transform
    )
    return OneRouter(params, rules=lambda topic: rules)


def test_the_transform_runs_once_per_message(transform: Doubling):
    bench = transformed(transform)
    members = [bench.member() for _ in range(4)]
    for member in members:
        bench.say(member, publish=(message(b"data"),))
    assert transform.runs == 1
    assert bench.data == [b"datadata"]
    assert bench.observer.count("duplicate") == 3


def test_what_is_forwarded_is_not_transformed_again(transform: Doubling):
    bench = transformed(transform)
    source, other = bench.member(), bench.member()
    bench.say(source, publish=(message(b"data"),))
    assert bench.sent_data(other) == [b"data"]


def test_what_is_published_is_transformed_once_for_all(transform: Doubling):
    bench = transformed(transform)
    peers = [bench.member() for _ in range(3)]
    bench.router.publish(TOPIC, b"datadata", bench.now_s)
    assert [bench.sent_data(peer) for peer in peers] == [[b"data"]] * 3


@pytest.mark.parametrize("data", [b"bad data", b"x" * 60])
def test_what_cannot_be_transformed_is_rejected_once_and_known_after(transform: Doubling, data: bytes):
    bench = transformed(transform, GossipParams(message_limit_bytes=100))
    source, other = bench.member(), bench.member()
    bench.say(source, publish=(message(data),))
    bench.say(other, publish=(message(data),))
    assert transform.runs == 1
    assert bench.data == []
    assert [call[-1] for call in bench.observer.of("rejected")] == [RejectReason.DECODE]
    assert misbehaviour(bench, other) == {Misbehaviour.INVALID_MESSAGE: 1}
    assert bench.books.balance == 0


def test_oversized_data_is_counted_as_such():
    bench = OneRouter(GossipParams(message_limit_bytes=4))
    source = bench.member()
    bench.say(source, publish=(message(b"12345"),))
    assert bench.observer.of("oversized") == [(source, TOPIC, len(message(b"12345").field))]
    assert (bench.data, bench.books.balance) == ([], 0)


def test_messages_of_topics_we_do_not_take_are_counted_as_such():
    bench = OneRouter()
    source = bench.member()
    bench.say(source, publish=(message(b"data", "unknown"),))
    assert bench.observer.count("not_subscribed") == 1
    assert bench.router.view.topics == [TOPIC]
    assert bench.books.balance == 0


def test_the_books_close_at_every_moment():
    bench = validated(GossipParams(validation_limit=4, message_limit_bytes=22))
    peers = [bench.member() for _ in range(3)]
    tickets: list[Ticket] = []
    for index in range(40):
        data = b"%d" % (index // 2) if index % 5 else bytes(20)
        topic = TOPIC if index % 7 else "unknown"
        bench.say(peers[index % 3], publish=(message(data, topic),))
        tickets += bench.router.take_tickets()
        if index % 3 == 0 and tickets:
            bench.router.on_verdict(tickets.pop(0), list(Verdict)[index % 3], bench.now_s)
        assert bench.books.balance == 0
    assert bench.books.received == 40
    assert bench.books.pending == len(tickets)
