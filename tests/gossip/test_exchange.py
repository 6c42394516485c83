"""IHAVE and IWANT: what is said, asked and answered, and every budget."""

from collections import Counter

import pytest
from gossip.one_router import TOPIC, OneRouter, id_of, message, misbehaviour
from gossip.scores import SetScores
from leanmesh.gossip.message_id import sha256_of_data
from leanmesh.gossip.observer import Misbehaviour
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.rpc import Control, IHave, Prune
from leanmesh.gossip.rules import TopicRules
from leanmesh.gossip.validation import Verdict

PARAMS = GossipParams()
VALIDATED = TopicRules(message_id=sha256_of_data, is_validated=True)


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


def test_a_promise_ends_when_we_leave_its_topic():
    bench = OneRouter()
    peer = bench.outsider()
    bench.say(peer, ihave=(id_of(b"data"),))
    bench.sent(peer)
    bench.router.unsubscribe(TOPIC, bench.now_s)
    bench.say(peer, publish=(message(b"data"),))
    bench.beat(5)
    assert misbehaviour(bench, peer) == {}


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


@pytest.mark.parametrize("asked_before", [0, 3])
def test_asking_for_a_copy_that_waits_already_uses_up_nothing(asked_before: int):
    bench = OneRouter()
    asker = bench.member()
    bench.router.publish(TOPIC, b"data", bench.now_s)
    for _ in range(asked_before):
        bench.say(asker, iwant=(id_of(b"data"),))
    assert bench.sent_data(asker) == [b"data"]
    assert bench.observer.of("served") == []
    for _ in range(PARAMS.retransmission_limit):
        bench.say(asker, iwant=(id_of(b"data"),))
        assert bench.sent_data(asker) == [b"data"]
    assert bench.observer.count("served") == PARAMS.retransmission_limit
    assert misbehaviour(bench, asker) == {}


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
