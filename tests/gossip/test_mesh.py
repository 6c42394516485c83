"""The mesh: who enters, who is refused, who goes, and what each is told."""

import pytest
from gossip.one_router import LIMITS, TOPIC, OneRouter, message, peer_id
from gossip.scores import SetScores
from leanmesh.gossip.observer import GraftReason, Misbehaviour, PruneReason, RefuseReason
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.rpc import Control, Prune, Rpc, Subscription
from leanmesh.gossip.wire import decode

PARAMS = GossipParams()


def rpc(**control: object) -> Rpc:
    return Rpc([], [], Control(**control))


# Hello, subscribe, unsubscribe.


def test_a_hello_is_one_rpc_with_all_topics():
    bench = OneRouter(topics=("a", "b", "c"))
    bench.router.add_peer(peer_id(1), "/meshsub/1.2.0", "", is_outbound=True, now_s=bench.now_s)

    (hello,) = bench.frames(peer_id(1))

    assert decode(hello, LIMITS) == Rpc([Subscription(True, topic) for topic in "abc"], [], None)


def test_subscribing_tells_every_peer_and_grafts_up_to_the_target():
    bench = OneRouter(topics=())
    peers = [bench.peer() for _ in range(20)]

    bench.router.subscribe(TOPIC, bench.now_s)

    sent = {peer: bench.sent(peer) for peer in peers}
    assert all(each.subscriptions == [Subscription(True, TOPIC)] for each in sent.values())
    grafted = [peer for peer in peers if sent[peer].control.graft]
    assert sorted(grafted) == sorted(bench.mesh())
    assert len(grafted) == PARAMS.mesh_target


def test_a_wanted_peer_is_grafted_at_once_while_the_mesh_is_low():
    bench = OneRouter()
    peers = []
    for _ in range(PARAMS.mesh_low + 3):
        peers.append(bench.peer(topics=()))
        bench.say(peers[-1], subscribe=(TOPIC,))

    grafted = [peer for peer in peers if bench.sent(peer).control.graft == [TOPIC]]

    assert grafted == peers[: PARAMS.mesh_low] == bench.mesh()
    assert bench.observer.of("grafted") == [(peer, TOPIC, GraftReason.SUBSCRIBED) for peer in grafted]


def test_unsubscribing_prunes_the_mesh_with_the_short_backoff():
    bench = OneRouter()
    peers = [bench.member() for _ in range(3)]

    bench.router.unsubscribe(TOPIC, bench.now_s)

    for peer in peers:
        sent = bench.sent(peer)
        assert sent.subscriptions == [Subscription(False, TOPIC)]
        assert sent.control == Control(prune=[Prune(TOPIC, 10)])
    assert bench.mesh() == []
    assert bench.router.view.mesh_peer_count == 0
    assert bench.router.view.subscriptions == []


def test_who_left_a_topic_may_not_graft_the_old_mesh_until_the_short_backoff_is_over():
    bench = OneRouter()
    peer = bench.member()
    bench.router.unsubscribe(TOPIC, bench.now_s)
    bench.router.subscribe(TOPIC, bench.now_s)
    assert bench.mesh() == []

    while bench.mesh() == []:
        bench.beat()

    assert bench.mesh() == [peer]
    assert bench.now_s >= 1000 + PARAMS.unsubscribe_backoff_s + PARAMS.backoff_slack_s


def test_a_peer_that_unsubscribes_leaves_the_mesh():
    bench = OneRouter()
    peer = bench.member()
    bench.say(peer, unsubscribe=(TOPIC,))
    assert bench.mesh() == []
    assert bench.observer.of("pruned") == [(peer, TOPIC, PruneReason.UNSUBSCRIBED)]


def test_a_disconnect_leaves_no_state_anywhere():
    bench = OneRouter()
    before = bench.router.view.topic(TOPIC)
    peer = bench.member()
    bench.say(peer, subscribe=("other",), ihave=(b"promised",), idontwant=(b"unwanted",))
    bench.say(peer, publish=(message(b"data"),))

    bench.router.remove_peer(peer, bench.now_s)

    assert bench.router.view.topic(TOPIC) == before
    assert bench.router.view.topics == [TOPIC]
    assert bench.router.view.peers == []
    assert bench.router.view.peer(peer, bench.now_s) is None
    assert bench.router.view.mesh_peer_count == 0
    assert bench.router.take_ready() == {}
    bench.beat(10)
    assert bench.observer.of("promise_broken") == []


# GRAFT.


def test_a_graft_is_accepted_in_silence():
    bench = OneRouter()
    peers = [bench.member() for _ in range(PARAMS.mesh_low)]
    newcomer = bench.peer()
    bench.say(newcomer, graft=(TOPIC,))
    assert bench.mesh() == [*peers, newcomer]
    assert bench.sent(newcomer) == rpc()


def test_a_graft_for_an_unknown_topic_gets_no_answer_and_leaves_no_state():
    bench = OneRouter()
    peer = bench.peer()
    bench.discard_sent()
    bench.say(peer, graft=("unknown",))
    assert bench.sent(peer) == rpc()
    assert bench.router.view.topics == [TOPIC]


def test_a_graft_that_comes_before_its_subscribe_counts_as_one():
    bench = OneRouter()
    peer = bench.peer(topics=())
    bench.say(peer, graft=(TOPIC,))
    assert bench.mesh() == [peer]
    assert bench.router.view.topic_peers(TOPIC) == [peer]


@pytest.mark.parametrize("is_outbound", [False, True])
def test_a_graft_at_the_upper_bound_is_refused_unless_we_dialed(is_outbound: bool):
    bench = OneRouter()
    for _ in range(PARAMS.mesh_high):
        bench.member()
    peer = bench.peer(is_outbound=is_outbound)

    bench.say(peer, graft=(TOPIC,))

    if is_outbound:
        assert peer in bench.mesh()
        assert bench.sent(peer) == rpc()
    else:
        assert peer not in bench.mesh()
        assert bench.sent(peer) == rpc(prune=[Prune(TOPIC, 60)])
        assert bench.observer.of("graft_refused") == [(peer, TOPIC, RefuseReason.FULL)]


def test_a_graft_during_backoff_is_refused_charged_and_extends_the_backoff():
    bench = OneRouter()
    peer = bench.member()
    bench.say(peer, prune=(Prune(TOPIC, 30),))
    bench.now_s += 29.9

    bench.say(peer, graft=(TOPIC,))

    assert bench.mesh() == []
    assert bench.sent(peer) == rpc(prune=[Prune(TOPIC, 60)])
    assert bench.router.view.topic(TOPIC).backoff_until_s == {peer: bench.now_s + 60}
    assert bench.router.view.peer(peer, bench.now_s).misbehaviour == {Misbehaviour.GRAFT_IN_BACKOFF: 1}


@pytest.mark.parametrize("backoff_s", [30, 60, 3600])
def test_a_graft_right_after_the_peers_own_prune_counts_twice(backoff_s: int):
    for waited_s, charged in ((9.9, 2), (10.0, 1)):
        bench = OneRouter()
        peer = bench.member()
        bench.say(peer, prune=(Prune(TOPIC, backoff_s),))
        bench.now_s += waited_s
        bench.say(peer, graft=(TOPIC,))
        assert sum(bench.router.view.peer(peer, bench.now_s).misbehaviour.values()) == charged


def test_a_graft_right_after_our_prune_counts_twice():
    bench = OneRouter()
    peer = bench.member()
    bench.router.unsubscribe(TOPIC, bench.now_s)
    bench.router.subscribe(TOPIC, bench.now_s)
    bench.now_s += 9.9
    bench.say(peer, graft=(TOPIC,))
    assert bench.router.view.peer(peer, bench.now_s).misbehaviour == {
        Misbehaviour.GRAFT_IN_BACKOFF: 1,
        Misbehaviour.GRAFT_FLOOD: 1,
    }


def test_a_graft_when_the_backoff_is_just_over_is_accepted():
    bench = OneRouter()
    peer = bench.member()
    bench.say(peer, prune=(Prune(TOPIC, 30),))
    bench.now_s += 30.0
    bench.say(peer, graft=(TOPIC,))
    assert bench.mesh() == [peer]


def test_our_own_graft_waits_for_the_slack_beyond_the_backoff():
    bench = OneRouter()
    peer = bench.member()
    bench.say(peer, prune=(Prune(TOPIC, 30),))
    start_s = bench.now_s
    bench.now_s = start_s + 30 + PARAMS.backoff_slack_s - 0.01
    bench.router.heartbeat(bench.now_s)
    assert bench.mesh() == []
    bench.now_s = start_s + 30 + PARAMS.backoff_slack_s
    bench.router.heartbeat(bench.now_s)
    assert bench.mesh() == [peer]


# PRUNE.


@pytest.mark.parametrize(
    ("stated_s", "expected_s"),
    [(None, 60.0), (0, 60.0), (30, 30.0), (3600, 3600.0), (3601, 3600.0), (2**64 - 1, 3600.0)],
)
def test_a_prune_holds_off_as_long_as_it_says_and_no_longer_than_the_clamp(
    stated_s: int | None, expected_s: float
):
    """CVE-2026-33040 and CVE-2026-34219: a back-off near 2**64 must harm neither now nor at a heartbeat."""
    bench = OneRouter()
    peer = bench.member()
    bench.say(peer, prune=(Prune(TOPIC, stated_s),))
    assert bench.router.view.topic(TOPIC).backoff_until_s == {peer: bench.now_s + expected_s}
    assert bench.observer.of("pruned") == [(peer, TOPIC, PruneReason.PRUNED_BY_PEER)]
    bench.beat(20)


def test_a_graft_that_still_waits_is_not_sent_to_who_pruned_us_meanwhile():
    bench = OneRouter()
    peer = bench.peer(topics=())
    bench.say(peer, subscribe=(TOPIC,))
    assert bench.mesh() == [peer]
    bench.say(peer, prune=(Prune(TOPIC, 60),))
    assert bench.sent(peer) == rpc()


def test_a_prune_never_shortens_a_backoff():
    bench = OneRouter()
    peer = bench.member()
    bench.say(peer, prune=(Prune(TOPIC, 600),))
    bench.say(peer, prune=(Prune(TOPIC, 1),))
    assert bench.router.view.topic(TOPIC).backoff_until_s == {peer: bench.now_s + 600}


def test_a_prune_for_a_topic_we_do_not_take_leaves_no_state():
    bench = OneRouter()
    peer = bench.peer()
    bench.say(peer, prune=(Prune("unknown", 60),))
    assert bench.router.view.topics == [TOPIC]


def test_a_reconnect_does_not_wash_a_backoff():
    bench = OneRouter()
    peer = bench.outsider()
    bench.router.remove_peer(peer, bench.now_s)
    bench.router.add_peer(peer, "/meshsub/1.2.0", "", is_outbound=False, now_s=bench.now_s)
    bench.say(peer, subscribe=(TOPIC,), graft=(TOPIC,))
    assert bench.mesh() == []


def test_backoffs_of_strangers_are_bounded():
    bench = OneRouter(GossipParams(backoff_peers_limit=3))
    for _ in range(5):
        peer = bench.outsider()
        bench.router.remove_peer(peer, bench.now_s)
    assert list(bench.router.view.topic(TOPIC).backoff_until_s) == [peer_id(3), peer_id(4), peer_id(5)]
    assert bench.observer.of("turned_away") == [("backoff", 1), ("backoff", 1)]


def test_backoffs_that_are_over_are_forgotten():
    bench = OneRouter()
    peer = bench.member()
    bench.say(peer, prune=(Prune(TOPIC, 5),))
    bench.router.remove_peer(peer, bench.now_s)
    bench.beat(15)
    assert bench.router.view.topic(TOPIC).backoff_until_s == {}


def test_a_prune_to_a_peer_of_1_0_carries_no_backoff():
    bench = OneRouter()
    peer = bench.member(protocol="/meshsub/1.0.0")
    bench.router.unsubscribe(TOPIC, bench.now_s)
    assert bench.sent(peer).control.prune == [Prune(TOPIC, None)]


# The heartbeat.


def test_below_the_lower_bound_the_heartbeat_grafts_up_to_the_target():
    bench = OneRouter()
    members = [bench.member() for _ in range(PARAMS.mesh_low)]
    others = [bench.peer() for _ in range(10)]
    for peer in members[1:]:
        bench.router.remove_peer(peer, bench.now_s)

    bench.beat()

    assert len(bench.mesh()) == PARAMS.mesh_target
    grafted = [peer for peer in others if bench.sent(peer).control.graft == [TOPIC]]
    assert sorted([members[0], *grafted]) == sorted(bench.mesh())


@pytest.mark.parametrize("size", [PARAMS.mesh_low, PARAMS.mesh_high - 1, PARAMS.mesh_high])
def test_within_the_bounds_the_heartbeat_changes_nothing(size: int):
    bench = OneRouter()
    members = [bench.member(is_outbound=True) for _ in range(size)]
    bench.beat()
    assert bench.mesh() == members


def test_above_the_upper_bound_the_heartbeat_prunes_down_to_the_target():
    bench = OneRouter()
    members = [bench.member(is_outbound=True) for _ in range(PARAMS.mesh_high + 3)]

    bench.beat()

    assert len(bench.mesh()) == PARAMS.mesh_target
    for peer in members:
        expected = [] if peer in bench.mesh() else [Prune(TOPIC, 60)]
        assert bench.sent(peer).control.prune == expected
    pruned = bench.observer.of("pruned")
    assert {reason for _, _, reason in pruned} == {PruneReason.EXCESS}


def test_pruning_keeps_the_best_by_score():
    scores = SetScores()
    bench = OneRouter(scores=scores)
    members = [bench.member(is_outbound=True) for _ in range(PARAMS.mesh_high + 4)]
    best = members[3 : 3 + PARAMS.mesh_best]
    scores.scores = {peer: 5.0 + index for index, peer in enumerate(best)}

    bench.beat()

    assert set(best) <= set(bench.mesh())
    assert len(bench.mesh()) == PARAMS.mesh_target


@pytest.mark.parametrize("seed", range(8))
def test_pruning_keeps_enough_peers_that_we_dialed(seed: int):
    bench = OneRouter(seed=seed)
    dialed = [bench.member(is_outbound=True) for _ in range(2)]
    for _ in range(PARAMS.mesh_high - 2):
        bench.member()
    dialed.append(bench.member(is_outbound=True))

    bench.beat()

    assert len(bench.mesh()) == PARAMS.mesh_target
    assert sum(peer in dialed for peer in bench.mesh()) >= PARAMS.mesh_outbound


def test_too_few_dialed_peers_in_a_good_mesh_are_made_up_for():
    bench = OneRouter()
    members = [bench.member() for _ in range(PARAMS.mesh_target)]
    dialed = [bench.peer(is_outbound=True) for _ in range(5)]

    bench.beat()

    grafted = bench.mesh()[len(members) :]
    assert len(grafted) == PARAMS.mesh_outbound
    assert all(peer in dialed for peer in grafted)
    assert (grafted[0], TOPIC, GraftReason.OUTBOUND) in bench.observer.of("grafted")


def test_peers_below_zero_are_pruned_and_not_grafted():
    scores = SetScores()
    bench = OneRouter(scores=scores)
    members = [bench.member() for _ in range(3)]
    scores.scores[members[1]] = -0.1

    bench.beat(2)

    assert bench.mesh() == [members[0], members[2]]
    assert bench.observer.of("pruned") == [(members[1], TOPIC, PruneReason.BAD_SCORE)]
    bench.now_s += 100
    bench.say(members[1], graft=(TOPIC,))
    assert bench.observer.of("graft_refused") == [(members[1], TOPIC, RefuseReason.BAD_SCORE)]


def test_a_mesh_of_poor_peers_is_improved_once_a_minute():
    scores = SetScores()
    bench = OneRouter(scores=scores)
    for _ in range(PARAMS.mesh_target):
        bench.member(is_outbound=True)
    better = [bench.peer() for _ in range(4)]
    scores.scores = dict.fromkeys(better, 1.0)

    bench.beat(PARAMS.opportunistic_graft_ticks - 1)
    assert len(bench.mesh()) == PARAMS.mesh_target
    bench.beat()

    grafted = bench.mesh()[PARAMS.mesh_target :]
    assert len(grafted) == PARAMS.opportunistic_graft_peers
    assert all(peer in better for peer in grafted)


def test_a_graft_that_a_full_outbox_could_not_take_goes_with_the_next_drain():
    bench = OneRouter()
    peer = bench.peer(topics=())
    for index in range(20_000):
        bench.router.outbox(peer).put(b"%d" % index, bytes(2000), bench.now_s)
    bench.say(peer, subscribe=(TOPIC,))
    assert bench.mesh() == [peer]
    frames = bench.router.outbox(peer).drain(1)
    assert TOPIC.encode() in frames[0]


# Special peers.


def test_direct_peers_are_never_in_the_mesh():
    bench = OneRouter(direct_peers=[peer_id(1)])
    direct = bench.peer()
    assert direct == peer_id(1)
    bench.beat(3)
    assert bench.mesh() == []
    bench.sent(direct)

    bench.say(direct, graft=(TOPIC,))

    assert bench.mesh() == []
    assert bench.sent(direct).control.prune == [Prune(TOPIC, 60)]
    assert bench.observer.of("graft_refused") == [(direct, TOPIC, RefuseReason.DIRECT)]


def test_direct_peers_are_always_forwarded_to():
    bench = OneRouter(direct_peers=[peer_id(1)])
    direct = bench.peer()
    source = bench.member()
    bench.say(source, publish=(message(b"data"),))
    assert bench.sent_data(direct) == [b"data"]


def test_floodsub_peers_get_everything_and_are_asked_for_nothing():
    bench = OneRouter()
    flood = bench.peer(protocol="/floodsub/1.0.0")
    source = bench.member()
    bench.say(source, publish=(message(bytes(2000)),))
    bench.beat(2)
    sent = bench.sent(flood)
    assert [each.data for each in sent.publish] == [bytes(2000)]
    assert sent.control == Control()
    assert bench.mesh() == [source]


def test_nothing_that_a_floodsub_peer_says_of_meshes_and_gossip_is_heard():
    bench = OneRouter()
    flood = bench.peer(protocol="/floodsub/1.0.0")
    bench.say(flood, graft=(TOPIC,), ihave=(b"id",), iwant=(b"id",), prune=(Prune(TOPIC, 60),))
    assert bench.mesh() == []
    assert bench.router.view.topic(TOPIC).backoff_until_s == {}
    assert bench.sent(flood) == rpc()


# The count of distinct mesh peers.


def test_a_peer_in_three_meshes_counts_once():
    bench = OneRouter(topics=("a", "b", "c"))
    peer = bench.peer(topics=("a", "b", "c"))
    assert [bench.mesh(topic) for topic in "abc"] == [[peer]] * 3
    assert bench.router.view.mesh_peer_count == 1
    assert bench.router.take_mesh_change()
    assert not bench.router.take_mesh_change()

    bench.say(peer, prune=(Prune("a", 60), Prune("b", 60)))
    assert bench.router.view.mesh_peer_count == 1
    bench.router.remove_peer(peer, bench.now_s)
    assert bench.router.view.mesh_peer_count == 0
    assert bench.router.take_mesh_change()
