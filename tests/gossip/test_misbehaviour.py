"""Spam of every kind: bounded work, bounded memory, and in the end a cut connection.

Each advisory that touches the core has its case here; those of the back-off
stand in test_mesh.py, those of the wire in test_wire.py.
"""

import tracemalloc

import pytest
from gossip.one_router import TOPIC, OneRouter, message
from gossip.scores import SetScores
from leanmesh.errors import RemoteError
from leanmesh.gossip.message_id import sha256_of_data
from leanmesh.gossip.observer import CutReason, Misbehaviour
from leanmesh.gossip.params import BadGossipParams, GossipParams
from leanmesh.gossip.rpc import Prune
from leanmesh.gossip.rules import TopicRules
from leanmesh.gossip.scan import RpcRefused
from leanmesh.gossip.validation import Verdict
from leanmesh.identity.peer_id import PeerId

PARAMS = GossipParams()


def is_cut(bench: OneRouter, peer: PeerId) -> bool:
    return (peer, CutReason.MISBEHAVIOUR) in bench.router.take_cuts()


def account(bench: OneRouter, peer: PeerId) -> float:
    view = bench.router.view.peer(peer, bench.now_s)
    assert view is not None
    return view.misbehaviour_account


# The account.


def test_a_full_account_cuts_the_peer_once():
    bench = OneRouter(GossipParams(misbehaviour_limit=3))
    peer = bench.member()
    bench.say(peer, prune=(Prune(TOPIC, 3600),))
    for _ in range(6):
        bench.say(peer, graft=(TOPIC,))
    assert bench.router.take_cuts() == [(peer, CutReason.MISBEHAVIOUR)]
    assert bench.observer.of("cut") == [(peer, CutReason.MISBEHAVIOUR)]
    assert bench.router.view.peer(peer, bench.now_s).misbehaviour == {
        Misbehaviour.GRAFT_IN_BACKOFF: 6,
        Misbehaviour.GRAFT_FLOOD: 6,
    }


def test_half_an_account_is_forgiven_in_the_decay_time():
    bench = OneRouter()
    peer = bench.member()
    bench.say(peer, prune=(Prune(TOPIC, 3600),))
    for _ in range(10):
        bench.say(peer, graft=(TOPIC,))
    before = account(bench, peer)
    bench.beat(60)
    assert account(bench, peer) == pytest.approx(before / 2)
    bench.beat(600)
    assert account(bench, peer) == 0.0


def test_a_peer_that_was_cut_and_is_gone_is_not_cut_when_it_is_back():
    bench = OneRouter(GossipParams(misbehaviour_limit=1))
    peer = bench.member()
    bench.say(peer, prune=(Prune(TOPIC, 3600),))
    bench.say(peer, graft=(TOPIC,))
    bench.router.remove_peer(peer, bench.now_s)
    assert bench.router.take_cuts() == []


def test_a_peer_that_comes_back_has_a_clean_account_and_the_old_one_decays_nowhere():
    bench = OneRouter()
    peer = bench.member()
    bench.say(peer, prune=(Prune(TOPIC, 3600),))
    bench.say(peer, graft=(TOPIC,))
    bench.router.remove_peer(peer, bench.now_s)
    bench.router.add_peer(peer, "/meshsub/1.2.0", "", is_outbound=False, now_s=bench.now_s)
    for _ in range(3):
        bench.say(peer, ihave=(b"id",))
    assert account(bench, peer) == 0.0
    bench.beat(2)
    assert bench.router.view.misbehaving_peers == []


def test_direct_peers_are_charged_and_not_cut():
    direct = OneRouter().peer()
    bench = OneRouter(GossipParams(misbehaviour_limit=1), direct_peers=[direct])
    assert bench.peer() == direct
    bench.say(direct, graft=(TOPIC,))
    assert bench.observer.count("misbehaved") == 1
    assert bench.router.take_cuts() == []


# Floods.


def test_grafting_during_backoff_ends_in_a_cut():
    bench = OneRouter()
    peer = bench.member()
    bench.say(peer, prune=(Prune(TOPIC, 60),))
    for _ in range(PARAMS.misbehaviour_limit // 2):
        bench.say(peer, graft=(TOPIC,))
    assert is_cut(bench, peer)
    assert len(bench.frames(peer)) == 1


def test_a_flood_of_ihave_is_not_heard_and_ends_in_a_cut():
    bench = OneRouter()
    peer = bench.outsider()
    for index in range(PARAMS.misbehaviour_limit * PARAMS.ihave_messages_limit + 10):
        bench.say(peer, ihave=(b"%d" % index,))
    assert is_cut(bench, peer)
    assert len(bench.sent(peer).control.iwant) == PARAMS.ihave_messages_limit


def test_ihave_without_the_messages_ends_in_a_cut():
    bench = OneRouter()
    peer = bench.outsider()
    for index in range(60):
        for again in range(10):
            bench.say(peer, ihave=(b"%d-%d" % (index, again),))
        bench.sent(peer)
        bench.beat()
    assert is_cut(bench, peer)


def test_asking_for_ever_ends_in_a_cut():
    bench = OneRouter()
    source, asker = bench.member(), bench.outsider()
    bench.say(source, publish=(message(b"data"),))
    wanted = sha256_of_data(message(b"data"), None)
    for _ in range(PARAMS.misbehaviour_limit + PARAMS.retransmission_limit):
        bench.say(asker, iwant=(wanted,))
        bench.sent(asker)
    assert is_cut(bench, asker)


def test_asking_for_what_was_never_there_ends_in_a_cut():
    bench = OneRouter()
    peer = bench.outsider()
    for index in range(PARAMS.misbehaviour_limit):
        bench.say(peer, iwant=tuple(b"%d-%d" % (index, again) for again in range(21)))
    assert is_cut(bench, peer)


def test_a_flood_of_idontwant_is_bounded_and_ends_in_a_cut():
    bench = OneRouter(GossipParams(idontwant_ids_limit=100))
    peer = bench.member()
    for index in range(PARAMS.misbehaviour_limit + 1):
        bench.say(peer, idontwant=tuple(b"%d-%d" % (index, again) for again in range(100)))
    assert is_cut(bench, peer)


def test_idontwant_for_what_the_network_really_carries_is_no_flood():
    bench = OneRouter(GossipParams(idontwant_ids_limit=10))
    source, peer = bench.member(), bench.member()
    for index in range(300):
        data = b"%d" % index
        bench.say(source, publish=(message(data),))
        bench.say(peer, idontwant=(sha256_of_data(message(data), None),))
    assert account(bench, peer) == 0.0


@pytest.mark.parametrize("verdict", [Verdict.ACCEPT, Verdict.REJECT])
def test_a_flood_of_invalid_messages_ends_in_a_cut(verdict: Verdict):
    rules = TopicRules(message_id=sha256_of_data, is_validated=True)
    bench = OneRouter(rules=lambda topic: rules)
    peer = bench.member()
    for index in range(PARAMS.misbehaviour_limit):
        bench.say(peer, publish=(message(b"%d" % index),))
        for ticket in bench.router.take_tickets():
            bench.router.on_verdict(ticket, verdict, bench.now_s)
    assert is_cut(bench, peer) is (verdict is Verdict.REJECT)


def test_a_flood_of_subscriptions_is_bounded_in_memory_and_ends_in_a_cut():
    """CVE-2026-46679: what one peer names must not grow our tables without end."""
    bench = OneRouter(GossipParams(misbehaviour_limit=10))
    peer = bench.peer(topics=())
    limit = PARAMS.peer_topics_limit
    bench.say(peer, subscribe=tuple(f"made-up-{index}" for index in range(900)))
    tracemalloc.start()
    for round_ in range(12):
        bench.say(peer, subscribe=tuple(f"{round_}-{index}" for index in range(900)))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert is_cut(bench, peer)
    assert len(bench.router.view.topics) == limit + 1
    assert ("subscriptions", 900) in bench.observer.of("turned_away")
    # The recording of the test itself is most of this.
    assert grown < 300_000


def test_topics_nobody_takes_any_more_are_forgotten():
    """CVE-2026-46679: empty topics are deleted."""
    bench = OneRouter()
    peer = bench.peer(topics=())
    names = tuple(f"made-up-{index}" for index in range(500))
    for _ in range(10):
        bench.say(peer, subscribe=names)
        assert len(bench.router.view.topics) == 501
        bench.say(peer, unsubscribe=names)
        assert bench.router.view.topics == [TOPIC]
    bench.say(peer, subscribe=names)
    bench.router.remove_peer(peer, bench.now_s)
    assert bench.router.view.topics == [TOPIC]


def test_a_malformed_frame_ends_the_connection_and_changes_nothing():
    bench = OneRouter()
    peer = bench.member()
    with pytest.raises(RpcRefused) as caught:
        bench.router.on_frame(peer, b"\xff" * 50, bench.now_s)
    assert isinstance(caught.value, RemoteError)
    assert bench.observer.of("rpc_refused") == [(peer, caught.value.reason, 50)]
    assert bench.mesh() == [peer]


def test_nothing_of_a_graylisted_peer_is_used():
    scores = SetScores()
    bench = OneRouter(scores=scores)
    peer = bench.member()
    scores.scores[peer] = PARAMS.graylist_threshold - 1
    bench.beat()
    bench.say(peer, publish=(message(b"data"),), subscribe=("other",))
    assert bench.data == []
    assert bench.router.view.topics == [TOPIC]
    assert bench.observer.of("rpc_refused")[0][:2] == (peer, "graylisted")


# Tables.


def test_seen_ids_are_bounded_and_the_oldest_go_first():
    bench = OneRouter(GossipParams(seen_limit=3))
    source = bench.member()
    bench.say(source, publish=tuple(message(b"%d" % index) for index in range(5)))
    bench.say(source, publish=(message(b"4"), message(b"0")))
    assert bench.router.view.seen_ids == 3
    assert bench.data == [b"0", b"1", b"2", b"3", b"4", b"0"]
    assert ("seen", 1) in bench.observer.of("turned_away")


def test_the_history_is_bounded_in_bytes():
    bench = OneRouter(GossipParams(history_limit_bytes=5000))
    source = bench.member()
    bench.say(source, publish=tuple(message(b"%d" % index + bytes(1000)) for index in range(9)))
    assert bench.router.view.history_messages == 4
    assert bench.observer.of("turned_away") == [("history", 1)] * 5


# Parameters.


@pytest.mark.parametrize(
    "contradiction",
    [
        {"mesh_low": 7},
        {"mesh_high": 5},
        {"mesh_outbound": 4},
        {"mesh_best": 7},
        {"history_gossip": 6},
        {"gossip_factor": 1.5},
        {"gossip_factor": float("nan")},
        {"heartbeat_interval_s": 0},
        {"prune_backoff_s": -1},
        {"prune_backoff_s": float("inf")},
        {"graylist_threshold": -5.0},
        {"gossip_threshold": 1.0},
        {"seen_ttl_s": 3.0},
        {"misbehaviour_limit": 0},
    ],
    ids=str,
)
def test_contradictory_parameters_are_refused(contradiction: dict[str, float]):
    """CVE-2022-47547: parameters that let peers misbehave for ever must not be taken."""
    with pytest.raises(BadGossipParams):
        GossipParams(**contradiction)


def test_a_contradiction_is_named_with_its_values():
    with pytest.raises(BadGossipParams) as caught:
        GossipParams(mesh_low=7)
    assert str(caught.value) == (
        "mesh_low <= mesh_target <= mesh_high fails: mesh_low is 7, mesh_target is 6, mesh_high is 12"
    )
    with pytest.raises(BadGossipParams, match="prune_backoff_s is -1; it must be a number of at least 0"):
        GossipParams(prune_backoff_s=-1)
