"""In which order a copy is checked: what is forged leaves nothing behind, and nothing is checked for ever."""

import tracemalloc
import zlib

import attrs
import pytest
from gossip.one_router import TOPIC, OneRouter, message, misbehaviour
from leanmesh.contain import ContainedErrors
from leanmesh.errors import LocalError
from leanmesh.gossip import entries
from leanmesh.gossip.message_id import NoMessageId, sha256_of_data
from leanmesh.gossip.observer import IgnoreReason, Misbehaviour, RejectReason, ThrottleReason
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.rpc import Message
from leanmesh.gossip.rules import TopicRules
from leanmesh.gossip.signing import SignaturePolicy, Signer, verify
from leanmesh.gossip.validation import Verdict
from leanmesh.identity.keys import KeyKind, PrivateKey, PublicKey

KEY = PrivateKey.of_kind(KeyKind.ED25519, bytes(range(32)))
AUTHOR = Signer(PrivateKey.of_kind(KeyKind.ED25519, bytes(32)))


class Zlib:
    """A transform that makes much of little."""

    def __init__(self) -> None:
        self.runs = 0

    def compress(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decompress(self, data: bytes, limit_bytes: int) -> bytes | None:
        self.runs += 1
        inflate = zlib.decompressobj()
        try:
            inflated = inflate.decompress(data, limit_bytes)
        except zlib.error:
            return None
        return inflated if inflate.eof else None


def signed(rules: TopicRules, **options: object) -> OneRouter:
    return OneRouter(
        policy=SignaturePolicy.STRICT_SIGN,
        signer=Signer(KEY),
        local=KEY.peer_id,
        rules=lambda topic: rules,
        **options,
    )


def forged(original: Message, data: bytes) -> Message:
    """What says to be a message and is another, with the signature of the true one."""
    field = entries.message(
        original.topic.encode(), data, original.source, original.seqno, original.signature, original.key
    )
    return attrs.evolve(original, data=data, field=field)


# Signed messages with a transform.


def test_what_is_forged_and_cannot_be_transformed_does_not_keep_the_true_message_out():
    bench = signed(TopicRules(transform=Zlib()))
    forger, honest = bench.member(), bench.member()
    original = AUTHOR.message(TOPIC, zlib.compress(b"data"), 7)
    bench.say(forger, publish=(forged(original, b"junk"),))
    bench.say(honest, publish=(original,))
    assert bench.delivered == [(TOPIC, b"data", honest)]
    assert [call[-1] for call in bench.observer.of("rejected")] == [RejectReason.SIGNATURE]
    assert misbehaviour(bench, forger) == {Misbehaviour.INVALID_MESSAGE: 1}
    assert misbehaviour(bench, honest) == {}
    assert bench.books.balance == 0


def test_what_is_rightly_signed_and_cannot_be_transformed_is_transformed_once():
    bench = signed(TopicRules(transform=(transform := Zlib())))
    first, second = bench.member(), bench.member()
    junk = AUTHOR.message(TOPIC, b"junk", 7)
    for peer in (first, second):
        bench.say(peer, publish=(junk,))
        assert misbehaviour(bench, peer) == {Misbehaviour.INVALID_MESSAGE: 1}
    assert transform.runs == 1
    assert [call[-1] for call in bench.observer.of("rejected")] == [RejectReason.DECODE]


def test_the_same_data_under_another_number_is_another_message():
    bench = signed(TopicRules(transform=(transform := Zlib())))
    source, other = bench.member(), bench.member()
    copies = [AUTHOR.message(TOPIC, zlib.compress(b"ping"), seqno) for seqno in (1, 2)]
    for peer in (source, other):
        bench.say(peer, publish=tuple(copies))
    assert bench.data == [b"ping", b"ping"]
    assert (bench.observer.count("duplicate"), transform.runs) == (2, 2)


@pytest.mark.parametrize("is_junk", [True, False])
def test_an_author_of_any_length_is_held_by_no_table(is_junk: bool):
    bench = signed(TopicRules(transform=Zlib()))
    peer = bench.member()
    tracemalloc.start()
    for number in range(50):
        data = b"junk" if is_junk else zlib.compress(b"%d" % number)
        source = number.to_bytes(4, "big") + bytes(100_000)
        field = entries.message(TOPIC.encode(), data, source, bytes(8))
        bench.say(peer, publish=(Message(TOPIC, data, source, bytes(8), None, None, field),))
    del source, field
    bench.observer.calls.clear()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bench.router.view.seen_ids == 0
    assert held < 300_000


# Room to wait.


def test_what_a_transform_made_counts_towards_the_bytes_that_wait():
    rules = TopicRules(message_id=sha256_of_data, transform=Zlib(), is_validated=True)
    bench = OneRouter(GossipParams(validation_limit_bytes=100_000), rules=lambda topic: rules)
    source, other = bench.member(), bench.member()
    large = message(zlib.compress(bytes(45_000)))
    bench.say(source, publish=(large, message(zlib.compress(bytes(10_000)))))
    bench.say(other, publish=(message(zlib.compress(bytes(60_000))),))
    reasons = [call[-1] for call in bench.observer.of("throttled")]
    assert reasons == [ThrottleReason.PEER, ThrottleReason.BYTES]
    assert bench.observer.of("pending_changed") == [(1, 45_000 + len(large.field))]

    (ticket,) = bench.router.take_tickets()
    bench.router.on_verdict(ticket, Verdict.IGNORE, bench.now_s)

    assert bench.observer.of("pending_changed")[-1] == (0, 0)


# What is repeated for ever.


class Counting:
    """The verifier, and how often it was asked."""

    def __init__(self) -> None:
        self.checks = 0

    def __call__(self, key: PublicKey, signature: bytes, signed_bytes: bytes) -> bool:
        self.checks += 1
        return verify(key, signature, signed_bytes)


def test_our_own_message_from_before_a_restart_is_checked_once_and_ignored_each_time():
    bench = signed(TopicRules(), verifier=(verifier := Counting()))
    peer = bench.member()
    own = Signer(KEY).message(TOPIC, b"data", 1)
    for _ in range(5):
        bench.say(peer, publish=(own,))
    assert verifier.checks == 1
    assert [call[-1] for call in bench.observer.of("ignored")] == [IgnoreReason.OWN] * 5
    assert misbehaviour(bench, peer) == {}


def test_a_replay_is_checked_once_and_ignored_each_time():
    bench = signed(TopicRules(is_replay_checked=True), verifier=(verifier := Counting()))
    peer = bench.member()
    old, new = (AUTHOR.message(TOPIC, b"data", seqno) for seqno in (1, 2))
    for copy in (new, *[old] * 5):
        bench.say(peer, publish=(copy,))
    assert verifier.checks == 2
    assert [call[-1] for call in bench.observer.of("ignored")] == [IgnoreReason.REPLAY] * 5
    assert bench.books.balance == 0


@pytest.mark.parametrize("author", [Signer(KEY), AUTHOR], ids=["own", "replay"])
def test_what_only_says_to_be_our_own_or_a_replay_is_charged_before_and_after_the_true_one(author: Signer):
    bench = signed(TopicRules(is_replay_checked=True))
    peer = bench.member()
    bench.say(peer, publish=(AUTHOR.message(TOPIC, b"new", 2),))
    original = author.message(TOPIC, b"data", 1)
    for copy in (forged(original, b"other"), original, forged(original, b"other")):
        bench.say(peer, publish=(copy,))
    assert [call[-1] for call in bench.observer.of("rejected")] == [RejectReason.SIGNATURE] * 2
    assert misbehaviour(bench, peer) == {Misbehaviour.INVALID_MESSAGE: 2}


def test_what_finds_no_room_has_no_signature_checked():
    rules = TopicRules(is_validated=True)
    bench = signed(rules, params=GossipParams(validation_limit=1), verifier=(verifier := Counting()))
    peer = bench.member()
    for seqno in range(5):
        bench.say(peer, publish=(AUTHOR.message(TOPIC, b"data", seqno),))
    assert verifier.checks == 1
    assert bench.observer.count("throttled") == 4


def test_what_finds_no_room_keeps_a_promise_if_it_is_rightly_signed():
    bench = signed(TopicRules(is_validated=True), params=GossipParams(validation_limit=1))
    peer, teller = bench.member(), bench.outsider()
    bench.say(peer, publish=(AUTHOR.message(TOPIC, b"data", 1),))
    original = AUTHOR.message(TOPIC, b"data", 2)
    bench.say(teller, ihave=((original.source or b"") + (original.seqno or b""),))
    bench.sent(teller)

    bench.say(peer, publish=(forged(original, b"other"),))
    assert bench.observer.of("promise_kept") == []
    assert misbehaviour(bench, peer) == {Misbehaviour.INVALID_MESSAGE: 1}

    bench.say(teller, publish=(original,))
    assert bench.observer.of("promise_kept") == [(teller,)]
    assert bench.observer.count("throttled") == 1


# Functions of others.


def test_a_message_whose_id_cannot_be_made_is_ignored_and_the_error_counted():
    """As a shell does that takes the function from its user."""
    errors = ContainedErrors()

    def users(copy: Message, content: bytes | None) -> bytes:
        return b"%d" % int(copy.data)

    def contained(copy: Message, content: bytes | None) -> bytes:
        with errors.contain("message id"):
            return users(copy, content)
        raise NoMessageId(f"message id of {copy.topic}")

    bench = OneRouter(rules=lambda topic: TopicRules(message_id=contained))
    peer = bench.member()
    bench.say(peer, publish=(message(b"no number"), message(b"7")))
    assert bench.data == [b"7"]
    assert errors.counts == {"message id": 1}
    size = len(message(b"no number").field)
    assert bench.observer.of("ignored") == [(peer, TOPIC, None, size, IgnoreReason.NO_ID)]
    assert misbehaviour(bench, peer) == {}
    assert bench.books.balance == 0
    with pytest.raises(LocalError):
        bench.router.publish(TOPIC, b"no number", bench.now_s)


# Judged twice.


def test_nobody_is_charged_for_the_first_verdict_on_a_message_that_is_judged_anew():
    rules = TopicRules(message_id=sha256_of_data, is_validated=True)
    bench = OneRouter(rules=lambda topic: rules)
    source, meanwhile, after = bench.member(), bench.member(), bench.member()
    bench.say(source, publish=(message(b"early"),))
    (ticket,) = bench.router.take_tickets()
    bench.router.on_verdict(ticket, Verdict.REJECT, bench.now_s)
    bench.beat(130)
    assert bench.router.view.seen_ids == 0

    bench.say(source, publish=(message(b"early"),))
    bench.say(meanwhile, publish=(message(b"early"),))
    (ticket,) = bench.router.take_tickets()
    bench.router.on_verdict(ticket, Verdict.ACCEPT, bench.now_s)
    bench.say(after, publish=(message(b"early"),))

    assert bench.data == [b"early"]
    assert [misbehaviour(bench, peer) for peer in (meanwhile, after)] == [{}, {}]
