"""The numbers of the metrics layer."""

import attrs

from leanmesh.errors import LocalError

# A refresh calls each of them; a scrape waits for that.  Sixteen short ones keep a refresh short.
REFRESHER_LIMIT = 16


@attrs.frozen(kw_only=True)
class MetricsParams:
    """When a snapshot is taken, how long a scrape waits for one, and what the page carries.

    `max_age_s`: a scrape that finds the snapshot older than this asks for a new one.
    `wait_limit_s`: how long such a scrape waits at most before it is given the old one.
    `refresh_interval_min_s`: refreshes are at least this far apart, whatever is asked.
    `tick_s`: how often the background looks whether something changed.
    `has_created_samples`: whether OpenMetrics pages carry `_created` samples.  Prometheus
    stores each of them as one more series, so they are off unless asked for.
    """

    max_age_s: float = 1.0
    wait_limit_s: float = 0.5
    refresh_interval_min_s: float = 0.1
    tick_s: float = 1.0
    has_created_samples: bool = False

    def __attrs_post_init__(self) -> None:
        for name in ("max_age_s", "wait_limit_s"):
            if not getattr(self, name) >= 0.0:
                raise LocalError(f"{name} must be 0 or more seconds, not {getattr(self, name)}")
        for name in ("refresh_interval_min_s", "tick_s"):
            if not getattr(self, name) > 0.0:
                raise LocalError(f"{name} must be more than 0 seconds, not {getattr(self, name)}")
