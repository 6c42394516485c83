"""The names in a block: an append-only log, so that any process knows which word counts what.

One JSON array per line:

    ["family", number, kind, name, help, [label, ...], resolution, [bound, ...]]
    [serial, family number, index of the word or group, [label value, ...]]     a label set begins
    [serial, [last value, ...]]                                                 it ends
    ["ended", serial, family number, [label value, ...], [last value, ...]]     it ended in the log before

The last values are a counter's one, or a histogram's counts and sum: who adds
up the cells of processes misses nothing that was counted after its last copy.
A gauge has none, nor has a total that is kept elsewhere.

Bytes count once they are committed: one word of the head holds the length and
the generation of the log.  So a writer killed at any instruction leaves a log
that is whole.  When what ended outweighs what lives, the log is written anew
into the other area and the same word switches over.  It then repeats the ends
of late, for readers that had not come so far.
"""

import json
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, cast

import attrs

from leanmesh.metrics._cells import lib
from leanmesh.metrics.block import Block, CellsUnreadable
from leanmesh.metrics.family import CounterSpec, FamilySpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.layout import EndedSeries, FamilyTable, Series, group_words

KINDS: dict[str, type[FamilySpec]] = {
    "counter": CounterSpec,
    "gauge": GaugeSpec,
    "histogram": HistogramSpec,
}
GENERATIONS = 1 << 32
SERIALS = 1 << 63
WORDS = 1 << 64
# What stays free for families and for ends, which are far shorter than the beginnings they end.
RESERVE_SHARE = 8
# Writing anew costs as much as what lives; it must win back at least this share of the area.
WASTE_SHARE = 4
# How much of the area may be repeated ends: far more than a second's, after which readers come again.
REPEATED_SHARE = 16
# A log is only overwritten while it is read when it was written anew twice meanwhile.
READ_TRIES = 16


def family_record(number: int, spec: FamilySpec) -> bytes:
    """One line that describes a family."""
    kind = next(kind for kind, spec_type in KINDS.items() if isinstance(spec, spec_type))
    bounds = spec.bounds if isinstance(spec, HistogramSpec) else ()
    return _line(["family", number, kind, spec.name, spec.help, spec.labels, spec.resolution, bounds])


def beginning_record(family_number: int, label_values: tuple[str, ...], series: Series) -> bytes:
    """One line that binds a label set to its word or group."""
    return _line([series.serial, family_number, series.index, label_values])


def end_record(serial: int, last_words: Sequence[int]) -> bytes:
    """One line that ends a label set.  Two's complement is written as unsigned."""
    return _line([serial, last_words])


def ended_record(
    family_number: int, label_values: tuple[str, ...], serial: int, last: Sequence[int]
) -> bytes:
    """The same for whoever has not seen its beginning."""
    return _line(["ended", serial, family_number, label_values, last])


def _line(record: list[object]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


@attrs.define(eq=False)
class NameLog:
    """The writer's end.  Every method answers False when there is no room, and then nothing changed."""

    block: Block
    _generation: int = 0
    _length_bytes: int = 0
    # Bytes of records that no longer say anything.
    _waste_bytes: int = 0
    # The latest ends, in the form in which a new log repeats them.
    _ended: deque[bytes] = attrs.field(factory=deque[bytes])
    _ended_bytes: int = 0

    def append(self, record: bytes, families: Iterable[FamilyTable], *, is_for_family: bool) -> bool:
        """Commit a beginning.  `families` is all that lives, in case the log has to be written anew.

        What there is once per family (`is_for_family`) may use the reserve: only label sets have no end.
        """
        area_bytes = self.block.names_area_bytes
        limit_bytes = area_bytes - (0 if is_for_family else area_bytes // RESERVE_SHARE)
        if self._length_bytes + len(record) > limit_bytes:
            if self._waste_bytes < area_bytes // WASTE_SHARE or not self._write_anew(families):
                return False
            if self._length_bytes + len(record) > limit_bytes:
                return False
        return self._commit(self._generation, self._length_bytes, record)

    def end(
        self,
        family: FamilyTable,
        label_values: tuple[str, ...],
        last_words: Sequence[int],
        families: Iterable[FamilyTable],
    ) -> bool:
        """Commit the end of a label set, which `family` and `families` still have."""
        series = family.series[label_values]
        record = end_record(series.serial, last_words)
        area_bytes = self.block.names_area_bytes
        if self._length_bytes + len(record) > area_bytes and (
            self._waste_bytes < area_bytes // WASTE_SHARE or not self._write_anew(families)
        ):
            return False
        if self._length_bytes + len(record) > area_bytes:
            return False
        if not self._commit(self._generation, self._length_bytes, record):
            return False
        self._waste_bytes += series.record_bytes + len(record)
        if not isinstance(family.spec, GaugeSpec):
            self._remember(ended_record(family.number, label_values, series.serial, last_words))
        return True

    def _remember(self, record: bytes) -> None:
        self._ended.append(record)
        self._ended_bytes += len(record)
        while self._ended_bytes > self.block.names_area_bytes // REPEATED_SHARE:
            self._ended_bytes -= len(self._ended.popleft())

    def _write_anew(self, families: Iterable[FamilyTable]) -> bool:
        records: list[bytes] = []
        for family in families:
            records.append(family_record(family.number, family.spec))
            records.extend(
                beginning_record(family.number, values, series) for values, series in family.series.items()
            )
        records.extend(self._ended)
        if not self._commit((self._generation + 1) % GENERATIONS, 0, b"".join(records)):
            return False
        self._waste_bytes = self._ended_bytes
        return True

    def _commit(self, generation: int, start: int, data: bytes) -> bool:
        try:
            self.block.write_names(generation, start, data)
        except OSError:
            return False
        self._generation = generation
        self._length_bytes = start + len(data)
        lib.cells_set_names(self.block.head, generation << 32 | self._length_bytes)
        return True


@attrs.define(eq=False)
class NameReader:
    """The reader's end: follows the log and keeps the families as they stand."""

    block: Block
    families: dict[int, FamilyTable] = attrs.field(factory=dict[int, FamilyTable])
    # Serial -> family and label values, for the ends.
    _living: dict[int, tuple[FamilyTable, tuple[str, ...]]] = attrs.field(
        factory=dict[int, tuple[FamilyTable, tuple[str, ...]]]
    )
    # What lived in the log before, while the next one is taken in.
    _lived: dict[int, tuple[FamilyTable, tuple[str, ...]]] = attrs.field(
        factory=dict[int, tuple[FamilyTable, tuple[str, ...]]]
    )
    # The last serial of the log before: higher ones began and ended unseen.
    _last_serial_before: int = 0
    _last_serial: int = 0
    _ended: list[EndedSeries] = attrs.field(factory=list[EndedSeries])
    _generation: int = 0
    _length_bytes: int = 0

    def take_ended(self) -> tuple[EndedSeries, ...]:
        """The counters and histograms that ended since the last call."""
        ended, self._ended = self._ended, []
        return tuple(ended)

    def is_living(self, serial: int) -> bool:
        """Whether that label set had not ended when the log was followed last."""
        return serial in self._living

    def follow(self) -> bool:
        """Take in what was committed since the last call; whether that was anything.

        Raises CellsUnreadable when the log is no such log.
        """
        for _ in range(READ_TRIES):
            generation, length_bytes = divmod(lib.cells_names(self.block.head), GENERATIONS)
            if length_bytes > self.block.names_area_bytes:
                raise CellsUnreadable(
                    f"the names are broken: {length_bytes} bytes in {self.block.names_area_bytes}"
                )
            if generation == self._generation and length_bytes == self._length_bytes:
                return False
            start = self._length_bytes if generation == self._generation else 0
            if length_bytes < start:
                raise CellsUnreadable(f"the names are broken: {start} bytes shrank to {length_bytes}")
            data = self.block.read_names(generation, start, length_bytes)
            if lib.cells_names(self.block.head) // GENERATIONS == generation:
                break
        else:
            raise CellsUnreadable(f"the names changed {READ_TRIES} times while they were read")
        if generation == self._generation:
            self._take(data)
        else:
            self._take_anew(data)
        self._generation, self._length_bytes = generation, length_bytes
        return True

    def _take_anew(self, data: bytes) -> None:
        self._lived, self._living = self._living, {}
        self._last_serial_before = self._last_serial
        self.families.clear()
        self._take(data)
        for serial, (family, values) in self._lived.items():
            if serial not in self._living:
                self._add_ended(family.spec, values, serial, None)
        self._lived.clear()

    def _take(self, data: bytes) -> None:
        try:
            records = json.loads(b"[" + data.rstrip(b"\n").replace(b"\n", b",") + b"]")
            for record in records:
                self._take_record(record)
        except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
            raise CellsUnreadable(f"the names are broken: {error}") from error

    def _take_record(self, record: list[Any]) -> None:
        match record:
            case ["family", int(number), *description]:
                self.families[number] = FamilyTable(number, _spec(*description))
            case [int(serial), int(number), int(index), label_values]:
                family = self.families[number]
                series = Series(serial, index, record_bytes=0)
                values = _texts(label_values)
                self._check(family.spec, series, values)
                family.add(values, series)
                self._living[serial] = (family, values)
                self._last_serial = max(self._last_serial, serial)
            case [int(serial), last]:
                family, values = self._living.pop(serial)
                family.remove(values)
                self._add_ended(family.spec, values, serial, _words(family.spec, last))
            case ["ended", int(serial), int(number), label_values, last]:
                if self._lived.pop(serial, None) or serial > self._last_serial_before:
                    spec = self.families[number].spec
                    self._add_ended(spec, _texts(label_values), serial, _words(spec, last))
                self._last_serial = max(self._last_serial, serial)
            case _:
                raise ValueError(f"{record!r} is no record")

    def _add_ended(
        self, spec: FamilySpec, values: tuple[str, ...], serial: int, last: tuple[int, ...] | None
    ) -> None:
        if not isinstance(spec, GaugeSpec):
            self._ended.append(EndedSeries(spec, values, serial, last))

    def _check(self, spec: FamilySpec, series: Series, label_values: tuple[str, ...]) -> None:
        words = group_words(spec) if isinstance(spec, HistogramSpec) else 1
        if not 0 <= series.index <= self.block.capacity - words:
            raise ValueError(f"{spec.name} has index {series.index} of {self.block.capacity}")
        if not 0 < series.serial < SERIALS or series.serial in self._living:
            raise ValueError(f"{series.serial} cannot be the next serial")
        if len(label_values) != len(spec.labels):
            raise ValueError(f"{spec.name} has labels {spec.labels}, not {label_values}")


def _spec(
    kind: str, name: str, text: str, labels: object, resolution: float, bounds: list[float]
) -> FamilySpec:
    arguments: dict[str, Any] = {"labels": _texts(labels), "resolution": float(resolution)}
    _texts([name, text])
    if kind == "histogram":
        arguments["bounds"] = tuple(float(bound) for bound in bounds)
    return KINDS[kind](name, text, **arguments)


def _words(spec: FamilySpec, values: object) -> tuple[int, ...]:
    """The last values of a label set."""
    words = cast("list[object]", values)
    count = len(spec.bounds) + 2 if isinstance(spec, HistogramSpec) else int(not isinstance(spec, GaugeSpec))
    if not isinstance(values, list) or len(words) not in (0, count):
        raise ValueError(f"{spec.name} ended with {values!r}")
    if not all(isinstance(word, int) and 0 <= word < WORDS for word in words):
        raise ValueError(f"{spec.name} ended with {values!r}, which are no words")
    return tuple(cast("list[int]", words))


def _texts(values: object) -> tuple[str, ...]:
    texts = cast("list[object]", values)
    if not isinstance(values, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{values!r} must be a list of texts")
    return tuple(cast("list[str]", texts))
