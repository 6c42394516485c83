"""Which word counts what, as values: tables that change, and the immutable layout that a copy carries.

A layout is the same object for as long as no label set comes or goes, family
by family: whoever caches a page's prefixes compares identities.
"""

from array import array
from collections.abc import Callable, Iterable
from itertools import count

import attrs

from leanmesh.metrics._cells import lib
from leanmesh.metrics.family import FamilySpec, HistogramSpec

_VERSIONS = count(1)


@attrs.frozen
class Series:
    """One label set's place.  A serial is never used again in a block; an index may be."""

    serial: int
    index: int
    # Of the record in the block's names.
    record_bytes: int


@attrs.frozen
class EndedSeries:
    """A counter's or histogram's label set that ended.

    `last_words` are its last values as they lie in a copy, one for a counter; empty when its
    writer keeps them and will store them again.  None: its end was in a log that was gone
    before it was read.
    """

    spec: FamilySpec
    label_values: tuple[str, ...]
    serial: int
    last_words: tuple[int, ...] | None


@attrs.frozen(eq=False)
class FamilyLayout:
    """One family's label sets and where a copy holds their values.

    `positions[i]` belongs to `label_values[i]`: into `words` for counters
    and gauges, into `group_words` for histograms (one count for each bound, one for
    +Inf, then the sum).  A position stays the same while its label set lives.
    """

    spec: FamilySpec
    label_values: tuple[tuple[str, ...], ...]
    positions: "array[int]"
    serials: "array[int]"

    @property
    def is_grouped(self) -> bool:
        """Whether the positions point into `group_words`."""
        return isinstance(self.spec, HistogramSpec)

    def keep(self, is_living: Callable[[int], bool]) -> "FamilyLayout":
        """The same family without the label sets that ended."""
        kept = [i for i, serial in enumerate(self.serials) if is_living(serial)]
        if len(kept) == len(self.serials):
            return self
        return FamilyLayout(
            self.spec,
            tuple(self.label_values[i] for i in kept),
            array("I", (self.positions[i] for i in kept)),
            array("Q", (self.serials[i] for i in kept)),
        )


@attrs.define(eq=False)
class FamilyTable:
    """One family's label sets as they stand."""

    number: int
    spec: FamilySpec
    series: dict[tuple[str, ...], Series] = attrs.field(factory=dict[tuple[str, ...], Series])
    _layout: FamilyLayout | None = None

    def add(self, label_values: tuple[str, ...], series: Series) -> None:
        """A label set begins."""
        self.series[label_values] = series
        self._layout = None

    def remove(self, label_values: tuple[str, ...]) -> None:
        """A label set ends."""
        del self.series[label_values]
        self._layout = None

    def layout(self, capacity: int) -> FamilyLayout:
        """The layout as of now: the same object until a label set comes or goes."""
        if self._layout is None:
            places = [series.index for series in self.series.values()]
            if isinstance(self.spec, HistogramSpec):
                words = group_words(self.spec)
                # Groups lie at the end of the block, the first one last: counted from the end,
                # positions stay when more groups come.
                places = [capacity - index - words for index in places]
            self._layout = FamilyLayout(
                self.spec,
                tuple(self.series),
                array("I", places),
                array("Q", (series.serial for series in self.series.values())),
            )
        return self._layout


def group_words(spec: HistogramSpec) -> int:
    """The words of one group: sequence, place of the bounds, a count for each bound and for +Inf, the sum."""
    return len(spec.bounds) + lib.CELLS_GROUP_OVERHEAD


@attrs.frozen(eq=False)
class CellsLayout:
    """All families of a block, and what the C copy needs to know of its groups."""

    version: int
    families: tuple[FamilyLayout, ...]
    word_count: int
    group_word_count: int
    # One item per group, all families one after the other.
    groups: "array[int]"
    group_bound_counts: "array[int]"
    group_positions: "array[int]"
    group_serials: "array[int]"


def build_layout(families: Iterable[FamilyLayout], capacity: int) -> CellsLayout:
    """Put families together under a version that no other layout of this process has."""
    kept = tuple(family for family in families if family.label_values)
    word_count = group_word_count = 0
    groups, bound_counts, positions = array("I"), array("I"), array("I")
    serials = array("Q")
    for family in kept:
        if isinstance(family.spec, HistogramSpec):
            words = group_words(family.spec)
            positions.extend(family.positions)
            serials.extend(family.serials)
            groups.extend(capacity - position - words for position in family.positions)
            bound_counts.extend([len(family.spec.bounds)] * len(family.positions))
            group_word_count = max(group_word_count, max(family.positions) + words)
        else:
            word_count = max(word_count, max(family.positions) + 1)
    return CellsLayout(
        next(_VERSIONS), kept, word_count, group_word_count, groups, bound_counts, positions, serials
    )


def gathered_layout(families: Iterable[FamilyLayout], word_count: int, group_word_count: int) -> CellsLayout:
    """The layout of a copy that was added up from others: no block has these groups."""
    kept = tuple(family for family in families if family.label_values)
    none = array("I")
    return CellsLayout(next(_VERSIONS), kept, word_count, group_word_count, none, none, none, array("Q"))
