"""What others could make us pay for and cannot: odd names, changes of mind, answers without room."""

import pytest
from gossip.one_router import OneRouter, message
from leanmesh.gossip.message_id import sha256_of_data
from leanmesh.gossip.observer import GraftReason, Misbehaviour
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.router import BadTopic
from leanmesh.gossip.rpc import Prune, Rpc, Subscription
from leanmesh.gossip.wire_params import OutboxLimits, WireLimits

TOO_LONG = "x" * (WireLimits().topic_bytes + 1)


@pytest.mark.parametrize("name", ["", "\ud800", TOO_LONG], ids=["empty", "surrogate", "long"])
def test_a_topic_that_no_peer_would_accept_is_refused_at_once(name: str):
    bench = OneRouter(topics=())
    with pytest.raises(BadTopic):
        bench.router.subscribe(name, bench.now_s)
    with pytest.raises(BadTopic):
        bench.router.publish(name, b"data", bench.now_s)
    assert bench.router.view.topics == []


def test_a_topic_of_the_longest_length_is_taken():
    bench = OneRouter(topics=())
    bench.router.subscribe(TOO_LONG[1:], bench.now_s)
    assert bench.router.view.subscriptions == [TOO_LONG[1:]]


def test_of_many_changes_of_mind_in_one_rpc_the_last_counts():
    bench = OneRouter(topics=("a",))
    peer = bench.peer(topics=())
    flapping = [Subscription(number % 2 == 0, "a") for number in range(501)]
    bench.router.on_rpc(peer, Rpc(subscriptions=flapping), bench.now_s)
    assert bench.observer.of("grafted") == [(peer, "a", GraftReason.SUBSCRIBED)]
    assert bench.observer.of("pruned") == []


def test_changing_its_mind_for_ever_is_charged():
    params = GossipParams(peer_topics_limit=10)
    bench = OneRouter(params, topics=("a",))
    peer = bench.peer(topics=())
    for number in range(20):
        rpc = Rpc(subscriptions=[Subscription(number % 2 == 0, "a")])
        bench.router.on_rpc(peer, rpc, bench.now_s)
    assert bench.router.view.peer(peer, bench.now_s).misbehaviour == {}
    bench.router.on_rpc(peer, Rpc(subscriptions=[Subscription(True, "a")]), bench.now_s)
    assert bench.router.view.peer(peer, bench.now_s).misbehaviour == {Misbehaviour.SUBSCRIPTION_FLOOD: 1}
    bench.beat()
    bench.router.on_rpc(peer, Rpc(subscriptions=[Subscription(False, "a")]), bench.now_s)
    assert bench.router.view.peer(peer, bench.now_s).misbehaviour == {Misbehaviour.SUBSCRIPTION_FLOOD: 1}


def test_a_graft_that_still_waits_is_not_sent_to_who_left_or_pruned():
    bench = OneRouter(topics=("a", "b"))
    peer = bench.peer(topics=())
    bench.say(peer, subscribe=("a", "b"))
    bench.say(peer, unsubscribe=("a",))
    bench.say(peer, prune=(Prune("b", 60),))
    control = bench.sent(peer).control
    assert control is None or control.graft == []


def test_an_answer_without_room_does_not_count_as_sent():
    bench = OneRouter(outbox_limits=OutboxLimits(messages=1))
    source, asker = bench.member(), bench.outsider()
    bench.say(source, publish=(message(b"wanted"), message(b"in the way")))
    wanted = sha256_of_data(message(b"wanted"), None)
    in_the_way = sha256_of_data(message(b"in the way"), None)
    bench.say(asker, iwant=(in_the_way,))
    for _ in range(5):
        bench.say(asker, iwant=(wanted,))
    assert bench.sent_data(asker) == [b"in the way"]
    bench.say(asker, iwant=(wanted,))
    assert bench.sent_data(asker) == [b"wanted"]
    assert bench.router.view.peer(asker, bench.now_s).misbehaviour == {}


class Hated:
    """Every peer is below the graylist."""

    def score(self, peer: object, now_s: float) -> float:
        return -1000.0


def test_direct_peers_are_heard_whatever_their_score():
    bench = OneRouter(direct_peers=(), scores=Hated())
    direct = bench.member()
    bench.router.direct_peers[direct] = None
    bench.router.remove_peer(direct, bench.now_s)
    bench.router.add_peer(direct, "/meshsub/1.2.0", "", is_outbound=False, now_s=bench.now_s)
    stranger = bench.member()
    bench.beat()
    bench.say(stranger, publish=(message(b"from a stranger"),))
    bench.say(direct, publish=(message(b"from a friend"),))
    assert bench.delivered == [("blocks", b"from a friend", direct)]


def test_a_fanout_that_is_given_up_does_not_forget_a_topic_that_came_back():
    bench = OneRouter(GossipParams(fanout_limit=1, is_flood_publishing=False), topics=())
    bench.router.publish("a", b"data", bench.now_s)
    bench.router.subscribe("a", bench.now_s)
    bench.router.unsubscribe("a", bench.now_s)
    peer = bench.peer(topics=("a",))
    bench.router.publish("b", b"other", bench.now_s)
    assert bench.router.view.topic_peers("a") == [peer]
    assert bench.router.view.peer(peer, bench.now_s).topics == ("a",)
