"""The metrics subsystem against prometheus_client, and what a scrape costs the loop."""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import harness
import trio
from harness import Result
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.cells_encoder import CellsEncoder
from leanmesh.metrics.family import CounterSpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.page import PageFormat
from leanmesh.metrics.params import MetricsParams
from leanmesh.metrics.snapshotter import Snapshotter
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SERIES = 10_000
EVENTS = CounterSpec("bench_events_total", "Events.", labels=("topic", "reason"), series_limit=SERIES)
PEERS = GaugeSpec("bench_peers", "Peers.", labels=("topic",), series_limit=SERIES)
LAG = HistogramSpec(
    "bench_lag_seconds",
    "Lag.",
    labels=("topic",),
    series_limit=SERIES,
    resolution=1e-9,
    bounds=(0.0001, 0.001, 0.01, 0.1, 1.0, 2.5, 5.0, 10.0),
)
# A page of 10,000 lines as a node has them: half counters, three tenths gauges, the rest buckets.
COUNTERS, GAUGES, HISTOGRAMS = 5000, 2800, 200

ADDS = 20_000
TICK_S = 0.001
LATENESS_SECONDS = 4.0
LATENESS_REPEATS = 3
SCRAPES_PER_S = 10

BUSY_TASKS = 50
BUSY_S = 0.0005
FRESHNESS_SCRAPES = 40


def filled_cells() -> Cells:
    cells = Cells.anonymous()
    fill(cells)
    return cells


def fill(cells: Cells) -> None:
    """The values of one page."""
    for i in range(COUNTERS):
        cells.words[cells.counter(EVENTS, f"/bench/topic/{i}", "reason")] = i * 977
    for i in range(GAUGES):
        cells.signed_words[cells.gauge(PEERS, f"/bench/topic/{i}")] = i % 13
    for i in range(HISTOGRAMS):
        lag = cells.histogram(LAG, f"/bench/topic/{i}")
        for exponent in range(5, 11):
            lag.observe(10**exponent + i)


def filled_registry() -> CollectorRegistry:
    """The same values in prometheus_client."""
    registry = CollectorRegistry()
    events = Counter(EVENTS.name, EVENTS.help, EVENTS.labels, registry=registry)
    peers = Gauge(PEERS.name, PEERS.help, PEERS.labels, registry=registry)
    lags = Histogram(LAG.name, LAG.help, LAG.labels, buckets=LAG.bounds, registry=registry)
    for i in range(COUNTERS):
        events.labels(f"/bench/topic/{i}", "reason").inc(i * 977)
    for i in range(GAUGES):
        peers.labels(f"/bench/topic/{i}").set(i % 13)
    for i in range(HISTOGRAMS):
        for exponent in range(5, 11):
            lags.labels(f"/bench/topic/{i}").observe((10**exponent + i) * 1e-9)
    return registry


def run() -> Iterator[Result]:
    cells = filled_cells()
    yield from rendering(cells)
    yield from counting()
    yield from copying(cells)
    yield from lateness(cells)
    yield from freshness(cells)


def rendering(cells: Cells) -> Iterator[Result]:
    registry = filled_registry()
    encoder = CellsEncoder(with_created=False)
    copy = cells.copy()

    def render() -> bytes:
        return b"".join(family.text for family in encoder.encode(copy, 0.0))

    def values(page: bytes) -> list[float]:
        return [float(line.rpartition(b" ")[2]) for line in page.splitlines() if b"_bucket{" in line]

    theirs = generate_latest(registry)
    assert values(render()) == values(theirs), "the two pages must say the same"
    lines = sum(not line.startswith(b"#") for line in render().splitlines())
    seconds = harness.interleaved({"ours": render, "theirs": partial(generate_latest, registry)})
    medians = harness.medians(seconds)
    against = f"generate_latest of prometheus_client, {lines} series"
    yield harness.note("render_ours_ms", medians["ours"] * 1e3, "ms", "cells to text")
    yield harness.note("render_theirs_ms", medians["theirs"] * 1e3, "ms", against)
    yield harness.at_least("render_ratio", harness.ratio(seconds, "theirs", "ours"), "times", 50, against)
    anew = harness.interleaved({"ours": lambda: CellsEncoder(with_created=False).encode(copy, 0.0)}, 5)
    yield harness.note(
        "render_anew_ms", harness.medians(anew)["ours"] * 1e3, "ms", "and every prefix made anew"
    )


def counting() -> Iterator[Result]:
    cells = Cells.anonymous()
    index = cells.counter(EVENTS, "topic", "reason")
    words = cells.words
    registry = CollectorRegistry()
    plain = Counter("plain", "Plain.", registry=registry)
    labelled = Counter("labelled", "Labelled.", EVENTS.labels, registry=registry)
    child = labelled.labels("topic", "reason")

    def cell() -> None:
        for _ in range(ADDS):
            words[index] += 1

    def inc() -> None:
        for _ in range(ADDS):
            plain.inc()

    def held_child() -> None:
        for _ in range(ADDS):
            child.inc()

    def labels_inc() -> None:
        for _ in range(ADDS):
            labelled.labels("topic", "reason").inc()

    works: dict[str, Callable[[], None]] = {
        "cell": cell,
        "inc": inc,
        "held_child": held_child,
        "labels_inc": labels_inc,
    }
    seconds = harness.interleaved(works)
    for name, median in harness.medians(seconds).items():
        yield harness.note(f"count_{name}_ns", median / ADDS * 1e9, "ns", "one increment, loop included")
    for name, aim, against in (
        ("inc", 3, "Counter.inc()"),
        ("held_child", 3, "a held child of labels()"),
        ("labels_inc", 10, "labels(...).inc()"),
    ):
        yield harness.at_least(
            f"count_{name}_ratio", harness.ratio(seconds, name, "cell"), "times", aim, against
        )


def copying(cells: Cells) -> Iterator[Result]:
    plain = Cells.anonymous()
    for i in range(SERIES):
        plain.counter(EVENTS, str(i), "reason")
    plain.copy(), cells.copy()
    seconds = harness.medians(harness.interleaved({"plain": plain.copy, "mixed": cells.copy}, repeats=31))
    yield harness.at_most("copy_us", seconds["plain"] * 1e6, "us", 100, f"{SERIES} independent cells")
    yield harness.note("copy_mixed_us", seconds["mixed"] * 1e6, "us", f"the page above, {HISTOGRAMS} groups")


def lateness(cells: Cells) -> Iterator[Result]:
    """In turns: a ticker alone, with our scrapes, and with generate_latest in the loop."""
    registry = filled_registry()
    late_s: dict[str, list[float]] = {"alone": [], "ours": [], "gzip": [], "theirs": []}
    for _ in range(LATENESS_REPEATS):
        for name, values in late_s.items():
            values.append(harness.percentile(trio.run(tick, name, cells, registry), 0.99))
    medians = {name: statistics.median(values) * 1e3 for name, values in late_s.items()}
    conditions = f"p99 of a 1 ms ticker, {SCRAPES_PER_S} scrapes/s, 10,000 series, a refresh for each"
    yield harness.note("lateness_alone_ms", medians["alone"], "ms", "the same ticker without scrapes")
    yield harness.note("lateness_theirs_ms", medians["theirs"], "ms", "with generate_latest in the loop")
    for name in ("ours", "gzip"):
        yield harness.at_most(
            f"lateness_{name}_added_ms", medians[name] - medians["alone"], "ms", 1.0, conditions
        )


async def tick(scraper: str, cells: Cells, registry: CollectorRegistry) -> list[float]:
    # Each scrape finds the snapshot too old: the dearest case, that of a page asked for as often as allowed.
    snapshotter = Snapshotter(MetricsParams(max_age_s=0.0), cells=cells)
    index = cells.counter(EVENTS, "/bench/topic/0", "reason")
    late_s: list[float] = []

    async def scrape() -> None:
        cells.words[index] += 1
        if scraper == "theirs":
            generate_latest(registry)
        else:
            await snapshotter.page(PageFormat.TEXT, is_gzipped=scraper == "gzip")

    async def scrape_on() -> None:
        while True:
            await trio.sleep(1 / SCRAPES_PER_S)
            await scrape()

    async with trio.open_nursery() as nursery:
        if scraper != "alone":
            await scrape()
            nursery.start_soon(scrape_on)
        end_s = trio.current_time() + LATENESS_SECONDS
        while trio.current_time() < end_s:
            due_s = trio.current_time() + TICK_S
            await trio.sleep_until(due_s)
            late_s.append(trio.current_time() - due_s)
        nursery.cancel_scope.cancel()
    return late_s


def freshness(cells: Cells) -> Iterator[Result]:
    """How old a gauge is on the page while the loop has always something else to do."""
    ages_s = trio.run(ages_under_saturation, cells)
    conditions = f"p99 of {FRESHNESS_SCRAPES} scrapes, {BUSY_TASKS} tasks that never wait"
    yield harness.at_most("age_saturated_s", harness.percentile(ages_s, 0.99), "s", 2.0, conditions)


async def ages_under_saturation(cells: Cells) -> list[float]:
    snapshotter = Snapshotter(cells=cells)
    written_at_s = cells.gauge(GaugeSpec("bench_written_at_seconds", "When it was written.", resolution=1e-9))
    cells.signed_words[written_at_s] = time.perf_counter_ns()
    ages_s: list[float] = []

    async def be_busy() -> None:
        while True:
            end_s = time.perf_counter() + BUSY_S
            while time.perf_counter() < end_s:
                cells.signed_words[written_at_s] = time.perf_counter_ns()
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        await nursery.start(snapshotter.run)
        for _ in range(BUSY_TASKS):
            nursery.start_soon(be_busy)
        for _ in range(FRESHNESS_SCRAPES):
            await trio.sleep(1 / SCRAPES_PER_S)
            page = await snapshotter.page(names=["bench_written_at_seconds"])
            ages_s.append(time.perf_counter() - float(page.body.rpartition(b" ")[2]))
        nursery.cancel_scope.cancel()
    return ages_s
