"""Pages from cells: filled by C, and the same bytes as from a model of the cells in plain Python."""

import math
import random
import struct
from array import array
from collections.abc import Iterator

import attrs
import pytest
from exposition import read_page
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.metrics import templates
from leanmesh.metrics._cells import ffi, lib
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.cells_encoder import CellsEncoder
from leanmesh.metrics.family import OTHER, CounterSpec, FamilySpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.page import PageFormat
from leanmesh.metrics.params import MetricsParams
from leanmesh.metrics.sample import HistogramValue, Sample
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.text import line_prefixes
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

RECEIVED = CounterSpec(
    "test_received_total", 'Received "things".', labels=("topic", "reason"), series_limit=6
)
BUSY = CounterSpec("test_busy_seconds_total", "Work.", resolution=1e-9)
PEERS = GaugeSpec("test_peers", "Peers.", labels=("topic",))
LAG = HistogramSpec(
    "test_lag_seconds", "Lag.", labels=("topic",), resolution=1e-9, bounds=(0.00005, 0.0025, 1.0)
)
SIZE = HistogramSpec("test_size_bytes", "Sizes.", bounds=(512, 1_000_000, 1_048_576))
SPECS = (RECEIVED, BUSY, PEERS, LAG, SIZE)

TOPICS = ("blocks", 'a "quoted" \\ topic', "two\nlines", "größe")


@attrs.define
class ModelCells:
    """The cells as dicts: what they must count, without C, shared memory or templates."""

    series: dict[FamilySpec, dict[tuple[str, ...], int | list[int]]] = attrs.field(
        factory=lambda: {spec: {} for spec in SPECS}
    )

    def add(self, spec: FamilySpec, labels: tuple[str, ...], count: int) -> None:
        self.series[spec][self._find_or_make(spec, labels)] += count

    def set(self, spec: FamilySpec, labels: tuple[str, ...], value: int) -> None:
        self.series[spec][self._find_or_make(spec, labels)] = value

    def observe(self, spec: HistogramSpec, labels: tuple[str, ...], steps: int) -> None:
        words = self.series[spec][self._find_or_make(spec, labels)]
        bounds = [round(bound / spec.resolution) for bound in spec.bounds]
        words[next(i for i, bound in enumerate((*bounds, math.inf)) if steps <= bound)] += 1
        words[-1] += steps

    def release(self, spec: FamilySpec, labels: tuple[str, ...]) -> None:
        if labels != (OTHER,) * len(labels):
            self.series[spec].pop(labels, None)

    def _find_or_make(self, spec: FamilySpec, labels: tuple[str, ...]) -> tuple[str, ...]:
        series, other = self.series[spec], (OTHER,) * len(spec.labels)
        if labels not in series and len(series.keys() - {other}) >= spec.series_limit:
            labels = other
        if labels not in series:
            series[labels] = [0] * (len(spec.bounds) + 2) if isinstance(spec, HistogramSpec) else 0
        return labels

    def samples(self) -> Iterator[Sample]:
        for spec, series in self.series.items():
            for labels, value in series.items():
                if isinstance(value, list):
                    *counts, steps = value
                    yield Sample(spec, labels, HistogramValue(tuple(counts), in_base_units(spec, steps)))
                else:
                    yield Sample(spec, labels, in_base_units(spec, value))


def in_base_units(spec: FamilySpec, steps: int) -> float:
    return steps if spec.resolution == 1 else steps / round(1 / spec.resolution)


@attrs.define
class RealCells:
    """The same face over the cells themselves."""

    cells: Cells = attrs.field(factory=Cells.anonymous)

    def add(self, spec: CounterSpec, labels: tuple[str, ...], count: int) -> None:
        self.cells.words[self.cells.counter(spec, *labels)] += count

    def set(self, spec: GaugeSpec, labels: tuple[str, ...], value: int) -> None:
        self.cells.signed_words[self.cells.gauge(spec, *labels)] = value

    def observe(self, spec: HistogramSpec, labels: tuple[str, ...], steps: int) -> None:
        self.cells.histogram(spec, *labels).observe(steps)

    def release(self, spec: FamilySpec, labels: tuple[str, ...]) -> None:
        self.cells.release(spec, *labels)


def play(cells: ModelCells | RealCells, seed: int, events: int) -> None:
    """One script of events: counting, setting, observing, label sets that come, overflow and go."""
    dice = random.Random(seed)
    for _ in range(events):
        topic = dice.choice(TOPICS)
        match dice.randrange(6):
            case 0:
                cells.add(RECEIVED, (topic, dice.choice("xyz")), dice.randrange(10 ** dice.randrange(1, 15)))
            case 1:
                cells.add(BUSY, (), dice.randrange(10 ** dice.randrange(1, 12)))
            case 2:
                cells.set(PEERS, (topic,), dice.randrange(-(10**6), 10**6))
            case 3:
                edge = dice.choice([50_000, 2_500_000, 1_000_000_000])
                cells.observe(LAG, (topic,), edge + dice.randrange(-2, 3))
            case 4:
                cells.observe(SIZE, (), dice.choice([0, 511, 512, 513, 999_999, 1_048_576, 1_048_577]))
            case _ if dice.random() < 0.3:
                cells.release(*dice.choice([(RECEIVED, (topic, "x")), (PEERS, (topic,)), (LAG, (topic,))]))


@pytest.mark.parametrize("seed", range(10))
async def test_one_script_of_events_gives_the_same_body_from_the_cells_and_from_a_model(autojump_clock, seed):
    real, model = RealCells(), ModelCells()
    from_cells = Snapshotter(cells=real.cells)
    from_model = Snapshotter()
    from_model.add_source("model", SPECS, model.samples)

    for step in range(5):
        play(real, seed * 5 + step, events=60)
        play(model, seed * 5 + step, events=60)
        ours, theirs = await from_cells.refresh(), await from_model.refresh()

        assert ours.text == theirs.text
        assert ours.openmetrics == theirs.openmetrics
        assert [(family.spec, [(s.labels, s.value) for s in family.series]) for family in ours.families] == [
            (family.spec, [(s.labels, s.value) for s in family.series]) for family in theirs.families
        ]
        read_page(ours.text, is_openmetrics=False)


async def test_created_lines_stay_with_their_series_from_cells_as_from_sources(autojump_clock):
    params = MetricsParams(has_created_samples=True)
    real, model = RealCells(), ModelCells()
    from_cells = Snapshotter(params, cells=real.cells, wall_clock=lambda: 1000.25)
    from_model = Snapshotter(params, wall_clock=lambda: 1000.25)
    from_model.add_source("model", SPECS, model.samples)
    play(real, seed=3, events=300)
    play(model, seed=3, events=300)

    ours = await from_cells.page(PageFormat.OPENMETRICS)
    theirs = await from_model.page(PageFormat.OPENMETRICS)

    assert from_cells.current.openmetrics == from_model.current.openmetrics
    assert from_cells.current.text == from_model.current.text
    for page in (ours, theirs):
        read_page(page.body, is_openmetrics=True)
        created = [
            sample
            for family in parse_openmetrics(page.body.decode())
            for sample in family.samples
            if sample.name.endswith("_created")
        ]
        assert {sample.value for sample in created} == {1000.25}
        assert len(created) > 10


async def test_a_label_set_that_comes_back_begins_at_zero_with_a_new_time(autojump_clock):
    cells = Cells.anonymous()
    times = iter(range(1000, 2000, 100))
    snapshotter = Snapshotter(
        MetricsParams(has_created_samples=True), cells=cells, wall_clock=lambda: float(next(times))
    )
    cells.words[cells.counter(RECEIVED, "a", "x")] = 5
    cells.words[cells.counter(RECEIVED, "b", "x")] = 6
    first = await snapshotter.refresh()
    cells.release(RECEIVED, "a", "x")
    await snapshotter.refresh()
    cells.counter(RECEIVED, "a", "x")
    third = await snapshotter.refresh()

    assert read_page(first.openmetrics + b"# EOF\n", is_openmetrics=True).families["test_received"] == {
        ("test_received_total", (("topic", "a"), ("reason", "x"))): 5,
        ("test_received_total", (("topic", "b"), ("reason", "x"))): 6,
        ("test_received_created", (("topic", "a"), ("reason", "x"))): 1000,
        ("test_received_created", (("topic", "b"), ("reason", "x"))): 1000,
    }
    assert read_page(third.openmetrics + b"# EOF\n", is_openmetrics=True).families["test_received"] == {
        ("test_received_total", (("topic", "b"), ("reason", "x"))): 6,
        ("test_received_total", (("topic", "a"), ("reason", "x"))): 0,
        ("test_received_created", (("topic", "b"), ("reason", "x"))): 1000,
        # The refresh before the one that saw it first: it cannot have begun earlier.
        ("test_received_created", (("topic", "a"), ("reason", "x"))): 1200,
    }
    assert b"_created" not in third.text


def test_only_what_changed_is_made_anew(monkeypatch: pytest.MonkeyPatch):
    made: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        templates, "line_prefixes", lambda spec, labels: (made.append(labels), line_prefixes(spec, labels))[1]
    )
    cells = Cells.anonymous()
    encoder = CellsEncoder(with_created=False)

    def prefixes_made_by_the_next_copy() -> list[tuple[str, ...]]:
        made.clear()
        encoder.encode(cells.copy(), 0.0)
        return list(made)

    cells.counter(RECEIVED, "a", "x")
    cells.gauge(PEERS, "a")
    assert prefixes_made_by_the_next_copy() == [("a", "x"), ("a",)]
    cells.words[cells.counter(RECEIVED, "a", "x")] += 1
    assert prefixes_made_by_the_next_copy() == []
    cells.gauge(PEERS, "b")
    assert prefixes_made_by_the_next_copy() == [("b",)]
    cells.release(PEERS, "a")
    assert prefixes_made_by_the_next_copy() == []


# Below: ffi/page.h by itself.


def render(lines: list[tuple[int, int, int, int]], values: list[int], out_bytes: int | None = None) -> bytes:
    """Render lines of (prefix length, slot, decimals, flags) with prefixes of `x`; b"" when refused."""
    prefixes = b"x" * sum(line[0] for line in lines)
    packed = b"".join(struct.pack("=IIBBH", *line, 0) for line in lines)
    room = len(prefixes) + len(lines) * lib.PAGE_MAX_NUMBER_BYTES if out_bytes is None else out_bytes
    out = bytearray(room + 8)
    cut_bytes = array("Q", [0])
    written = lib.page_render(
        ffi.from_buffer("char[]", prefixes),
        len(prefixes),
        ffi.from_buffer("page_line[]", packed),
        len(lines),
        ffi.from_buffer("uint64_t[]", array("Q", [value % 2**64 for value in values])),
        len(values),
        ffi.from_buffer("uint32_t[]", array("I", [len(lines)])),
        ffi.from_buffer("uint64_t[]", cut_bytes),
        1,
        ffi.from_buffer("char[]", out),
        room,
    )
    assert out[room:] == bytes(8), "written past the end"
    if written < 0:
        return b""
    assert cut_bytes[0] == written
    return bytes(out[:written])


@given(st.integers(0, 2**64 - 1), st.integers(0, 12))
def test_c_writes_every_number_exactly_and_as_python_does(value: int, decimals: int):
    text = render([(1, 0, decimals, 0)], [value])[1:-1].decode()

    if value % 10**decimals == 0:
        assert text == str(value // 10**decimals)
    elif value < 10**15:  # A float has that many digits.
        assert text == repr(value / 10**decimals)
    assert float(text) == value / 10**decimals


@given(st.integers(-(2**63), 2**63 - 1))
def test_c_writes_signed_numbers(value: int):
    assert render([(0, 0, 0, lib.PAGE_SIGNED)], [value]) == b"%d\n" % value


def test_c_adds_bands_up_and_repeats_the_last_bucket():
    flags = [0, lib.PAGE_ADD, lib.PAGE_ADD, lib.PAGE_AGAIN]
    assert render([(1, i % 3, 0, flag) for i, flag in enumerate(flags)], [1, 0, 5]) == b"x1\nx1\nx6\nx6\n"


@pytest.mark.parametrize(
    ("lines", "values", "out_bytes"),
    [
        ([(1, 1, 0, 0)], [7], None),
        ([(1, 0, 20, 0)], [7], None),
        ([(1, 0, 0, 0)], [7], 28),
        ([(1, 0, 0, 0), (1, 0, 0, 0)], [7], 30),
    ],
    ids=["slot outside", "too many decimals", "no room", "no room for the second"],
)
def test_c_refuses_a_template_that_points_outside(lines, values, out_bytes):
    assert render(lines, values, out_bytes) == b""
