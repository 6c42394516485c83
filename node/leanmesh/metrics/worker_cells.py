"""The cells of this process and of its workers, as one: what a Snapshotter publishes.

Exported is what was retired plus the sum of the living.  Each worker writes a
block of its own from zero; when its death is certain its counts are retired and
its gauges go, in one step between two copies.  So no counter falls when a worker
goes, and none is ever compared with its past.  docs/workers.md says what each
guarantee rests on.

Everything in here belongs to one thread.
"""

import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import attrs

from leanmesh.errors import LocalError
from leanmesh.metrics._cells import lib
from leanmesh.metrics.catalog import CATALOG
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.cells_copy import CellsCopy
from leanmesh.metrics.cells_reader import CellsReader
from leanmesh.metrics.family import FamilySpec
from leanmesh.metrics.totals import Totals
from leanmesh.metrics.worker_block import WorkerBlock
from leanmesh.metrics.worker_handle import Tally, WorkerHandle

# A retired block that is attached again is known as such; nobody attaches one that is so many lives old.
RETIRED_INCARNATIONS = 1024


@attrs.define(eq=False)
class WorkerCells:
    """All cells of a supervisor: its own and those of its workers.

    `specs` are the families whose rules (across_workers) and bounds (series_limit) are known.
    """

    own: Cells
    specs: Iterable[FamilySpec] = CATALOG
    _tally: Tally = attrs.field(factory=Tally, init=False)
    _totals: Totals = attrs.field(init=False)
    _own: WorkerHandle = attrs.field(init=False)
    _workers: list[WorkerHandle] = attrs.field(factory=list[WorkerHandle], init=False)
    _retired: deque[int] = attrs.field(factory=lambda: deque[int](maxlen=RETIRED_INCARNATIONS), init=False)

    def __attrs_post_init__(self) -> None:
        self._totals = Totals(self.specs)
        self._own = self._handle("", None)
        self._own.reader, self._own.incarnation = CellsReader(self.own.block), self.own.incarnation

    @property
    def workers(self) -> tuple[WorkerHandle, ...]:
        """Those that are attached, in the order in which they were."""
        return tuple(self._workers)

    @property
    def torn(self) -> dict[str, int]:
        """Histograms that were caught half written, by reason."""
        return dict(self._tally.torn)

    @property
    def skipped(self) -> dict[str, int]:
        """What was left out, by reason."""
        return {**self._tally.skipped, "shape": self._totals.skipped, "forgotten": self._totals.forgotten}

    def attach(self, name: str, source: Path | int) -> WorkerHandle:
        """Read a worker's block from now on: in a descriptor, which is duplicated, or a file.

        It need not hold anything yet, and the file need not be there.  What cannot be read is
        counted in `skipped`, and the others are none the worse.  LocalError when the descriptor is not open.
        """
        if isinstance(source, int):
            try:
                source = os.dup(source)
            except OSError as error:
                raise LocalError(f"the cells of worker {name}: descriptor {source}: {error}") from error
        handle = self._handle(name, source)
        self._workers.append(handle)
        return handle

    def retire(self, handle: WorkerHandle) -> bool:
        """Fold what a worker counted, and let its gauges go.  False when that was done before.

        Its death must be certain, as that of a child that was waited for: nothing is read afterwards.
        """
        if handle not in self._workers:
            return False
        # What the others ended so far, they ended before this death.
        self._follow_all()
        handle.end()
        self._workers.remove(handle)
        if handle.incarnation is not None:
            self._retired.append(handle.incarnation)
        return True

    def copy(self) -> CellsCopy:
        """All cells as they are now, added up.  Never waits for a writer."""
        # What it released may be used again only after copies of its own.
        own = self.own.copy()
        self._follow_all()
        layout = self._totals.layout()
        words, groups = bytearray(self._totals.numbers.base), bytearray(self._totals.groups.base)
        networks = bytearray(8 * lib.CELLS_MAX_NETWORKS)
        for handle in (self._own, *self._workers):
            handle.block.add_to(words, groups, networks)
        return CellsCopy(
            layout,
            own.incarnation,
            own.heartbeat_ns,
            memoryview(words).toreadonly().cast("Q"),
            memoryview(groups).toreadonly().cast("Q"),
            memoryview(networks).toreadonly().cast("Q"),
            torn=(),
        )

    def _follow_all(self) -> None:
        for handle in (self._own, *self._workers):
            handle.follow()

    def _handle(self, name: str, source: Path | int | None) -> WorkerHandle:
        return WorkerHandle(name, WorkerBlock(self._totals), self._tally, self._is_known, source)

    def _is_known(self, incarnation: int) -> bool:
        living = (handle.incarnation for handle in (self._own, *self._workers))
        return incarnation in self._retired or incarnation in living
