"""What the API tells of lag, and what is left when a network ends."""

from types import SimpleNamespace

from leanmesh.gossip.observer import GraftReason
from leanmesh.identity.peer_id import PeerId
from leanmesh.metrics.duplicate_lag import LagTracker
from leanmesh.metrics.params import LagParams
from leanmesh.service.lag_report import describe_lag, describe_lag_pairs
from leanmesh.service.mesh_ledger import EndedLinks, MeshLedger
from leanmesh.service.watchers import Watchers

A, B, C = (PeerId(b"\x00\x24" + bytes([number]) * 36) for number in range(3))


def tracked() -> LagTracker:
    """A is first three times and late once, B the other way round, C is there and silent."""
    tracker = LagTracker(LagParams(is_on=True))
    for peer in (A, B, C):
        tracker.peer_added(peer, "/meshsub/1.2.0", 0.0)
    for number, (winner, loser) in enumerate([(A, B), (A, B), (A, B), (B, A)]):
        tracker.first_seen(winner, "t", b"%d" % number, 10, 1.0 + number / 10)
        tracker.duplicate(loser, "t", b"%d" % number, 10, 1.002 + 0.102 * number)
    return tracker


def node(tracker: LagTracker | None) -> SimpleNamespace:
    watchers = Watchers(MeshLedger(3, EndedLinks()), tracker)
    network = SimpleNamespace(watchers=watchers)
    return SimpleNamespace(
        networks={3: network}, snapshotter=SimpleNamespace(current=SimpleNamespace(generation=9))
    )


def test_peers_stand_in_the_order_of_how_often_they_were_first():
    answer = describe_lag(node(tracked()))
    (network,) = answer["networks"]
    assert (answer["generation"], network["network_id"], network["never_first"]) == (9, 3, [])
    told = [
        (peer["peer"], peer["firsts"], peer["share"], peer["others_behind"]["count"], peer["late"]["count"])
        for peer in network["peers"]
    ]
    assert told == [(str(A), 3, 0.75, 3, 1), (str(B), 1, 0.25, 1, 3), (str(C), 0, 0.0, 0, 0)]
    assert network["all"]["count"] == 4
    assert abs(network["all"]["mean_s"] - 0.005) < 1e-9


def test_who_is_late_and_never_first_is_named():
    tracker = tracked()
    tracker.first_seen(A, "t", b"m", 10, 2.0)
    tracker.duplicate(C, "t", b"m", 10, 2.001)
    (network,) = describe_lag(node(tracker))["networks"]
    assert network["never_first"] == [str(C)]


def test_pairs_are_told_apart():
    pairs = describe_lag_pairs(node(tracked()))["pairs"]
    assert [(pair["winner"], pair["loser"], pair["count"]) for pair in pairs] == [
        (str(A), str(B), 3),
        (str(B), str(A), 1),
    ]


def test_where_lag_is_off_there_is_nothing_to_tell():
    assert describe_lag(node(None))["networks"] == []
    assert describe_lag_pairs(node(None))["pairs"] == []


def test_when_a_network_has_ended_no_peer_and_no_link_is_left():
    tracker, ledger = tracked(), MeshLedger(3, EndedLinks())
    ledger.grafted(A, "t", GraftReason.RANDOM, 1.0)
    Watchers(ledger, tracker).close(5.0)
    assert tracker.firsts == {}
    assert list(tracker.pairs.shown()) == []
    assert tracker.observed == 4
    assert [link["ended"] for link in ledger.describe(9.0)] == ["disconnected"]
