"""IDONTWANT: whom we tell, what is spared, and what is remembered of it."""

import pytest
from gossip.one_router import TOPIC, OneRouter, id_of, message, misbehaviour
from leanmesh.gossip.message_id import sha256_of_data
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.rpc import Control
from leanmesh.gossip.rules import TopicRules
from leanmesh.gossip.wire_params import OutboxLimits

PARAMS = GossipParams()
LARGE = bytes(PARAMS.idontwant_threshold_bytes)
# Its dialect forgets who sent duplicates, as most do.
FORGETFUL = "go-libp2p/0.51"
VALIDATED = TopicRules(message_id=sha256_of_data, is_validated=True)


# IDONTWANT, sent.


def test_idontwant_is_sent_before_the_verdict_to_the_mesh_but_the_sender():
    bench = OneRouter(rules=lambda topic: VALIDATED)
    source, other, old = bench.member(), bench.member(), bench.member(protocol="/meshsub/1.1.0")
    outsider = bench.outsider()
    bench.discard_sent()

    bench.say(source, publish=(message(LARGE),))

    sent = {peer: bench.sent(peer).control.idontwant for peer in (source, other, old, outsider)}
    assert sent == {source: [], other: [id_of(LARGE)], old: [], outsider: []}
    assert bench.observer.of("idontwant_sent") == [((other,), TOPIC, id_of(LARGE))]


def test_idontwant_stands_before_the_message_in_what_is_written():
    bench = OneRouter()
    source, other = bench.member(), bench.member(agent=FORGETFUL)
    bench.say(source, publish=(message(LARGE),))
    first, *_ = bench.frames(other)
    assert first.index(id_of(LARGE)) < len(first) - len(LARGE)


def test_who_remembers_senders_is_told_by_the_copy_alone():
    bench = OneRouter()
    source, other, forgetful = bench.member(), bench.member(), bench.member(agent=FORGETFUL)
    bench.say(source, publish=(message(LARGE),))
    assert bench.sent(other).control.idontwant == []
    assert bench.sent(forgetful).control.idontwant == [id_of(LARGE)]
    assert bench.observer.of("idontwant_sent") == [((forgetful,), TOPIC, id_of(LARGE))]


def test_a_copy_at_the_end_of_a_long_queue_tells_nobody_soon_enough():
    bench = OneRouter()
    source, other = bench.member(), bench.member()
    large = [LARGE + b"%02d" % number for number in range(70)]
    bench.say(source, publish=tuple(map(message, large)))
    assert bench.sent(other).control.idontwant == list(map(id_of, large))


def test_idontwant_goes_ahead_of_a_large_message_of_ours():
    """Unsigned messages do not show their author: without it the mesh would send them back."""
    bench = OneRouter()
    member, outsider = bench.member(), bench.outsider()
    bench.router.publish(TOPIC, LARGE, bench.now_s)
    assert bench.sent(member).control.idontwant == [id_of(LARGE)]
    assert bench.sent(outsider).control.idontwant == []


def test_small_messages_and_duplicates_cause_no_idontwant():
    bench = OneRouter()
    source, other = bench.member(), bench.member()
    bench.say(source, publish=(message(LARGE[:-1]),))
    assert bench.sent(other).control == Control()
    bench.say(source, publish=(message(LARGE),))
    bench.discard_sent()
    bench.say(source, publish=(message(LARGE),))
    assert bench.sent(other).control == Control()


def test_who_was_asked_for_a_message_is_told_when_it_comes_from_elsewhere():
    bench = OneRouter()
    source, teller = bench.member(), bench.outsider()
    bench.say(teller, ihave=(id_of(LARGE),))
    bench.sent(teller)
    bench.say(source, publish=(message(LARGE),))
    assert bench.sent(teller).control.idontwant == [id_of(LARGE)]


def test_a_question_that_still_waits_is_withdrawn_when_the_message_comes():
    bench = OneRouter()
    source, teller = bench.member(), bench.outsider()
    bench.say(teller, ihave=(id_of(b"data"),))
    bench.say(source, publish=(message(b"data"),))
    assert bench.sent(teller).control == Control()


def test_who_sends_what_we_asked_for_hears_no_word_of_it():
    bench = OneRouter()
    teller = bench.outsider()
    for data, is_asked in ((LARGE, True), (LARGE + b"pushed before it was asked", False)):
        bench.say(teller, ihave=(id_of(data),))
        if is_asked:
            bench.sent(teller)
        bench.say(teller, publish=(message(data),))
        assert bench.sent(teller).control == Control()


def test_whom_no_idontwant_can_be_said_any_more_is_not_told():
    """A pass may bring more large messages than may wait: the books tell what was said."""
    limits = OutboxLimits(idontwant_ids=3)
    bench = OneRouter(rules=lambda topic: VALIDATED, outbox_limits=limits)
    source, other = bench.member(), bench.member()
    large = [LARGE + b"%d" % number for number in range(5)]
    bench.say(source, publish=tuple(map(message, large)))
    said = [id_of(data) for data in large[2:]]
    assert bench.observer.of("idontwant_sent") == [((other,), TOPIC, id_) for id_ in said]
    assert bench.sent(other).control.idontwant == said
    bench.say(other, publish=tuple(map(message, large)))
    assert bench.observer.of("crossed_idontwant") == [(other, TOPIC, id_) for id_ in said]


def test_a_copy_that_crossed_our_idontwant_is_noticed_and_no_fault():
    bench = OneRouter()
    source, other = bench.member(), bench.member(agent=FORGETFUL)
    bench.say(source, publish=(message(LARGE),))
    bench.say(other, publish=(message(LARGE),))
    bench.say(source, publish=(message(LARGE),))
    assert bench.observer.of("crossed_idontwant") == [(other, TOPIC, id_of(LARGE))]
    assert misbehaviour(bench, other) == {}


def test_of_each_message_is_remembered_whom_we_told_and_for_how_long():
    bench = OneRouter()
    source, one, two = bench.member(), bench.member(agent=FORGETFUL), bench.member(agent=FORGETFUL)
    first, second, third, fourth = (LARGE + word for word in (b"first", b"second", b"third", b"fourth"))
    bench.say(source, publish=(message(first),))
    bench.say(two, publish=(message(second),))
    # Nobody asked it not to.
    bench.say(two, publish=(message(second),))
    for data in (third, fourth):
        bench.beat()
        bench.say(source, publish=(message(data),))
    assert bench.observer.of("crossed_idontwant") == []
    assert bench.observer.of("idontwant_sent") == [
        ((one, two), TOPIC, id_of(first)),
        ((one,), TOPIC, id_of(second)),
        ((one, two), TOPIC, id_of(third)),
        ((one, two), TOPIC, id_of(fourth)),
    ]

    bench.beat(PARAMS.idontwant_ttl_ticks - 1)
    bench.say(one, publish=tuple(map(message, (first, second, third, fourth))))
    assert bench.observer.of("crossed_idontwant") == [(one, TOPIC, id_of(fourth))]


# IDONTWANT, received.


def test_idontwant_is_honoured_when_forwarding():
    bench = OneRouter()
    source, other = bench.member(), bench.member()
    bench.say(other, idontwant=(id_of(b"data"),))
    bench.say(source, publish=(message(b"data"),))
    assert bench.sent_data(other) == []
    assert bench.observer.of("spared")[0][:3] == (other, TOPIC, id_of(b"data"))


def test_idontwant_is_honoured_when_publishing():
    bench = OneRouter()
    other = bench.member()
    bench.say(other, idontwant=(id_of(b"data"),))
    receipt = bench.router.publish(TOPIC, b"data", bench.now_s)
    assert bench.sent_data(other) == []
    assert (receipt.recipients, receipt.queued, receipt.dropped) == (1, 0, {"withdrawn": 1})


def test_idontwant_is_honoured_when_answering_iwant():
    bench = OneRouter()
    source, other = bench.member(), bench.outsider()
    bench.say(source, publish=(message(b"data"),))
    bench.say(other, idontwant=(id_of(b"data"),))
    bench.say(other, iwant=(id_of(b"data"),))
    assert bench.sent_data(other) == []


def test_idontwant_cancels_an_answer_to_iwant_and_withdraws_queued_copies():
    bench = OneRouter()
    source, member, asker = bench.member(), bench.member(), bench.outsider()
    bench.say(source, publish=(message(b"data"),))
    bench.say(asker, iwant=(id_of(b"data"),))
    for peer in (member, asker):
        bench.say(peer, idontwant=(id_of(b"data"),))
        assert bench.sent_data(peer) == []
    dropped = bench.observer.of("copies_dropped")
    assert dropped == [(member, "withdrawn", 1), (asker, "withdrawn", 1)]


def test_a_duplicate_from_a_peer_withdraws_the_copy_that_waits_for_it():
    bench = OneRouter()
    source, other = bench.member(), bench.member()
    bench.say(source, publish=(message(b"data"),))
    bench.say(other, publish=(message(b"data"),))
    assert bench.sent_data(other) == []


def test_idontwant_expires_after_three_heartbeats():
    bench = OneRouter()
    source, other = bench.member(), bench.member()
    for passed in (2, 3):
        data = b"%d" % passed
        bench.say(other, idontwant=(id_of(data),))
        bench.beat(passed)
        bench.say(source, publish=(message(data),))
    assert bench.sent_data(other) == [b"3"]


def test_idontwant_memory_is_bounded_and_the_newest_count():
    bench = OneRouter(GossipParams(idontwant_ids_limit=2))
    source, other = bench.member(), bench.member()
    datas = [b"a", b"b", b"c"]
    bench.say(other, idontwant=tuple(id_of(data) for data in datas))
    bench.say(source, publish=tuple(message(data) for data in datas))
    assert bench.sent_data(other) == [b"a"]
    assert ("unwanted", 1) in bench.observer.of("turned_away")


@pytest.mark.parametrize("protocol", ["/floodsub/1.0.0", "/meshsub/1.0.0", "/meshsub/1.1.0"])
def test_idontwant_is_understood_whatever_was_negotiated(protocol: str):
    bench = OneRouter()
    source, other = bench.member(), bench.peer(protocol=protocol)
    bench.say(other, idontwant=(id_of(b"data"),))
    bench.say(source, publish=(message(b"data"),))
    assert bench.sent_data(other) == []
