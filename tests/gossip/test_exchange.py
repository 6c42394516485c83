"""IHAVE, IWANT and IDONTWANT: what is said, asked, answered and spared, and every budget."""

from collections import Counter

import pytest
from gossip.one_router import TOPIC, OneRouter, message
from gossip.scores import SetScores
from leanmesh.gossip.message_id import sha256_of_data
from leanmesh.gossip.observer import Misbehaviour
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.rpc import Control, IHave, Prune
from leanmesh.gossip.rules import TopicRules
from leanmesh.gossip.validation import Verdict
from leanmesh.identity.peer_id import PeerId

PARAMS = GossipParams()
LARGE = bytes(PARAMS.idontwant_threshold_bytes)
# Its dialect forgets who sent duplicates, as most do.
FORGETFUL = "go-libp2p/0.51"
VALIDATED = TopicRules(message_id=sha256_of_data, is_validated=True)


def id_of(data: bytes) -> bytes:
    return sha256_of_data(message(data), data)


def misbehaviour(bench: OneRouter, peer: PeerId) -> dict[Misbehaviour, int]:
    view = bench.router.view.peer(peer, bench.now_s)
    assert view is not None
    return dict(view.misbehaviour)


# IHAVE, sent.


def test_ihave_goes_to_the_lazy_peers_outside_the_mesh():
    bench = OneRouter()
    source = bench.member()
    outsiders = [bench.outsider() for _ in range(10)]
    bench.say(source, publish=(message(b"data"),))
    bench.discard_sent()

    bench.beat()

    told = [peer for peer in outsiders if bench.sent(peer).control.ihave == [IHave(TOPIC, [id_of(b"data")])]]
    assert len(told) == PARAMS.gossip_peers
    assert bench.sent(source).control.ihave == []
    assert sorted(call[0] for call in bench.observer.of("ihave_sent")) == sorted(told)


def test_ihave_that_waited_for_a_heartbeat_is_not_sent_any_more():
    bench = OneRouter()
    source, slow = bench.member(), bench.outsider()
    bench.say(source, publish=(message(b"data"),))
    bench.beat(1)
    assert bench.router.take_ready()
    bench.beat(5)
    assert bench.sent(slow).control == Control()


def test_with_many_peers_a_quarter_of_them_hears_ihave():
    bench = OneRouter()
    source = bench.member()
    outsiders = [bench.outsider() for _ in range(40)]
    bench.say(source, publish=(message(b"data"),))
    bench.beat()
    assert sum(bool(bench.sent(peer).control.ihave) for peer in outsiders) == 10


def test_a_message_is_advertised_for_three_heartbeats_and_served_for_five():
    bench = OneRouter()
    source = bench.member()
    late = bench.outsider()
    bench.say(source, publish=(message(b"data"),))
    advertised, served = [], []
    for _ in range(7):
        bench.beat()
        advertised.append(bool(bench.sent(late).control.ihave))
        asker = bench.outsider()
        bench.say(asker, iwant=(id_of(b"data"),))
        served.append(bench.sent_data(asker) == [b"data"])
    assert advertised == [True] * 3 + [False] * 4
    # The fifth heartbeat ends its last window.
    assert served == [True] * 4 + [False] * 3


def test_nothing_is_advertised_or_served_before_it_is_accepted():
    bench = OneRouter(rules=lambda topic: VALIDATED)
    source = bench.member()
    outsider = bench.outsider()
    bench.say(source, publish=(message(b"data"),))
    (ticket,) = bench.router.take_tickets()

    bench.beat()
    bench.say(outsider, iwant=(id_of(b"data"),))
    assert bench.sent(outsider).control == Control()

    bench.router.on_verdict(ticket, Verdict.ACCEPT, bench.now_s)
    bench.beat()
    assert bench.sent(outsider).control.ihave == [IHave(TOPIC, [id_of(b"data")])]


def test_a_late_joiner_gets_the_message_by_gossip():
    bench = OneRouter()
    source = bench.member()
    bench.say(source, publish=(message(b"data"),))
    late = bench.outsider()
    bench.beat()
    (have,) = bench.sent(late).control.ihave
    bench.say(late, iwant=tuple(have.message_ids))
    assert bench.sent_data(late) == [b"data"]
    assert bench.observer.of("served")[0][:3] == (late, TOPIC, id_of(b"data"))


def test_peers_below_the_gossip_threshold_hear_and_get_nothing():
    scores = SetScores()
    bench = OneRouter(scores=scores)
    source = bench.member()
    bad = bench.outsider()
    scores.scores[bad] = PARAMS.gossip_threshold - 1
    bench.say(source, publish=(message(b"data"),))
    bench.beat()
    bench.say(bad, ihave=(b"id",), iwant=(id_of(b"data"),))
    sent = bench.sent(bad)
    assert (sent.publish, sent.control) == ([], Control())


def test_at_most_as_many_ids_are_advertised_as_the_budget_allows():
    bench = OneRouter(GossipParams(ihave_ids_limit=5))
    source = bench.member()
    outsider = bench.outsider()
    bench.say(source, publish=tuple(message(b"%d" % index) for index in range(9)))
    bench.beat()
    (have,) = bench.sent(outsider).control.ihave
    assert len(set(have.message_ids)) == 5


@pytest.mark.parametrize("busy", [("busy",), ("busy", "busier")])
def test_a_busy_topic_leaves_room_for_the_gossip_of_a_quiet_one(busy: tuple[str, ...]):
    bench = OneRouter(topics=(*busy, "quiet"))
    listener = bench.peer(topics=(*busy, "quiet"))
    bench.say(listener, prune=tuple(Prune(topic, 3600) for topic in (*busy, "quiet")))
    source = bench.peer(topics=())
    for topic in busy:
        for number in range(0, 6000, 500):
            messages = (message(b"%s %d" % (topic.encode(), n), topic) for n in range(number, number + 500))
            bench.say(source, publish=tuple(messages))
    bench.say(source, publish=(message(b"block", "quiet"),))
    bench.sent(listener)

    bench.beat()

    told: Counter[str] = Counter()
    for have in bench.sent(listener).control.ihave:
        told[have.topic] += len(have.message_ids)
    share, rest = divmod(PARAMS.ihave_ids_limit - 1, len(busy))
    assert told == {"quiet": 1} | dict.fromkeys(busy, share) | {busy[-1]: share + rest}
    drops = bench.router.outbox(listener).control_drops.ihave
    assert drops + sum(told.values()) == 6000 * len(busy) + 1


# IHAVE, received.


def test_what_is_new_is_asked_for_once():
    bench = OneRouter()
    source, teller = bench.member(), bench.outsider()
    bench.say(source, publish=(message(b"known"),))
    bench.discard_sent()
    bench.say(teller, ihave=(id_of(b"known"), b"new", b"new"))
    assert bench.sent(teller).control == Control(iwant=[b"new"])
    assert bench.observer.of("ihave_received") == [(teller, TOPIC, (id_of(b"known"), b"new", b"new"))]
    assert bench.observer.of("iwant_sent") == [(teller, (b"new",))]


def test_nothing_is_asked_of_topics_we_do_not_take():
    bench = OneRouter(topics=("other",))
    peer = bench.peer()
    bench.say(peer, ihave=(b"id",))
    assert bench.sent(peer).control == Control()


def test_more_than_ten_ihave_per_heartbeat_are_not_heard():
    bench = OneRouter()
    peer = bench.outsider()
    for index in range(12):
        bench.say(peer, ihave=(b"%d" % index,))
    assert len(bench.sent(peer).control.iwant) == PARAMS.ihave_messages_limit
    assert misbehaviour(bench, peer) == {}
    bench.beat()
    bench.say(peer, ihave=(b"after",))
    assert bench.sent(peer).control.iwant == [b"after"]


def test_no_more_ids_are_asked_of_a_peer_per_heartbeat_than_the_budget():
    bench = OneRouter(GossipParams(ihave_ids_limit=10))
    peer = bench.outsider()
    bench.say(peer, ihave=tuple(b"a%d" % index for index in range(7)))
    bench.say(peer, ihave=tuple(b"b%d" % index for index in range(7)))
    bench.say(peer, ihave=(b"c",))
    assert len(bench.sent(peer).control.iwant) == 10


# Promises.


def test_a_promise_is_broken_when_nothing_came_in_time():
    bench = OneRouter()
    peer = bench.outsider()
    bench.say(peer, ihave=(b"a", b"b", b"c"))
    bench.sent(peer)
    bench.now_s += PARAMS.iwant_followup_s - 0.01
    bench.router.heartbeat(bench.now_s)
    assert bench.observer.of("promise_broken") == []
    bench.now_s += 0.01
    bench.router.heartbeat(bench.now_s)
    bench.beat(5)
    assert bench.observer.of("promise_broken") == [(peer,)]
    assert misbehaviour(bench, peer) == {Misbehaviour.BROKEN_PROMISE: 1}


def test_a_question_that_never_left_is_no_promise_to_break():
    bench = OneRouter()
    peer = bench.outsider()
    bench.say(peer, ihave=(b"a",))
    bench.beat(6)
    assert bench.observer.of("promise_broken") == []
    assert misbehaviour(bench, peer) == {}


def test_a_promise_is_kept_whoever_sends_the_message():
    bench = OneRouter()
    teller, sender = bench.outsider(), bench.member()
    bench.say(teller, ihave=(id_of(b"data"),))
    bench.say(sender, publish=(message(b"data"),))
    bench.beat(5)
    assert bench.observer.of("promise_kept") == [(teller,)]
    assert bench.observer.of("promise_broken") == []


def test_promises_are_bounded():
    bench = OneRouter(GossipParams(promise_limit=2))
    peer = bench.outsider()
    for index in range(4):
        bench.say(peer, ihave=(b"%d" % index,))
    bench.sent(peer)
    assert bench.observer.of("turned_away") == [("promises", 1), ("promises", 1)]
    bench.beat(5)
    assert bench.observer.count("promise_broken") == 2


# IWANT, received.


def test_a_message_is_sent_three_times_to_who_asks_for_ever():
    bench = OneRouter()
    source, asker = bench.member(), bench.outsider()
    bench.say(source, publish=(message(b"data"),))
    bench.discard_sent()
    sent = []
    for _ in range(5):
        bench.say(asker, iwant=(id_of(b"data"),))
        sent += bench.sent_data(asker)
    assert sent == [b"data"] * PARAMS.retransmission_limit
    assert misbehaviour(bench, asker) == {Misbehaviour.IWANT_FLOOD: 2}


def test_who_comes_back_may_ask_again():
    bench = OneRouter()
    source, asker = bench.member(), bench.outsider()
    bench.say(source, publish=(message(b"data"),))
    for _ in range(2):
        for _ in range(PARAMS.retransmission_limit):
            bench.say(asker, iwant=(id_of(b"data"),))
            assert bench.sent_data(asker) == [b"data"]
        bench.router.remove_peer(asker, bench.now_s)
        bench.router.add_peer(asker, "/meshsub/1.2.0", "", is_outbound=False, now_s=bench.now_s)
        bench.sent(asker)


def test_an_id_named_many_times_in_one_iwant_is_sent_once():
    bench = OneRouter()
    source, asker = bench.member(), bench.outsider()
    bench.say(source, publish=(message(b"data"),))
    bench.say(asker, iwant=(id_of(b"data"),) * 50)
    assert bench.sent_data(asker) == [b"data"]
    assert misbehaviour(bench, asker) == {}


def test_ids_asked_in_vain_are_not_looked_up_beyond_a_budget():
    bench = OneRouter()
    source, asker = bench.member(), bench.outsider()
    bench.say(source, publish=(message(b"data"),))
    vain = tuple(b"%d" % index for index in range(PARAMS.iwant_unknown_limit))
    bench.say(asker, iwant=(*vain, id_of(b"data")))
    assert bench.sent_data(asker) == []
    assert misbehaviour(bench, asker) == {Misbehaviour.IWANT_UNSOLICITED: 1}
    bench.beat()
    bench.say(asker, iwant=(id_of(b"data"),))
    assert bench.sent_data(asker) == [b"data"]


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


@pytest.mark.parametrize("protocol", ["/meshsub/1.0.0", "/meshsub/1.1.0"])
def test_idontwant_is_understood_whatever_was_negotiated(protocol: str):
    bench = OneRouter()
    source, other = bench.member(), bench.member(protocol=protocol)
    bench.say(other, idontwant=(id_of(b"data"),))
    bench.say(source, publish=(message(b"data"),))
    assert bench.sent_data(other) == []
