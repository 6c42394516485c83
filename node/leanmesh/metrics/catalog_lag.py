"""The catalog, part four: by how much the later copies of a message are late, and behind whom.

The only families that name peers.  They are there while the tracker is on.
"""

from leanmesh.metrics.family import OTHER, CounterSpec, FamilySpec, HistogramSpec
from leanmesh.metrics.params import LAG_PAIR_LIMIT, LAG_PEER_LIMIT
from leanmesh.metrics.slots import MAX_NETWORKS

NANOSECOND = 1e-9

# From what two peers of one data centre differ by to what a gossip round costs.
LAG_BOUNDS_S = (
    *(0.00005, 0.0001, 0.00025, 0.0005),
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
)
OUTSIDE_REASONS = (OTHER, "expired", "unsampled")

LAG = HistogramSpec(
    "leanmesh_duplicate_lag_seconds",
    "How long after the first copy of a message a later one came from another peer. All of them, whoever "
    "the peers were.",
    labels=("network_id",),
    bounds=LAG_BOUNDS_S,
    resolution=NANOSECOND,
    series_limit=MAX_NETWORKS,
)
LAG_BY_WINNER = HistogramSpec(
    "leanmesh_duplicate_lag_by_winner_seconds",
    "The same by who was first: how far the others were behind this peer.",
    labels=("network_id", "winner"),
    bounds=LAG_BOUNDS_S,
    resolution=NANOSECOND,
    series_limit=MAX_NETWORKS * (LAG_PEER_LIMIT + 1),
)
LAG_BY_LOSER = HistogramSpec(
    "leanmesh_duplicate_lag_by_loser_seconds",
    "The same by who was late: how far this peer was behind the first. High for a peer that is nobody's "
    "winner: it costs bandwidth and brings nothing.",
    labels=("network_id", "loser"),
    bounds=LAG_BOUNDS_S,
    resolution=NANOSECOND,
    series_limit=MAX_NETWORKS * (LAG_PEER_LIMIT + 1),
)
LAG_BY_PAIR = HistogramSpec(
    "leanmesh_duplicate_lag_by_pair_seconds",
    "The same by both; exported only with has_pairs, because the pairs are the square of the peers.",
    labels=("network_id", "winner", "loser"),
    bounds=LAG_BOUNDS_S,
    resolution=NANOSECOND,
    series_limit=MAX_NETWORKS * (LAG_PAIR_LIMIT + 1),
)
LAG_OUTSIDE = CounterSpec(
    "leanmesh_duplicate_lag_outside_total",
    "Duplicates that are in no pair: other, the table of pairs was full, so only its series `other` and the"
    " aggregates have them; expired, there is nothing to compare them with: the first copy is too long ago,"
    " was our own message, or came from the same peer; unsampled, the sample left their message out. Pairs"
    " and these together are all duplicates.",
    labels=("network_id", "reason"),
    fixed=(("reason", OUTSIDE_REASONS),),
)
LAG_UNTRACKED = CounterSpec(
    "leanmesh_duplicate_lag_untracked_total",
    "First copies that the tracker could not remember because message_limit was reached within one ttl. "
    "Their later copies count as expired.",
    labels=("network_id",),
    series_limit=MAX_NETWORKS,
)

FAMILIES: tuple[FamilySpec, ...] = (
    LAG,
    LAG_BY_WINNER,
    LAG_BY_LOSER,
    LAG_BY_PAIR,
    LAG_OUTSIDE,
    LAG_UNTRACKED,
)
