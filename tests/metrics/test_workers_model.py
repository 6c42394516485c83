"""In every order of stores, ends, deaths, restarts and copies, the page equals a plain model of the workers.

The model knows the events; the aggregation knows only shared memory.
"""

import os
from bisect import bisect_left

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from leanmesh.metrics.cells import Cells, make_memfd
from leanmesh.metrics.family import Across, CounterSpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.worker_cells import WorkerCells, WorkerHandle

COUNTER = CounterSpec("test_total", "Counter.", labels=("a",))
HISTOGRAM = HistogramSpec("test_bytes", "Histogram.", labels=("a",), bounds=(5.0, 10.0, 25.0))
SUM = GaugeSpec("test_sum", "Gauge.", labels=("a",))
MAX = GaugeSpec("test_max", "Gauge.", labels=("a",), across_workers=Across.MAX)
MIN = GaugeSpec("test_min", "Gauge.", labels=("a",), across_workers=Across.MIN)
GAUGES = (SUM, MAX, MIN)
SPECS = (COUNTER, HISTOGRAM, *GAUGES)
RULES = {SUM.name: sum, MAX.name: max, MIN.name: min}
BANDS = 4

ALL_LABELS = "uv"
WORKERS = st.integers(0, 2)
LABELS = st.sampled_from(ALL_LABELS)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), WORKERS, LABELS, st.integers(0, 2**50)),
        st.tuples(st.just("observe"), WORKERS, LABELS, st.integers(0, 2**50) | st.integers(0, 30)),
        st.tuples(st.just("set"), WORKERS, LABELS, st.integers(-(2**50), 2**50)),
        st.tuples(st.just("end"), WORKERS, LABELS, st.integers(0, len(SPECS) - 1)),
        st.tuples(st.just("end"), WORKERS, LABELS, st.just(0)),
        st.tuples(st.just("network"), WORKERS, LABELS, st.integers(0, 100)),
        st.tuples(st.just("die inside"), WORKERS, LABELS, st.integers(0, 30)),
        st.tuples(st.just("die"), WORKERS, st.just(""), st.just(0)),
        st.tuples(st.just("copy"), WORKERS, st.just(""), st.just(0)),
    ),
    max_size=60,
)


@attrs.define(eq=False)
class Worker:
    """One life: its cells, and in plain values what its gauges hold."""

    cells: Cells
    handle: WorkerHandle | None
    gauges: dict[tuple[str, str], int] = attrs.field(factory=dict)
    has: set[tuple[str, str]] = attrs.field(factory=set)
    network: int | None = None
    slot: object = None


@attrs.define(eq=False)
class Model:
    """Workers 1 and 2, and worker 0, which is the supervisor and never dies."""

    workers: WorkerCells = attrs.field(factory=lambda: WorkerCells(Cells.anonymous(capacity=256), SPECS))
    lives: list[Worker] = attrs.field(init=False)
    # All that was ever counted, and whether it is to be seen.
    counts: dict[tuple[str, str], list[int]] = attrs.field(factory=dict)
    is_kept: dict[tuple[str, str], bool] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.lives = [Worker(self.workers.own, None), self.start(1), self.start(2)]

    def start(self, number: int) -> Worker:
        # Written in the process itself; tests/metrics/test_workers_killed.py has real ones.
        descriptor = make_memfd()
        cells = Cells.in_memfd(descriptor, capacity=256)
        handle = self.workers.attach(f"worker-{number}", descriptor)
        os.close(descriptor)
        return Worker(cells, handle)

    def count(self, worker: Worker, label: str, number: int) -> None:
        worker.cells.words[worker.cells.counter(COUNTER, label)] += number
        self.add(worker, COUNTER, label, [number])

    def observe(self, worker: Worker, label: str, number: int) -> None:
        worker.cells.histogram(HISTOGRAM, label).observe(number)
        band = bisect_left(HISTOGRAM.bounds, number)
        self.add(worker, HISTOGRAM, label, [int(band == i) for i in range(BANDS)] + [number])

    def set(self, worker: Worker, label: str, number: int) -> None:
        for spec in GAUGES:
            worker.cells.signed_words[worker.cells.gauge(spec, label)] = number
            worker.gauges[spec.name, label] = number

    def add(self, worker: Worker, spec, label: str, values: list[int]) -> None:
        key = (spec.name, label)
        held = self.counts.setdefault(key, [0] * len(values))
        self.counts[key] = [a + b for a, b in zip(held, values, strict=True)]
        worker.has.add(key)
        self.is_kept[key] = True

    def end(self, worker: Worker, label: str, number: int) -> None:
        spec = SPECS[number]
        key = (spec.name, label)
        was_there = worker.cells.release(spec, label)
        assert was_there == (key in worker.has or key in worker.gauges)
        worker.gauges.pop(key, None)
        if key in worker.has:
            worker.has.discard(key)
            self.is_kept[key] = any(key in life.has for life in self.lives)

    def store_network(self, worker: Worker, count: int) -> None:
        if worker.slot is None:
            worker.slot = worker.cells.networks.start(self.lives.index(worker))
        worker.cells.networks.store(worker.slot, count)
        worker.network = count

    def die(self, number: int) -> None:
        if number:
            worker = self.lives[number]
            assert self.workers.retire(worker.handle)
            assert not self.workers.retire(worker.handle)
            worker.cells.close()
            self.lives[number] = self.start(number)

    def die_inside(self, number: int, label: str, value: int) -> None:
        """Killed in mid-observation: the bucket is stored, the sum is not, the sequence is odd."""
        worker = self.lives[number]
        if not number:
            return
        worker.cells.histogram(HISTOGRAM, label)
        copy = worker.cells.copy()
        (layout,) = [family for family in copy.layout.families if family.spec is HISTOGRAM]
        i = layout.label_values.index((label,))
        group = copy.layout.groups[i]
        band = bisect_left(HISTOGRAM.bounds, value)
        worker.cells.words[group] += 1
        worker.cells.words[group + 2 + band] += 1
        self.add(worker, HISTOGRAM, label, [int(band == j) for j in range(BANDS)] + [0])
        busy = self.workers.torn["busy"]
        killed = self.workers.torn["killed"]
        self.workers.copy()
        assert self.workers.torn["busy"] == busy + 1
        self.die(number)
        assert self.workers.torn["killed"] == killed + 1

    def expected(self) -> dict[tuple[str, str], object]:
        values = {key: counted for key, counted in self.counts.items() if self.is_kept[key]}
        for spec in GAUGES:
            for label in ALL_LABELS:
                key = (spec.name, label)
                living = [life.gauges[key] for life in self.lives if key in life.gauges]
                if living:
                    values[key] = [RULES[spec.name](living)]
        return values

    def close(self) -> None:
        for life in self.lives:
            life.cells.close()

    def check_copy(self) -> dict[tuple[str, str], list[int]]:
        copy = self.workers.copy()
        values = values_of(copy)
        assert values == self.expected()
        for number, life in enumerate(self.lives):
            assert copy.network(number) == (life.network is not None, life.network or 0)
        return values


def values_of(copy) -> dict[tuple[str, str], list[int]]:
    return {
        (spec.name, labels[0]): [*value[0], value[1]] if isinstance(value, tuple) else [value]
        for spec, series in copy.families()
        for labels, value in series
    }


def take(model: Model, kind: str, number: int, label: str, value: int) -> None:
    worker = model.lives[number]
    if kind == "count":
        model.count(worker, label, value)
    elif kind == "observe":
        model.observe(worker, label, value)
    elif kind == "set":
        model.set(worker, label, value)
    elif kind == "end":
        model.end(worker, label, value)
    elif kind == "network":
        model.store_network(worker, value)
    elif kind == "die inside":
        model.die_inside(number, label, value)
    elif kind == "die":
        model.die(number)


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_the_sum_of_workers_equals_a_plain_model_and_no_series_ever_falls(steps):
    model = Model()
    seen: dict[tuple[str, str], list[int]] = {}
    for step in [*steps, ("copy", 0, "", 0)]:
        take(model, *step)
        if step[0] != "copy":
            continue
        values = model.check_copy()
        assert values_of(model.workers.copy()) == values
        for key, value in values.items():
            if key[0] in (COUNTER.name, HISTOGRAM.name):
                assert all(now >= before for now, before in zip(value, seen.get(key, []), strict=False))
                seen[key] = value
    assert not any(model.workers.skipped.values())
    model.close()
