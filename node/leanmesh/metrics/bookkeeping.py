"""What went wrong while the node went on: in callables of users, for want of room, in cells."""

from collections.abc import Iterator

from leanmesh.contain import ContainedErrors
from leanmesh.metrics.catalog_node import (
    CELLS_LATE_WRITES,
    CONTAINED_ERRORS,
    OBSERVATIONS_REFUSED,
    REFRESHER_ERRORS,
    SERIES_DROPPED,
)
from leanmesh.metrics.catalog_workers import CELLS_TORN
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.sample import Sample
from leanmesh.metrics.snapshotter import Snapshotter

FAMILIES = (REFRESHER_ERRORS, CONTAINED_ERRORS, SERIES_DROPPED, CELLS_LATE_WRITES, OBSERVATIONS_REFUSED)


def add_bookkeeping(snapshotter: Snapshotter, contained: ContainedErrors, cells: Cells | None = None) -> None:
    """Export the errors of refreshers and contained callables, how often a family was full, what cells lost.

    `cells` are those of this process; `snapshotter` may publish them or a sum with others'.
    """

    def read() -> Iterator[Sample]:
        for name, count in snapshotter.refreshers.errors.counts.items():
            yield Sample(REFRESHER_ERRORS, (name,), count)
        for name, count in contained.counts.items():
            yield Sample(CONTAINED_ERRORS, (name,), count)
        for name, count in snapshotter.sources.dropped.items():
            yield Sample(SERIES_DROPPED, (name,), count)
        if cells is not None:
            for name, count in cells.dropped().items():
                yield Sample(SERIES_DROPPED, (name,), count)
            yield Sample(CELLS_LATE_WRITES, (), cells.late_writes)
            yield Sample(OBSERVATIONS_REFUSED, (), cells.observations_refused)

    snapshotter.add_source("bookkeeping", FAMILIES, read)
    if cells is not None and snapshotter.cells is cells:
        _add_torn(snapshotter)


def _add_torn(snapshotter: Snapshotter) -> None:
    """Export how often a refresh found a histogram of this process half written."""
    torn = 0

    def read() -> Iterator[Sample]:
        nonlocal torn
        copy = snapshotter.cells_copy
        torn += 0 if copy is None else len(copy.torn)
        yield Sample(CELLS_TORN, ("busy",), torn)

    snapshotter.add_source("cells", (CELLS_TORN,), read)
