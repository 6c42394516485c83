"""What went wrong while the node went on: errors of users' callables, and label sets without room."""

from collections.abc import Callable, Iterator, Mapping

from leanmesh.contain import ContainedErrors
from leanmesh.metrics.catalog_node import CONTAINED_ERRORS, REFRESHER_ERRORS, SERIES_DROPPED
from leanmesh.metrics.sample import Sample
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.sources import SourceHandle


def add_bookkeeping(
    snapshotter: Snapshotter,
    contained: ContainedErrors,
    dropped_by_cells: Callable[[], Mapping[str, int]] = dict[str, int],
) -> SourceHandle:
    """Export the errors of refreshers and contained callables, and how often a family was full.

    `dropped_by_cells` answers that for the cells, by family (Cells.dropped).
    """

    def read() -> Iterator[Sample]:
        for name, count in snapshotter.refreshers.errors.counts.items():
            yield Sample(REFRESHER_ERRORS, (name,), count)
        for name, count in contained.counts.items():
            yield Sample(CONTAINED_ERRORS, (name,), count)
        for name, count in dropped_by_cells().items():
            yield Sample(SERIES_DROPPED, (name,), count)
        for name, count in snapshotter.sources.dropped.items():
            yield Sample(SERIES_DROPPED, (name,), count)

    return snapshotter.add_source("bookkeeping", (REFRESHER_ERRORS, CONTAINED_ERRORS, SERIES_DROPPED), read)
