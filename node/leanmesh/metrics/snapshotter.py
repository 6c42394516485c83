"""The Snapshotter: it alone turns the stores into a Snapshot, and publishes it by swapping one reference.

A refresh is one synchronous pass: refreshers, then one copy of the cells,
then the sources, then the encoding.  It runs in the task that asked for it, so
no task has to be woken first and a busy loop cannot starve it.  A refresh in
which a source raises publishes nothing: the old snapshot stays and its age grows.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import attrs
import trio

from leanmesh.metrics.cells_copy import CellsCopy
from leanmesh.metrics.cells_encoder import CellsEncoder
from leanmesh.metrics.family import FamilySpec
from leanmesh.metrics.page import Page, PageFormat, Pages, partial_page
from leanmesh.metrics.params import MetricsParams
from leanmesh.metrics.refreshers import Refreshers
from leanmesh.metrics.report import Report
from leanmesh.metrics.sample import Family
from leanmesh.metrics.snapshot import EncodedFamily, Snapshot, encode_family, named
from leanmesh.metrics.sources import ReadSamples, SourceHandle, Sources


class CellStore(Protocol):
    """What a snapshotter needs of the cells."""

    def copy(self) -> CellsCopy:
        """All cells as they are now."""
        ...


@attrs.define(eq=False)
class Snapshotter:
    """Takes, keeps and serves snapshots.  Made inside a Trio run, because it reads the loop's clock.

    Until the first refresh `current` is the empty snapshot of generation 0.
    """

    params: MetricsParams = attrs.field(factory=MetricsParams)
    refreshers: Refreshers = attrs.field(factory=Refreshers)
    sources: Sources = attrs.field(factory=Sources)
    cells: CellStore | None = None
    wall_clock: Callable[[], float] = attrs.field(default=time.time)
    # Held, because readers in other threads cannot ask Trio for it.
    _clock: trio.abc.Clock = attrs.field(factory=trio.lowlevel.current_clock, init=False)
    _pages: Pages = attrs.field(init=False)
    _report: Report = attrs.field(init=False)
    _encoder: CellsEncoder = attrs.field(init=False)
    _copy: CellsCopy | None = attrs.field(default=None, init=False)
    _attempts: int = attrs.field(default=0, init=False)
    _attempted_at_s: float = attrs.field(default=float("-inf"), init=False)
    _is_marked: bool = attrs.field(default=False, init=False)
    _is_outdated: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._pages = Pages(Snapshot(0, self._clock.current_time(), self.wall_clock(), ()))
        self._report = Report(self.current.taken_at_unix_s)
        self._encoder = CellsEncoder(self.params.has_created_samples)

    @property
    def current(self) -> Snapshot:
        """The snapshot as it is published now, whatever its age."""
        return self._pages.snapshot

    @property
    def is_ready(self) -> bool:
        """Whether a snapshot has been taken."""
        return self.current.generation > 0

    @property
    def age_s(self) -> float:
        """How old the current snapshot is."""
        return self._clock.current_time() - self.current.taken_at_s

    @property
    def cells_copy(self) -> CellsCopy | None:
        """The copy of the cells that a refresh reads: for sources, so that all show one instant."""
        return self._copy

    def add_source(self, name: str, specs: Sequence[FamilySpec], read: ReadSamples) -> SourceHandle:
        """Have `read()` answer the values of `specs` at each refresh."""
        return self.sources.add(name, specs, read)

    def mark_changed(self) -> None:
        """Say that something changed which no cell shows, so that the next tick refreshes."""
        self._is_marked = True

    def mark_outdated(self) -> None:
        """Say that something changed which a scrape shall see at once, however young the snapshot is."""
        self._is_marked = self._is_outdated = True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take the first snapshot, say so, and then a new one each tick in which something changed."""
        await self.refresh()
        task_status.started()
        looked_at_s = self._attempted_at_s
        while True:
            # A scrape may have refreshed meanwhile: then the next look is a tick after that.
            due_s = max(looked_at_s, self._attempted_at_s) + self.params.tick_s
            if self._clock.current_time() < due_s:
                await trio.sleep_until(due_s)
                continue
            looked_at_s = self._clock.current_time()
            if self._has_changed():
                await self.refresh()

    async def fresh(self) -> Snapshot:
        """For a scrape: the current snapshot, or the next one when that is outdated or over `max_age_s` old.

        Waits at most `wait_limit_s` and then answers the old one.
        """
        if self.age_s > self.params.max_age_s or self._is_outdated or not self.is_ready:
            with trio.move_on_after(self.params.wait_limit_s):
                await self.refresh()
        return self.current

    async def refresh(self) -> Snapshot:
        """For embedders: a snapshot that was begun after this call.

        All who wait at the same time share one refresh, and refreshes are
        `refresh_interval_min_s` apart.  When a source raises, the old snapshot is
        answered: its generation tells.
        """
        attempts = self._attempts
        await trio.sleep_until(self._attempted_at_s + self.params.refresh_interval_min_s)
        if self._attempts == attempts:
            self._attempt()
        return self.current

    async def page(
        self,
        page_format: PageFormat = PageFormat.TEXT,
        *,
        names: Collection[str] = (),
        is_gzipped: bool = False,
    ) -> Page:
        """Answer one scrape: all families, or those that `names` stand for."""
        await self.fresh()
        pages = self._pages
        report = [self._encode(family) for family in self.report(pages.snapshot)]
        if not names:
            return await pages.page(page_format, report, is_gzipped=is_gzipped)
        encoded = named((*pages.snapshot.encoded, *report), names)
        return await partial_page(
            encoded, page_format, is_gzipped=is_gzipped, generation=pages.snapshot.generation
        )

    def report(self, snapshot: Snapshot) -> tuple[Family, ...]:
        """The families about a snapshot itself, true now: generation, age, errors, durations."""
        age_s = self._clock.current_time() - snapshot.taken_at_s
        return self._report.families(snapshot, age_s, dict(self.sources.errors.counts))

    def _has_changed(self) -> bool:
        if self._is_marked or self._report.has_failed:
            return True
        if self.cells is None or self._copy is None:
            return self.cells is not None
        copy = self.cells.copy()
        return (
            copy.layout_version != self._copy.layout_version
            or copy.words.tobytes() != self._copy.words.tobytes()
            or copy.group_words.tobytes() != self._copy.group_words.tobytes()
            or copy.network_words.tobytes() != self._copy.network_words.tobytes()
        )

    def _encode(self, family: Family) -> EncodedFamily:
        return encode_family(family, with_created=self.params.has_created_samples)

    def _attempt(self) -> None:
        """Refresh once, now."""
        started_s = time.perf_counter()
        self._attempts += 1
        self._attempted_at_s = self._clock.current_time()
        self._is_marked = self._is_outdated = False
        encoded = self._take()
        self._report.attempted(time.perf_counter() - started_s, has_failed=encoded is None)
        if encoded is not None:
            self._publish(encoded)

    def _publish(self, encoded: list[EncodedFamily]) -> None:
        snapshot = Snapshot(
            self.current.generation + 1, self._attempted_at_s, self.wall_clock(), tuple(encoded)
        )
        self._pages = Pages(snapshot)

    def _take(self) -> list[EncodedFamily] | None:
        self.refreshers.run()
        # A label set that was not in the last snapshot began after it.
        created_unix_s = self.current.taken_at_unix_s
        copy = self._copy = None if self.cells is None else self.cells.copy()
        owned = frozenset[str]() if copy is None else {family.spec.name for family in copy.layout.families}
        families = self.sources.read(owned, created_unix_s)
        if families is None:
            return None
        encoded = [self._encode(family) for family in families]
        if copy is not None:
            encoded += self._encoder.encode(copy, created_unix_s)
        encoded.sort(key=lambda family: family.spec.name)
        return encoded
