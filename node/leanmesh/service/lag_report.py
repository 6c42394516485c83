"""What the API tells of duplicate lag: who is first how often, how late the others are, who never wins."""

from typing import TYPE_CHECKING, Any

from leanmesh.metrics.duplicate_lag import LagTracker
from leanmesh.metrics.duplicate_lag_tallies import TallyTable, histogram, quantile_s
from leanmesh.metrics.sample import HistogramValue

if TYPE_CHECKING:
    from leanmesh.service.node import Node


def describe_lag(node: "Node") -> dict[str, Any]:
    """The peers of every network that tracks lag; none when it is off."""
    return {
        "generation": node.snapshotter.current.generation,
        "networks": [
            _describe_network(network_id, network.watchers.lag)
            for network_id, network in node.networks.items()
            if network.watchers.lag is not None
        ],
    }


def describe_lag_pairs(node: "Node") -> dict[str, Any]:
    """Every pair of peers that raced, by network."""
    return {
        "generation": node.snapshotter.current.generation,
        "pairs": [
            {"network_id": network_id, "winner": str(winner), "loser": str(loser), **_lateness(value)}
            for network_id, network in node.networks.items()
            if network.watchers.lag is not None
            for (winner, loser), value in network.watchers.lag.pairs.shown()
        ],
    }


def _describe_network(network_id: int, tracker: LagTracker) -> dict[str, Any]:
    behind, late = _by_peer(tracker.winners), _by_peer(tracker.losers)
    nothing = _lateness(HistogramValue((0,), 0.0))
    firsts = sum(tracker.firsts.values())
    peers: list[dict[str, Any]] = [
        {
            "peer": str(peer),
            "firsts": count,
            "share": count / firsts if firsts else 0.0,
            "others_behind": behind.get(peer, nothing),
            "late": late.get(peer, nothing),
        }
        for peer, count in tracker.firsts.items()
    ]
    return {
        "network_id": network_id,
        "sample_rate": tracker.params.sample_rate,
        "ttl_s": tracker.params.ttl_s,
        "all": _lateness(histogram(tracker.total)),
        "other": tracker.pairs.other_count,
        "expired": tracker.expired,
        "unsampled": tracker.unsampled,
        "peers": sorted(peers, key=lambda peer: peer["firsts"], reverse=True),
        "never_first": [
            str(peer)
            for peer, count in tracker.firsts.items()
            if not count and late.get(peer, nothing)["count"]
        ],
    }


def _by_peer(table: TallyTable) -> dict[bytes, dict[str, Any]]:
    return {peer: _lateness(value) for (peer,), value in table.shown()}


def _lateness(value: HistogramValue) -> dict[str, Any]:
    """How many copies, and how late they were."""
    return {
        "count": value.count,
        "mean_s": value.sum / value.count if value.count else None,
        "median_s": quantile_s(value, 0.5),
        "p99_s": quantile_s(value, 0.99),
    }
