"""What the trackers of all networks put on the page."""

from collections.abc import Callable, Iterator, Mapping

import attrs
import trio

from leanmesh.metrics.catalog_lag import (
    FAMILIES,
    LAG,
    LAG_BY_LOSER,
    LAG_BY_PAIR,
    LAG_BY_WINNER,
    LAG_OUTSIDE,
    LAG_UNTRACKED,
)
from leanmesh.metrics.duplicate_lag import LagTracker
from leanmesh.metrics.duplicate_lag_tallies import TallyTable, histogram
from leanmesh.metrics.family import OTHER, HistogramSpec
from leanmesh.metrics.sample import Sample


@attrs.define(eq=False)
class LagSource:
    """A source of families (Snapshotter.add_source takes `families` and `read`)."""

    trackers: Mapping[int, LagTracker]
    has_pairs: bool
    clock: Callable[[], float] = trio.current_time

    families = FAMILIES

    def read(self) -> Iterator[Sample]:
        """Everything, copied in one pass."""
        now_s = self.clock()
        for network_id, tracker in self.trackers.items():
            # Without traffic nothing else lets go of the last messages.
            tracker.forget_old(now_s)
            yield from self._read_one(str(network_id), tracker)

    def _read_one(self, network_id: str, tracker: LagTracker) -> Iterator[Sample]:
        yield Sample(LAG, (network_id,), histogram(tracker.total))
        yield from _shown(LAG_BY_WINNER, network_id, tracker.winners)
        yield from _shown(LAG_BY_LOSER, network_id, tracker.losers)
        if self.has_pairs:
            yield from _shown(LAG_BY_PAIR, network_id, tracker.pairs)
        outside = {
            OTHER: tracker.pairs.other_count,
            "expired": tracker.expired,
            "unsampled": tracker.unsampled,
        }
        for reason, count in outside.items():
            yield Sample(LAG_OUTSIDE, (network_id, reason), count)
        yield Sample(LAG_UNTRACKED, (network_id,), tracker.untracked)


def _shown(spec: HistogramSpec, network_id: str, table: TallyTable) -> Iterator[Sample]:
    for key, value in table.shown():
        yield Sample(spec, (network_id, *map(str, key)), value)
    if table.other_count:
        yield Sample(spec, (network_id, *(OTHER for _ in spec.labels[1:])), histogram(table.other))
