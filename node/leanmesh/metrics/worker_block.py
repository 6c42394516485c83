"""One block of cells that takes part in the totals, from its first copy until its writer is dead."""

from array import array
from collections.abc import Iterable

import attrs

from leanmesh.metrics._cells import ffi, lib
from leanmesh.metrics.cells_copy import CellsCopy
from leanmesh.metrics.family import Across
from leanmesh.metrics.layout import CellsLayout, FamilyLayout
from leanmesh.metrics.totals import Totals, TotalsFamily

GATHERS = {Across.SUM: lib.gather_sum, Across.MAX: lib.gather_max, Across.MIN: lib.gather_min}


@attrs.define(eq=False)
class Table:
    """Which words of a copy go where: entry i from sources[i] to targets[i]."""

    sources: "array[int]" = attrs.field(factory=lambda: array("I"))
    targets: "array[int]" = attrs.field(factory=lambda: array("I"))

    def extend(self, more: "Table") -> None:
        """Add the entries of another table."""
        self.sources.extend(more.sources)
        self.targets.extend(more.targets)

    def gather(self, rule: Across, values: memoryview, into: "bytearray | array[int]") -> None:
        """Bring the values together with those in `into`, 64-bit words."""
        if not self.sources:
            return
        view = memoryview(into)
        error = GATHERS[rule](
            ffi.from_buffer("uint64_t *", values),
            len(values),
            ffi.from_buffer("uint32_t *", self.sources),
            ffi.from_buffer("uint32_t *", self.targets),
            len(self.sources),
            ffi.from_buffer("uint64_t *", into),
            view.nbytes // 8,
        )
        assert not error, "a table does not fit its arrays"


@attrs.define(eq=False)
class HeldFamily:
    """The part of one family's totals that a block has."""

    layout: FamilyLayout
    # None: its shape is not that of the others.
    family: TotalsFamily | None
    # Serials of the block -> label values.
    series: dict[int, tuple[str, ...]]
    table: Table


@attrs.define(eq=False)
class WorkerBlock:
    """What one block adds to the totals.

    take() brings in a new copy; then the block is added to every sum by
    add_to(), until fold() makes its counts part of what stands behind them.
    """

    totals: Totals
    copy: CellsCopy | None = None
    _held: dict[str, HeldFamily] = attrs.field(factory=dict[str, HeldFamily])
    _layout: CellsLayout | None = None
    _counts: Table = attrs.field(factory=Table)
    _gauges: dict[Across, Table] = attrs.field(factory=dict[Across, Table])
    _groups: Table = attrs.field(factory=Table)

    def take(self, copy: CellsCopy) -> None:
        """The block as it is now.  What ended since its copy before is folded at once."""
        departed = self._follow(copy.layout) if copy.layout is not self._layout else []
        self.copy, self._layout = copy, copy.layout
        for series in copy.ended:
            family = self.totals.family(series.spec)
            if family is not None and series.last_words:
                self.totals.add(family, series.label_values, series.last_words)
        # After those that came: a label set that ended and came back never leaves the page.
        for family, labels in departed:
            self.totals.let_go(family, labels, has_died=False)

    def add_to(self, words: bytearray, groups: bytearray, networks: bytearray) -> None:
        """Add what the last copy holds."""
        if self.copy is None:
            return
        self._counts.gather(Across.SUM, self.copy.words, words)
        for rule, table in self._gauges.items():
            table.gather(rule, self.copy.words, words)
        self._groups.gather(Across.SUM, self.copy.group_words, groups)
        lib.gather_networks(
            ffi.from_buffer("uint64_t *", self.copy.network_words), ffi.from_buffer("uint64_t *", networks)
        )

    def fold(self) -> None:
        """The writer is dead and its last copy taken: its counts stay, its gauges go."""
        if self.copy is not None:
            self._counts.gather(Across.SUM, self.copy.words, self.totals.numbers.base)
            self._groups.gather(Across.SUM, self.copy.group_words, self.totals.groups.base)
        for held in self._held.values():
            if held.family is not None:
                for labels in held.series.values():
                    self.totals.let_go(held.family, labels, has_died=True)
        self.copy = None
        self._held.clear()

    def _follow(self, layout: CellsLayout) -> list[tuple[TotalsFamily, tuple[str, ...]]]:
        """Take over a new layout; answers the label sets that are gone, still held."""
        departed: list[tuple[TotalsFamily, tuple[str, ...]]] = []
        before, self._held = self._held, {}
        for theirs in layout.families:
            held = before.pop(theirs.spec.name, None)
            if held is None or held.layout is not theirs:
                held = self._hold(theirs, held, departed)
            self._held[theirs.spec.name] = held
        for held in before.values():
            if held.family is not None:
                departed.extend((held.family, labels) for labels in held.series.values())
        self._join_tables()
        return departed

    def _hold(
        self,
        theirs: FamilyLayout,
        before: HeldFamily | None,
        departed: list[tuple[TotalsFamily, tuple[str, ...]]],
    ) -> HeldFamily:
        family = self.totals.family(theirs.spec)
        known = before.series if before is not None and before.family is family else {}
        series = dict(zip(theirs.serials, theirs.label_values, strict=True))
        if family is None:
            self.totals.skipped += before is None
            return HeldFamily(theirs, None, series, Table())
        for serial, labels in series.items():
            if serial not in known:
                self.totals.hold(family, labels)
        departed.extend((family, labels) for serial, labels in known.items() if serial not in series)
        return HeldFamily(theirs, family, series, _table(theirs, family))

    def _join_tables(self) -> None:
        self._counts, self._groups, self._gauges = Table(), Table(), {}
        for held in self._held.values():
            if held.family is None:
                continue
            if held.layout.is_grouped:
                self._groups.extend(held.table)
            elif held.family.is_gauge:
                self._gauges.setdefault(held.family.rule, Table()).extend(held.table)
            else:
                self._counts.extend(held.table)


def _table(theirs: FamilyLayout, family: TotalsFamily) -> Table:
    ours = [family.series[labels].position for labels in theirs.label_values]
    return Table(_spread(theirs.positions, family.words), _spread(ours, family.words))


def _spread(places: Iterable[int], words: int) -> "array[int]":
    """All words of places that have several in a row."""
    if words == 1:
        return array("I", places)
    return array("I", [word for place in places for word in range(place, place + words)])
