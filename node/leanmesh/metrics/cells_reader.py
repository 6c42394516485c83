"""Reads the cells of another process: one that works, hangs, or was killed."""

from pathlib import Path

import attrs

from leanmesh.metrics.block import Block
from leanmesh.metrics.cells_copy import CellsCopy, take_copy
from leanmesh.metrics.layout import CellsLayout, EndedSeries, build_layout
from leanmesh.metrics.names import NameReader


@attrs.define(eq=False)
class CellsReader:
    """A block of cells, mapped for reading.  It stays readable after its writer and its file are gone."""

    block: Block
    _names: NameReader = attrs.field(init=False)
    _layout: CellsLayout | None = attrs.field(init=False, default=None)
    _last_copy: CellsCopy | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._names = NameReader(self.block)

    @classmethod
    def open(cls, source: Path | str | int) -> "CellsReader":
        """Open a file or a descriptor.  CellsUnreadable, with the reason, when it holds no block of ours."""
        return cls(Block.open(Path(source) if isinstance(source, str) else source))

    @property
    def incarnation(self) -> int:
        """The random number of this life of the block: another one is another life."""
        return self.block.head.incarnation

    @property
    def pid(self) -> int:
        """The process that writes the block, or wrote it."""
        return self.block.head.pid

    @property
    def started_unix_ns(self) -> int:
        """When the block was made."""
        return self.block.head.started_unix_ns

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since the writer's loop last went round, by this machine's monotonic clock."""
        return self.block.heartbeat_age_s()

    @property
    def writer_is_alive(self) -> bool:
        """Whether the very process that made the block still runs."""
        return self.block.writer_is_alive()

    @property
    def has_ended(self) -> bool:
        """Whether the writer closed the block itself."""
        return bool(self.block.head.ended)

    def copy(self, *, is_writer_dead: bool = False) -> CellsCopy:
        """Copy everything as of now.  Never waits for the writer.

        A label set that ended while the copy was made is left out, so no value stands under another's
        name; `ended` has its last values.  `is_writer_dead` says that its death is certain: then groups it
        was killed in are taken as they lie there, and still named in `torn`.  CellsUnreadable when the
        names are broken.
        """
        if self._names.follow() or self._layout is None:
            self._layout = self._build_layout()
        layout = self._layout
        copy = take_copy(self.block.head, layout, self._last_copy, take_torn=is_writer_dead)
        if self._names.follow():
            self._layout = None
            is_living = self._names.is_living
            families = [family.keep(is_living) for family in layout.families]
            if any(kept is not family for kept, family in zip(families, layout.families, strict=True)):
                copy = attrs.evolve(copy, layout=build_layout(families, self.block.capacity))
        ended = self._names.take_ended()
        if ended:
            copy = attrs.evolve(copy, ended=tuple(self._with_words(series) for series in ended))
        self._last_copy = copy
        return copy

    def _with_words(self, series: EndedSeries) -> EndedSeries:
        """With the values of the copy before, when the last ones are not known."""
        if series.last_words is not None or self._last_copy is None:
            return series
        return attrs.evolve(series, last_words=self._last_copy.words_of(series.spec, series.serial))

    def _build_layout(self) -> CellsLayout:
        capacity = self.block.capacity
        return build_layout((family.layout(capacity) for family in self._names.families.values()), capacity)
