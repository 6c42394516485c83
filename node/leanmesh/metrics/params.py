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

    # Half a microsecond for each copy; off, nothing.
    is_on: bool = False
    # Above the last bound of the histogram; later copies are no race of the mesh but answers to IWANT.
    ttl_s: float = 1.0
    # Every message; with 64 the cost of what is left out is a tenth of a microsecond.
    sample_rate: int = 1
    # 32 mesh peers that all race; each pair is 16 lines on the page.
    pair_limit: int = LAG_PAIR_LIMIT
    # Far more than any mesh, so that those that come and go fit too.
    peer_limit: int = LAG_PEER_LIMIT
    # More than a node passes on in a second, at some 200 bytes each.
    message_limit: int = 65_536
    # The pairs are the square of the peers.
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


@attrs.frozen(kw_only=True)
class CollectorParams:
    """The collector: whether work is measured, how it is handed over, and how topics are grouped.

    `is_on`: off, nothing is measured and its families are not on the page.
    `flush_events`, `flush_interval_s`: a producer hands over after so many things done,
    or so long; more often only costs.
    `buffer_limit`: batches that may wait for the collector, from the loop and from threads each.
    `topic_classes`: texts CLASS=PATTERN, such as "attestation=*/attestation_*"; the first pattern that fits
    a topic names its class, and a topic that none fits is a class of its own.
    `topic_class_limit`: how many classes there may be; the rest is `other`.
    `log_interval_s`: how often each source says in the log what it did; 0 for never.
    """

    # A tenth of a microsecond for each message, 2 us for each chunk: docs/collector.md.
    is_on: bool = True
    # Handing over costs about 15 us: for so many, nothing.
    flush_events: int = 256
    # A snapshot has what producers hold anyway; this bounds how long it is in their hands.
    flush_interval_s: float = 0.1
    # As many as come in a second from a source with 16,000 messages/s.
    buffer_limit: int = 64
    # Sixty-four subnets are one thing to look at.
    topic_classes: tuple[str, ...] = ()
    # With all operations of all sources about 400 series.
    topic_class_limit: int = 32
    # Often enough to see when a load began, and six lines at most each time.
    log_interval_s: float = 60.0

    def __attrs_post_init__(self) -> None:
        for name in ("flush_events", "buffer_limit", "topic_class_limit"):
            if getattr(self, name) < 1:
                raise LocalError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if not self.flush_interval_s > 0.0:
            raise LocalError(f"flush_interval_s must be more than 0 seconds, not {self.flush_interval_s}")
        if not self.log_interval_s >= 0.0:
            raise LocalError(f"log_interval_s must be 0 or more seconds, not {self.log_interval_s}")
        for text in self.topic_classes:
            name, _, pattern = text.partition("=")
            if not name or not pattern:
                raise LocalError(f"topic_classes: {text!r} is not CLASS=PATTERN")

    @property
    def topic_patterns(self) -> tuple[tuple[str, str], ...]:
        """`topic_classes` as pairs of class and pattern."""
        return tuple(
            (name, pattern) for name, _, pattern in (text.partition("=") for text in self.topic_classes)
        )
