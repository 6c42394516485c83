"""The journal: what matters is told once, as a sentence and as data."""

import json
import logging

import pytest
from leanmesh.gossip.observer import CutReason, GraftReason, Observer, PruneReason
from leanmesh.identity.keys import KeyKind, PrivateKey
from leanmesh.service.journal import Journal, combined

PEER = PrivateKey.of_kind(KeyKind.ED25519, bytes(32)).peer_id


class Counting(Observer):
    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def grafted(self, peer, topic, reason, now_s):
        self.calls.append((peer, topic, reason, now_s))


class Silent(Observer):
    pass


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_combined_observers_are_all_called_and_those_with_nothing_to_say_are_not(count: int):
    some = [Counting() for _ in range(count)]
    together = combined(Silent(), *some, Silent())
    together.grafted(PEER, "news", GraftReason.RANDOM, 1.0)
    assert [one.calls for one in some] == [[(PEER, "news", GraftReason.RANDOM, 1.0)]] * count
    together.left("news", 2.0)

    # One that is alone in it is called as directly as if there were no other.
    assert combined(some[0], Silent()).grafted == some[0].grafted


def test_what_happens_in_a_mesh_is_told_with_its_reason(caplog: pytest.LogCaptureFixture):
    journal = Journal(7)
    with caplog.at_level(logging.INFO, "leanmesh.events"):
        journal.grafted(PEER, "news", GraftReason.SUBSCRIBED, 1.0)
        journal.pruned(PEER, "news", PruneReason.DISCONNECTED, 2.0)
        journal.cut(PEER, CutReason.MISBEHAVIOUR, 3.0)
    assert [(record.event, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("graft", "INFO", f"{PEER.short} is in our mesh of news (subscribed)"),
        ("prune", "INFO", f"{PEER.short} left our mesh of news (disconnected)"),
        ("cut", "WARNING", f"{PEER.short} is cut off: {CutReason.MISBEHAVIOUR}"),
    ]
    for record in caplog.records:
        assert record.fields["network_id"] == 7
        assert record.fields["peer"] == str(PEER)
        json.dumps(record.fields)


def test_a_slow_peer_is_told_once_until_it_has_left(caplog: pytest.LogCaptureFixture):
    journal = Journal(0)
    with caplog.at_level(logging.INFO, "leanmesh.events"):
        journal.slow_peer(PEER, "outbox full for 6 s", 1.0)
        journal.slow_peer(PEER, "outbox full for 7 s", 2.0)
        assert len(caplog.records) == 1
        journal.peer_removed(PEER, "/meshsub/1.2.0", 3.0)
        journal.slow_peer(PEER, "outbox full for 6 s", 4.0)
    assert len(caplog.records) == 2


def test_nothing_is_told_to_those_who_do_not_listen(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR, "leanmesh.events"):
        Journal(0).grafted(PEER, "news", GraftReason.RANDOM, 1.0)
    assert caplog.records == []
