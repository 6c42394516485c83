"""In every order of stores, ends and copies, the copies of writer and reader equal a plain model."""

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st
from leanmesh.metrics.cells import Cells, CellsReader
from leanmesh.metrics.family import CounterSpec, GaugeSpec, HistogramSpec

COUNTER = CounterSpec("test_total", "Counter.", labels=("a",), series_limit=3)
GAUGE = GaugeSpec("test_gauge", "Gauge.", labels=("a",), series_limit=3)
HISTOGRAM = HistogramSpec(
    "test_seconds", "Histogram.", labels=("a",), resolution=0.1, bounds=(0.5, 1.0, 2.5), series_limit=3
)
BOUNDS_IN_STEPS = (5, 10, 25)
SPECS = (COUNTER, GAUGE, HISTOGRAM)
INT64 = st.integers(-(2**63), 2**63 - 1)
LABELS = st.sampled_from(["u", "v", "w", "x", "y", "other"])

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), LABELS, st.integers(0, 2**40)),
        st.tuples(st.just("set"), LABELS, INT64),
        st.tuples(st.just("observe"), LABELS, st.one_of(st.integers(-1, 30), INT64)),
        st.tuples(st.just("release"), LABELS, st.integers(0, 2)),
        st.tuples(st.just("copy"), st.just(""), st.just(0)),
    ),
    max_size=50,
)


class Model:
    """What the cells should hold, in dicts."""

    def __init__(self) -> None:
        self.values = {spec.name: {} for spec in SPECS}
        self.dropped = {}

    def place(self, spec, label: str) -> str:
        series = self.values[spec.name]
        own = [known for known in series if known != ("other",)]
        if (label,) in series or label == "other":
            return label
        if len(own) < spec.series_limit:
            return label
        self.dropped[spec.name] = self.dropped.get(spec.name, 0) + 1
        return "other"

    def count(self, label: str, count: int) -> None:
        place = (self.place(COUNTER, label),)
        self.values[COUNTER.name][place] = self.values[COUNTER.name].get(place, 0) + count

    def set(self, label: str, value: int) -> None:
        self.values[GAUGE.name][(self.place(GAUGE, label),)] = value

    def observe(self, label: str, value: int) -> None:
        place = (self.place(HISTOGRAM, label),)
        counts, total = self.values[HISTOGRAM.name].get(place, ((0, 0, 0, 0), 0))
        bucket = bisect_left(BOUNDS_IN_STEPS, value)
        counts = tuple(count + (i == bucket) for i, count in enumerate(counts))
        # Sums are two's complement in 64 bits.
        total = (total + value + 2**63) % 2**64 - 2**63
        self.values[HISTOGRAM.name][place] = (counts, total)

    def release(self, label: str, which: int) -> bool:
        return label != "other" and self.values[SPECS[which].name].pop((label,), None) is not None


def values_of(copy):
    return {spec.name: dict(series) for spec, series in copy.families()}


@given(STEPS)
def test_cells_equal_a_plain_model(steps):
    cells, model = Cells.anonymous(capacity=256), Model()
    reader = CellsReader(cells.block)
    for kind, label, number in steps:
        if kind == "count":
            cells.words[cells.counter(COUNTER, label)] += number
            model.count(label, number)
        elif kind == "set":
            cells.signed_words[cells.gauge(GAUGE, label)] = number
            model.set(label, number)
        elif kind == "observe":
            cells.histogram(HISTOGRAM, label).observe(number)
            model.observe(label, number)
        elif kind == "release":
            assert cells.release(SPECS[number], label) == model.release(label, number)
        else:
            expected = {name: series for name, series in model.values.items() if series}
            assert values_of(cells.copy()) == expected
            assert values_of(reader.copy()) == expected
    expected = {name: series for name, series in model.values.items() if series}
    assert values_of(cells.copy()) == values_of(reader.copy()) == expected
    assert values_of(CellsReader(cells.block).copy()) == expected
    assert cells.dropped() == model.dropped
    assert (cells.late_writes, cells.observations_refused) == (0, 0)
