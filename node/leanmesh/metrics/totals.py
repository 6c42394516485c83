"""The totals over worker processes: what each exported label set has, and where.

A total's place stays the same while it lives.  Behind each place stands a base,
to which the living are added at every refresh: for counters and histograms what
was counted by those that are gone, for gauges the neutral element of their rule.
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import count

import attrs

from leanmesh.metrics.family import Across, FamilySpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.layout import CellsLayout, FamilyLayout, gathered_layout

WORDS = 1 << 64
NEUTRAL = {Across.SUM: 0, Across.MAX: 1 << 63, Across.MIN: (1 << 63) - 1}


@attrs.define(eq=False)
class Total:
    """One exported label set.

    It is on the page while a living worker has it, and after the last one that
    had it died.  When the last one ended it, it leaves, and what was counted is
    remembered for its return.
    """

    serial: int
    position: int
    holders: int = 0
    is_kept: bool = False

    @property
    def is_visible(self) -> bool:
        """Whether it is on the page."""
        return self.holders > 0 or self.is_kept


@attrs.define(eq=False)
class Plane:
    """The places of one array of the copies, and what stands behind each."""

    base: "array[int]" = attrs.field(factory=lambda: array("Q"))
    # Words -> places of that size that are free.
    _free: dict[int, list[int]] = attrs.field(factory=dict[int, list[int]])

    def take(self, words: int, neutral: int) -> int:
        """The first of so many words in a row."""
        freed = self._free.get(words)
        if freed:
            place = freed.pop()
            self.base[place : place + words] = array("Q", [neutral]) * words
            return place
        self.base.extend([neutral] * words)
        return len(self.base) - words

    def give_back(self, place: int, words: int) -> None:
        """Nobody needs that place any more."""
        self._free.setdefault(words, []).append(place)

    def add(self, place: int, values: Sequence[int]) -> None:
        """Add to what stands behind a place."""
        for i, value in enumerate(values, place):
            self.base[i] = (self.base[i] + value) % WORDS


@attrs.define(eq=False)
class TotalsFamily:
    """One family's totals."""

    spec: FamilySpec
    plane: Plane
    series: dict[tuple[str, ...], Total] = attrs.field(factory=dict[tuple[str, ...], Total])
    # Label sets that no living worker has, the one longest without first: those on the page, because
    # the last one that had them died, and those that were ended.
    kept: dict[tuple[str, ...], None] = attrs.field(factory=dict[tuple[str, ...], None])
    ended: dict[tuple[str, ...], None] = attrs.field(factory=dict[tuple[str, ...], None])
    _layout: FamilyLayout | None = None

    @property
    def words(self) -> int:
        """The words of one total."""
        return words_of(self.spec)

    @property
    def is_gauge(self) -> bool:
        """Whether nothing of it outlives its workers."""
        return isinstance(self.spec, GaugeSpec)

    @property
    def rule(self) -> Across:
        """How living workers' values become one."""
        return self.spec.across_workers if isinstance(self.spec, GaugeSpec) else Across.SUM

    def changed(self) -> None:
        """A label set came to the page or left it."""
        self._layout = None

    def layout(self) -> FamilyLayout:
        """What is on the page: the same object until that changes."""
        if self._layout is None:
            visible = [(labels, total) for labels, total in self.series.items() if total.is_visible]
            self._layout = FamilyLayout(
                self.spec,
                tuple(labels for labels, _ in visible),
                array("I", [total.position for _, total in visible]),
                array("Q", [total.serial for _, total in visible]),
            )
        return self._layout


def words_of(spec: FamilySpec) -> int:
    """The words that one label set has in a copy: one, or a histogram's counts and sum."""
    return len(spec.bounds) + 2 if isinstance(spec, HistogramSpec) else 1


def shape_of(spec: FamilySpec) -> tuple[object, ...]:
    """What must agree before values may be added up."""
    bounds = spec.bounds if isinstance(spec, HistogramSpec) else ()
    return type(spec), spec.name, spec.labels, spec.resolution, bounds


@attrs.define(eq=False)
class Totals:
    """All totals.  `specs` say the rules and limits of the families that are known beforehand."""

    specs: Iterable[FamilySpec] = ()
    numbers: Plane = attrs.field(factory=Plane, init=False)
    groups: Plane = attrs.field(factory=Plane, init=False)
    # Families of a block that were left out, because another shape has their name.
    skipped: int = attrs.field(default=0, init=False)
    # Totals that were given up, to make room, before anybody had them again.
    forgotten: int = attrs.field(default=0, init=False)
    _known: dict[tuple[object, ...], FamilySpec] = attrs.field(init=False)
    _families: dict[str, TotalsFamily] = attrs.field(factory=dict[str, TotalsFamily], init=False)
    _serials: "count[int]" = attrs.field(factory=lambda: count(1), init=False)
    _layout: CellsLayout | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._known = {shape_of(spec): spec for spec in self.specs}

    def family(self, spec: FamilySpec) -> TotalsFamily | None:
        """The totals of one family; None when another shape has its name."""
        family = self._families.get(spec.name)
        if family is None:
            plane = self.groups if isinstance(spec, HistogramSpec) else self.numbers
            family = TotalsFamily(self._known.get(shape_of(spec), spec), plane)
            self._families[spec.name] = family
        return family if shape_of(family.spec) == shape_of(spec) else None

    def hold(self, family: TotalsFamily, labels: tuple[str, ...]) -> Total:
        """A living worker has this label set."""
        total = self._find_or_make(family, labels)
        if not total.is_visible:
            self._changed(family)
        total.holders += 1
        total.is_kept = False
        family.kept.pop(labels, None)
        family.ended.pop(labels, None)
        return total

    def let_go(self, family: TotalsFamily, labels: tuple[str, ...], *, has_died: bool) -> None:
        """A worker has it no more: because it died, or because it ended the label set."""
        total = family.series[labels]
        total.holders -= 1
        if total.holders:
            return
        if has_died and not family.is_gauge:
            total.is_kept = True
            self._remember(family, labels, family.kept)
            return
        self._changed(family)
        if family.is_gauge or not self._stands_behind(family, total):
            self._remove(family, labels)
        else:
            self._remember(family, labels, family.ended)

    def add(self, family: TotalsFamily, labels: tuple[str, ...], values: Sequence[int]) -> None:
        """Count what a label set had when it ended.  It need not be on the page, nor ever have been."""
        is_new = labels not in family.series
        if is_new and not any(values):
            return
        total = self._find_or_make(family, labels)
        family.plane.add(total.position, values)
        if is_new:
            self._remember(family, labels, family.ended)
        elif total.is_kept:
            # It had come back, and was ended, since the copy before.
            total.is_kept = False
            del family.kept[labels]
            self._changed(family)
            self._remember(family, labels, family.ended)

    def layout(self) -> CellsLayout:
        """All that is on the page: the same object until that changes."""
        if self._layout is None:
            self._layout = gathered_layout(
                [family.layout() for family in self._families.values()],
                len(self.numbers.base),
                len(self.groups.base),
            )
        return self._layout

    def _stands_behind(self, family: TotalsFamily, total: Total) -> bool:
        """Whether anything was counted that its return would go on from."""
        return any(family.plane.base[total.position : total.position + family.words])

    def _changed(self, family: TotalsFamily) -> None:
        family.changed()
        self._layout = None

    def _find_or_make(self, family: TotalsFamily, labels: tuple[str, ...]) -> Total:
        total = family.series.get(labels)
        if total is None:
            place = family.plane.take(family.words, NEUTRAL[family.rule])
            total = family.series[labels] = Total(next(self._serials), place)
        return total

    def _remember(
        self, family: TotalsFamily, labels: tuple[str, ...], unheld: dict[tuple[str, ...], None]
    ) -> None:
        """Keep what nobody living has, as long as there is room."""
        unheld[labels] = None
        if len(unheld) > family.spec.series_limit:
            self._remove(family, next(iter(unheld)))
            self.forgotten += 1

    def _remove(self, family: TotalsFamily, labels: tuple[str, ...]) -> None:
        total = family.series.pop(labels)
        family.kept.pop(labels, None)
        family.ended.pop(labels, None)
        family.plane.give_back(total.position, family.words)
        if total.is_kept:
            self._changed(family)
        if not family.series:
            # Another shape may have the name now.
            del self._families[family.spec.name]
