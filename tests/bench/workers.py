"""What adding up the cells of worker processes costs at each refresh, and a scrape meanwhile the loop."""

import os
import random
import statistics
import time
from collections.abc import Iterator

import harness
import metrics
import trio
import worker_restarts
from harness import Result
from leanmesh.metrics.cells import Cells, make_memfd
from leanmesh.metrics.cells_encoder import CellsEncoder
from leanmesh.metrics.family import CounterSpec
from leanmesh.metrics.params import MetricsParams
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.worker_cells import WorkerCells

WORKERS = 16
REPEATS = 31
REPLACED = 5
PEERS = 1000
CHURN = CounterSpec("bench_churn_total", "Peers that come and go.", labels=("peer",))


def attached(workers: WorkerCells, name: str) -> Cells:
    """A worker's block, filled as the page of 10,000 lines of the other benchmarks."""
    descriptor = make_memfd()
    workers.attach(name, descriptor)
    cells = Cells.in_memfd(descriptor)
    os.close(descriptor)
    metrics.fill(cells)
    return cells


def run() -> Iterator[Result]:
    workers = WorkerCells(Cells.anonymous(), specs=(metrics.EVENTS, metrics.PEERS, metrics.LAG))
    blocks = [attached(workers, f"worker-{number}") for number in range(WORKERS)]
    workers.copy()
    yield from adding_up(workers, blocks)
    yield from lateness(workers, blocks)
    yield from replacing(workers, blocks)
    yield from worker_restarts.measured()


def adding_up(workers: WorkerCells, blocks: list[Cells]) -> Iterator[Result]:
    generator = random.Random(1)
    encoder = CellsEncoder(with_created=False)

    def refresh() -> None:
        encoder.encode(workers.copy(), 0.0)

    def churn() -> None:
        cells = generator.choice(blocks)
        peer = str(generator.randrange(PEERS))
        cells.words[cells.counter(CHURN, peer)] += 1
        workers.copy()
        cells.release(CHURN, peer)

    works = {"copy": workers.copy, "refresh": refresh, "churn": churn}
    seconds = harness.medians(harness.interleaved(works, REPEATS))
    conditions = f"{WORKERS} workers, 10,000 cells each"
    yield harness.at_most("aggregate_ms", seconds["copy"] * 1e3, "ms", 5.0, conditions)
    yield harness.note("aggregate_encode_ms", seconds["refresh"] * 1e3, "ms", "and rendered to a page")
    yield harness.note("aggregate_churn_ms", seconds["churn"] * 1e3, "ms", "and a label set came or went")


def lateness(workers: WorkerCells, blocks: list[Cells]) -> Iterator[Result]:
    """In turns: a ticker alone, and with scrapes that all add up anew."""
    late_s: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(metrics.LATENESS_REPEATS):
        for is_scraped, values in late_s.items():
            values.append(harness.percentile(trio.run(tick, workers, blocks[0], is_scraped), 0.99))
    alone, scraped = (statistics.median(values) * 1e3 for values in late_s.values())
    yield harness.note("lateness_alone_ms", alone, "ms", "p99 of a 1 ms ticker without scrapes")
    yield harness.at_most(
        "lateness_added_ms",
        scraped - alone,
        "ms",
        1.0,
        f"p99 of a 1 ms ticker, {metrics.SCRAPES_PER_S} scrapes/s, each adds up {WORKERS} workers",
    )


async def tick(workers: WorkerCells, written: Cells, is_scraped: bool) -> list[float]:
    snapshotter = Snapshotter(MetricsParams(max_age_s=0.0), cells=workers)
    index = written.counter(metrics.EVENTS, "/bench/topic/0", "reason")
    late_s: list[float] = []

    async def scrape_on() -> None:
        while True:
            await trio.sleep(1 / metrics.SCRAPES_PER_S)
            written.words[index] += 1
            await snapshotter.page()

    async with trio.open_nursery() as nursery:
        if is_scraped:
            await snapshotter.page()
            nursery.start_soon(scrape_on)
        end_s = trio.current_time() + metrics.LATENESS_SECONDS
        while trio.current_time() < end_s:
            due_s = trio.current_time() + metrics.TICK_S
            await trio.sleep_until(due_s)
            late_s.append(trio.current_time() - due_s)
        nursery.cancel_scope.cancel()
    return late_s


def replacing(workers: WorkerCells, blocks: list[Cells]) -> Iterator[Result]:
    """What the death of a worker and the first sight of the next one cost the supervisor."""
    seconds: dict[str, list[float]] = {"retire": [], "attach": []}
    for number, handle in enumerate(workers.workers[:REPLACED]):
        started = time.perf_counter()
        workers.retire(handle)
        seconds["retire"].append(time.perf_counter() - started)
        blocks[number] = attached(workers, handle.name)
        started = time.perf_counter()
        workers.copy()
        seconds["attach"].append(time.perf_counter() - started)
    medians = harness.medians(seconds)
    yield harness.note("retire_ms", medians["retire"] * 1e3, "ms", "a dead worker is folded")
    yield harness.note("attach_ms", medians["attach"] * 1e3, "ms", "the first copy of one with 8,000 names")
