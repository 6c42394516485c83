"""The numbers of the metrics layer."""

import attrs

from leanmesh.errors import LocalError
from leanmesh.metrics.sampling import check_sample_rate

# A refresh calls each of them; a scrape waits for that.  Sixteen short ones keep a refresh short.
REFRESHER_LIMIT = 16

# Series of one network that name peers: 14 mesh peers make 182 pairs.
LAG_PAIR_LIMIT = 1024
LAG_PEER_LIMIT = 256


@attrs.frozen(kw_only=True)
class MetricsParams:
    """When a snapshot is taken, how long a scrape waits for one, and what the page carries."""

    # A scrape that finds the snapshot older than this asks for a new one.
    max_age_s: float = 1.0
    # How long such a scrape waits at most before it is given the old one.
    wait_limit_s: float = 0.5
    # Refreshes are at least this far apart, whatever is asked.
    refresh_interval_min_s: float = 0.1
    # How often the background looks whether something changed.
    tick_s: float = 1.0
    # `_created` samples on OpenMetrics pages.  Prometheus stores each as one more series, so they are off.
    has_created_samples: bool = False

    def __attrs_post_init__(self) -> None:
        for name in ("max_age_s", "wait_limit_s"):
            if not getattr(self, name) >= 0.0:
                raise LocalError(f"{name} must be 0 or more seconds, not {getattr(self, name)}")
        for name in ("refresh_interval_min_s", "tick_s"):
            if not getattr(self, name) > 0.0:
                raise LocalError(f"{name} must be more than 0 seconds, not {getattr(self, name)}")


@attrs.frozen(kw_only=True)
class LagParams:
    """How the lag of duplicates is tracked, if it is.  The limits hold for each network.

    `ttl_s`: a copy that comes within this time of the first one is always compared with it, one that
    comes after twice as long never.  `sample_rate`: one of so many messages is looked at; a power
    of two.  `pair_limit`, `peer_limit`: pairs, winners and losers that are told apart.
    `message_limit`: first copies remembered from one ttl.  `has_pairs`: whether every pair is a series on
    the page; `leanmesh lag --pairs` shows them anyway.
    """

    is_on: bool = False
    ttl_s: float = 1.0
    sample_rate: int = 1
    pair_limit: int = LAG_PAIR_LIMIT
    peer_limit: int = LAG_PEER_LIMIT
    message_limit: int = 65_536
    has_pairs: bool = False

    def __attrs_post_init__(self) -> None:
        if not 0.001 <= self.ttl_s <= 3600.0:
            raise LocalError(f"ttl_s must be 0.001 to 3600 seconds, not {self.ttl_s}")
        check_sample_rate("sample_rate", self.sample_rate)
        for name, limit in (("pair_limit", LAG_PAIR_LIMIT), ("peer_limit", LAG_PEER_LIMIT)):
            if not 1 <= getattr(self, name) <= limit:
                raise LocalError(f"{name} must be 1 to {limit}, not {getattr(self, name)}")
        if self.message_limit < 1:
            raise LocalError(f"message_limit must be 1 or more, not {self.message_limit}")
