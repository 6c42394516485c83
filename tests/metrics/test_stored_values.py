"""Values that are kept elsewhere: what shares a cell is added up, and nothing falls for it."""

import pytest
from leanmesh.metrics import catalog_gossipsub as gossipsub
from leanmesh.metrics import catalog_node as node
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import CounterSpec, GaugeSpec
from leanmesh.metrics.gossip_metrics import GossipMetrics
from leanmesh.metrics.stored_values import StoredValues
from leanmesh.service.network_metrics import AllNetworkMetrics

EVENTS = CounterSpec("test_events_total", "Events.", labels=("topic",), series_limit=2)
LEVEL = GaugeSpec("test_level", "Level.", labels=("topic",), series_limit=2)


@pytest.fixture
def cells() -> Cells:
    return Cells.anonymous()


def test_what_shares_the_cell_of_other_is_added_up_each_time_anew(cells):
    values = StoredValues(cells)
    for number in (1, 2):
        for value, topic in enumerate("abcd", 1):
            values.total(EVENTS, number * value, topic)
            values.level(LEVEL, -number * value, topic)
        values.write()
        copy = cells.copy()
        assert [copy.value(EVENTS, topic) for topic in ("a", "b", "other")] == [
            number,
            2 * number,
            7 * number,
        ]
        assert [copy.value(LEVEL, topic) for topic in ("a", "b", "other")] == [
            -number,
            -2 * number,
            -7 * number,
        ]


def test_losses_of_topics_beyond_the_bound_never_fall_and_add_up_to_the_books(cells):
    metrics = AllNetworkMetrics(cells, {})
    dropped = metrics.of(0).delivery.dropped
    limit = node.SUBSCRIPTION_DROPPED.series_limit
    for number in range(limit):
        dropped[f"topic-{number}", "drop_oldest"] = 1
    for number, lost in ((0, 500), (1, 1)):
        dropped[f"late-{number}", "drop_oldest"] = lost
        metrics.refresh()
        copy = cells.copy()
        in_other = copy.value(node.SUBSCRIPTION_DROPPED, "other", "other")
        assert in_other == 500 + number
        assert copy.value(node.MESSAGES, "delivery", "dropped") == limit + in_other


def test_topics_beyond_the_bound_share_a_status_that_counts_them(cells):
    metrics = GossipMetrics(cells, "0")
    limit = gossipsub.TOPIC_SUBSCRIPTION_STATUS.series_limit

    def other() -> float:
        return cells.copy().value(gossipsub.TOPIC_SUBSCRIPTION_STATUS, "other", "other")

    for number in range(limit + 3):
        metrics.joined(f"topic-{number}", 0.0)
        metrics.joined(f"topic-{number}", 0.0)
    assert other() == 3
    metrics.left(f"topic-{limit}", 0.0)
    metrics.left(f"topic-{limit}", 0.0)
    assert other() == 2
    assert cells.copy().value(gossipsub.TOPIC_SUBSCRIPTION_STATUS, "0", "topic-0") == 1
    metrics.stopped()
    assert other() == 0
    assert cells.copy().value(gossipsub.TOPIC_SUBSCRIPTION_STATUS, "0", "topic-0") == 0


def test_a_network_that_was_stopped_in_the_middle_has_no_peers(cells):
    metrics = GossipMetrics(cells, "0")
    protocol = "/meshsub/1.2.0"

    def peers() -> float:
        return cells.copy().value(gossipsub.PEERS_PER_PROTOCOL, "0", protocol)

    for peer in (b"a", b"b", b"c"):
        metrics.peer_added(peer, protocol, 0.0)
    metrics.peer_removed(b"c", protocol, 0.0)
    assert peers() == 2
    metrics.stopped()
    assert peers() == 0
    # Its core, which broke, tells no more; and whatever it tells counts for nothing.
    metrics.peer_removed(b"a", protocol, 0.0)
    assert peers() == 0
    metrics.peer_added(b"a", protocol, 0.0)
    assert peers() == 1
