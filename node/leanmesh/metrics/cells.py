"""The cells of this process: every count and gauge is one 64-bit word that its writer stores into directly.

Look a cell up once, keep its index, and add to it without a call:

    index = cells.counter(DUPLICATES, topic)
    cells.words[index] += 1

A word has one writer.  Numbers that must agree with each other, as those of a
histogram, lie in a group that one C call writes.  Another process reads the
same block with CellsReader, also after this one was killed.  docs/cells.md
says what each guarantee rests on.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import attrs

from leanmesh.errors import LocalError
from leanmesh.metrics._cells import lib
from leanmesh.metrics.block import CAPACITY, Block, CellsUnreadable, make_memfd, runtime_directory
from leanmesh.metrics.cells_copy import CellsCopy, Value, read_group, store_group, take_copy
from leanmesh.metrics.cells_reader import CellsReader
from leanmesh.metrics.family import OTHER, CounterSpec, FamilySpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.layout import CellsLayout, FamilyTable, Series, build_layout, group_words
from leanmesh.metrics.names import NameLog, beginning_record, family_record
from leanmesh.metrics.places import SINK, Places
from leanmesh.metrics.slots import MAX_NETWORKS, NetworkHandle, NetworkSlots

__all__ = [
    "CAPACITY",
    "MAX_NETWORKS",
    "Cells",
    "CellsCopy",
    "CellsReader",
    "CellsUnreadable",
    "Histogram",
    "NetworkHandle",
    "NetworkSlots",
    "Value",
    "make_memfd",
    "runtime_directory",
]

# A topic or peer id is far shorter; what is longer would be a burden to every scraper.
LABEL_VALUE_LIMIT = 1024


@attrs.frozen(eq=False)
class Histogram:
    """The writing end of one histogram's label set.

    `observe(value)` takes the value in stored steps (the family's resolution)
    and is one C call.  `store(words)` replaces the count of each bucket and, last, the sum in
    stored steps: for totals that are kept elsewhere.  After release() both do nothing.
    """

    observe: Callable[[int], object]
    store: Callable[[Sequence[int]], object]


@attrs.define(eq=False)
class Family:
    """One family as its writer keeps it."""

    table: FamilyTable
    # Whether its record is in the names of the block.
    is_named: bool = False
    # Label sets that were turned away, each time they were asked for.
    dropped: int = 0
    # The place kept for the label set `other`: so that it is there when the block is full.
    other_place: int | None = None
    # Where a histogram's bounds stand.
    bounds_place: int = 0
    handles: dict[tuple[str, ...], Histogram] = attrs.field(factory=dict[tuple[str, ...], Histogram])

    @property
    def spec(self) -> FamilySpec:
        """What the family is."""
        return self.table.spec


@attrs.define(eq=False)
class Cells:
    """All cells of one process.  Lookups, releases and copies may come from any thread."""

    block: Block
    words: memoryview = attrs.field(init=False)
    signed_words: memoryview = attrs.field(init=False)
    networks: NetworkSlots = attrs.field(init=False)
    _places: Places = attrs.field(init=False)
    _names: NameLog = attrs.field(init=False)
    _families: dict[str, Family] = attrs.field(init=False, factory=dict[str, Family])
    _serial: int = attrs.field(init=False, default=0)
    _layout: CellsLayout | None = attrs.field(init=False, default=None)
    _last_copy: CellsCopy | None = attrs.field(init=False, default=None)
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)
    _nowhere: Histogram = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.words = self.block.words()
        self.signed_words = self.words.cast("B").cast("q")
        self.networks = NetworkSlots(self.block.head)
        self._places = Places(self.block, self.words)
        self._names = NameLog(self.block)
        # An index outside the block: the call answers an error that nobody reads.
        self._nowhere = self._make_histogram(self.block.capacity)

    @classmethod
    def anonymous(cls, capacity: int = CAPACITY) -> "Cells":
        """Cells that only this process sees."""
        return cls(Block.anonymous(capacity))

    @classmethod
    def in_memfd(cls, descriptor: int, capacity: int = CAPACITY) -> "Cells":
        """Cells in an empty memfd (make_memfd) that another process may hold too."""
        return cls(Block.in_descriptor(descriptor, capacity))

    @classmethod
    def in_file(cls, directory: Path, name: str, capacity: int = CAPACITY) -> "Cells":
        """Cells in DIRECTORY/NAME.cells.  LocalError when a living process writes there."""
        return cls(Block.in_file(directory, name, capacity))

    @property
    def incarnation(self) -> int:
        """The random number of this life of the block."""
        return self.block.head.incarnation

    def beat(self) -> None:
        """Say that the loop that writes here goes round."""
        lib.cells_set_heartbeat(self.block.head, time.monotonic_ns())

    def close(self) -> None:
        """Say that this writer ended, and remove its file.  Late writers still store safely, unseen."""
        self.block.close()

    def counter(self, spec: CounterSpec, *label_values: str) -> int:
        """The index of one counter in `words`; the same for the same arguments.

        Beyond the family's `series_limit` or the block's capacity it is that
        of the label set `other`, and `dropped()` counts.  LocalError when the
        label values are not one text per label, or the name means another family.
        """
        return self._index(spec, label_values)

    def gauge(self, spec: GaugeSpec, *label_values: str) -> int:
        """The index of one gauge in `signed_words`.  As counter()."""
        return self._index(spec, label_values)

    def histogram(self, spec: HistogramSpec, *label_values: str) -> Histogram:
        """The handle of one histogram.  As counter()."""
        family = self._families.get(spec.name)
        if family is not None and family.spec is spec:
            handle = family.handles.get(label_values)
            if handle is not None:
                return handle
        with self._lock:
            family, series = self._find_or_make(spec, label_values)
            if series is None:
                return self._nowhere
            key = label_values if label_values in family.table.series else (OTHER,) * len(spec.labels)
            return family.handles.setdefault(key, self._make_histogram(series.index))

    def _index(self, spec: FamilySpec, label_values: tuple[str, ...]) -> int:
        family = self._families.get(spec.name)
        if family is not None and family.spec is spec:
            series = family.table.series.get(label_values)
            if series is not None:
                return series.index
        with self._lock:
            _, series = self._find_or_make(spec, label_values)
            return SINK if series is None else series.index

    def add(self, index: int, count: int = 1) -> None:
        """Add to a counter.  `words[index] += count` does the same without a call."""
        self.words[index] += count

    def dropped(self) -> dict[str, int]:
        """How often each family turned a label set away into `other`, for those that did."""
        # A copy, made in one step: other threads may look up families meanwhile.
        return {name: family.dropped for name, family in list(self._families.items()) if family.dropped}

    @property
    def late_writes(self) -> int:
        """Cells that somebody wrote after their release: a bug in that writer."""
        return self._places.late_writes

    @property
    def observations_refused(self) -> int:
        """Observations lost because two threads met in one histogram for too long."""
        return self.block.head.observations_refused

    def release(self, spec: FamilySpec, *label_values: str, leaves_counts: bool = True) -> bool:
        """End one label set: it is in no later copy.  False when there is none, and for `other`.

        It ends for everybody who looked it up.  Who keeps a counter's or
        gauge's index must not store there again: what arrives before two more
        copies have been taken is noticed (late_writes), what comes later goes
        to the next owner.  A histogram's late observations go nowhere, always.

        Who adds up the cells of processes keeps what was counted, unless `leaves_counts` is
        False: for totals that are kept elsewhere and will be stored again if the label set returns.
        """
        with self._lock:
            family = self._families.get(spec.name)
            if family is None or not label_values or _is_other(label_values):
                return False
            series = family.table.series.get(label_values)
            if series is None:
                return False
            family.handles.pop(label_values, None)
            last = self._last_words(family.spec, series.index) if leaves_counts else []
            is_heard = self._names.end(family.table, label_values, last, self._tables())
            family.table.remove(label_values)
            self._layout = None
            # Readers must hear of the end before the words mean something else.  Unheard of, the
            # place stays as it is.
            if is_heard:
                self._free(family.spec, series.index, was_handed_out=True)
            return True

    def copy(self) -> CellsCopy:
        """Copy everything as of now.  Never waits for a writer."""
        with self._lock:
            if self._layout is None:
                self._layout = build_layout(
                    (family.table.layout(self.block.capacity) for family in self._families.values()),
                    self.block.capacity,
                )
            self._last_copy = take_copy(self.block.head, self._layout, self._last_copy)
            self._places.copied()
            return self._last_copy

    # Below: everything holds the lock.

    def _find_or_make(self, spec: FamilySpec, label_values: tuple[str, ...]) -> tuple[Family, Series | None]:
        """The label set, new if need be; or `other`; or None when not even that has a place."""
        family = self._family(spec)
        if len(label_values) != len(spec.labels) or any(type(value) is not str for value in label_values):
            raise LocalError(
                f"{spec.name} has the labels {spec.labels}: one text for each, not {label_values!r}"
            )
        series = family.table.series.get(label_values)
        if series is not None:
            return family, series
        if _is_welcome(family.table, label_values):
            series = self._begin(family, label_values, self._take(spec))
            if series is not None:
                return family, series
        series = self._other(family) if spec.labels else None
        if series is None or not _is_other(label_values):
            family.dropped += 1
        return family, series

    def _family(self, spec: FamilySpec) -> Family:
        family = self._families.get(spec.name)
        if family is None:
            return self._begin_family(spec)
        if family.spec is not spec and family.spec != spec:
            raise LocalError(f"{spec.name} is already a family of another shape: {family.spec}")
        return family

    def _begin_family(self, spec: FamilySpec) -> Family:
        table = FamilyTable(len(self._families), spec)
        family = Family(table)
        if isinstance(spec, HistogramSpec):
            family.bounds_place = self._write_bounds(spec)
        if spec.labels and (family.bounds_place or not isinstance(spec, HistogramSpec)):
            family.other_place = self._take(spec)
        self._families[spec.name] = family
        return family

    def _write_bounds(self, spec: HistogramSpec) -> int:
        """Where the bounds stand in stored steps; 0 when there is no room for them."""
        steps = [round(bound / spec.resolution) for bound in spec.bounds]
        if len(steps) > lib.CELLS_MAX_BOUNDS or steps != sorted(set(steps)):
            raise LocalError(
                f"the bounds of {spec.name} must be at most {lib.CELLS_MAX_BOUNDS} and differ by at least "
                f"its resolution {spec.resolution}: {spec.bounds}"
            )
        place = self._places.take_row(len(steps))
        if place is None:
            return 0
        for i, step in enumerate(steps):
            self.signed_words[place + i] = step
        return place

    def _take(self, spec: FamilySpec) -> int | None:
        if isinstance(spec, HistogramSpec):
            return self._places.take_group(group_words(spec))
        return self._places.take()

    def _free(self, spec: FamilySpec, index: int, *, was_handed_out: bool) -> None:
        if isinstance(spec, HistogramSpec):
            self._places.free_group(index, group_words(spec))
        elif was_handed_out:
            self._places.free(index)
        else:
            self._places.put_back(index)

    def _last_words(self, spec: FamilySpec, index: int) -> list[int]:
        """What an ending label set leaves behind; no observation comes after it."""
        if isinstance(spec, CounterSpec):
            return [self.words[index]]
        if isinstance(spec, HistogramSpec):
            lib.cells_group_end(self.block.head, index)
            return read_group(self.block.head, index, len(spec.bounds))
        return []

    def _other(self, family: Family) -> Series | None:
        other = (OTHER,) * len(family.spec.labels)
        series = family.table.series.get(other)
        if series is None:
            # A place whose name found no room was put back by _begin: ask for another.
            place = self._take(family.spec) if family.other_place is None else family.other_place
            family.other_place = None
            series = self._begin(family, other, place)
        return series

    def _begin(self, family: Family, label_values: tuple[str, ...], place: int | None) -> Series | None:
        """Name a place and start its group; None, and the place is free again, when that cannot be."""
        spec = family.spec
        if place is None:
            return None
        if isinstance(spec, HistogramSpec) and (
            not family.bounds_place
            or lib.cells_group_start(self.block.head, place, family.bounds_place, len(spec.bounds))
        ):
            self._free(spec, place, was_handed_out=False)
            return None
        self._serial += 1
        series = Series(self._serial, place, record_bytes=0)
        record = beginning_record(family.table.number, label_values, series)
        # At most one of these per family.
        is_for_family = not label_values or _is_other(label_values)
        if not self._names_family(family) or not self._names.append(
            record, self._tables(), is_for_family=is_for_family
        ):
            self._free(spec, place, was_handed_out=False)
            return None
        series = attrs.evolve(series, record_bytes=len(record))
        family.table.add(label_values, series)
        self._layout = None
        return series

    def _names_family(self, family: Family) -> bool:
        if not family.is_named:
            family.is_named = self._names.append(
                family_record(family.table.number, family.spec), self._tables(), is_for_family=True
            )
        return family.is_named

    def _tables(self) -> list[FamilyTable]:
        return [family.table for family in self._families.values() if family.is_named]

    def _make_histogram(self, group: int) -> Histogram:
        head = self.block.head
        generation = lib.cells_group_generation(head, group)
        return Histogram(
            partial(lib.cells_group_observe, head, group, generation),
            partial(store_group, head, group, generation),
        )


def _is_other(label_values: tuple[str, ...]) -> bool:
    return set(label_values) == {OTHER}


def _is_welcome(table: FamilyTable, label_values: tuple[str, ...]) -> bool:
    """Whether a label set may have a place of its own; an unlabelled family's only one always may."""
    if not label_values:
        return True
    other = (OTHER,) * len(label_values)
    own_count = len(table.series) - (other in table.series)
    return (
        label_values != other
        and own_count < table.spec.series_limit
        and all(len(value) <= LABEL_VALUE_LIMIT for value in label_values)
    )
