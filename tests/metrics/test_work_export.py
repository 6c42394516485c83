"""What the collector knows is on the page to the unit, and in the log as often as asked."""

import trio
import trio.testing
from leanmesh.metrics.accumulator import Work
from leanmesh.metrics.catalog_work import RETAINED, WORK, WORK_SECONDS, WORK_SERIES_LIMIT
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.collector import Collector
from leanmesh.metrics.params import CollectorParams
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.work_export import WorkExport, sentence


class Bench:
    def __init__(self, **params) -> None:
        self.cells = Cells.anonymous()
        self.collector = Collector(CollectorParams(**params))
        self.told: list[tuple[float, str, dict, float]] = []
        self.export = WorkExport(
            self.cells,
            self.collector,
            lambda source, done, interval_s: self.told.append(
                (trio.current_time(), source, done, interval_s)
            ),
        )

    def cell(self, *labels: str) -> tuple[int, int]:
        words = self.cells.words
        return words[self.cells.counter(WORK, *labels)], words[self.cells.counter(WORK_SECONDS, *labels)]


async def test_a_snapshot_has_what_is_folded_queued_and_retained_and_its_seconds_are_exact():
    bench = Bench(buffer_limit=1)
    snapshotter = Snapshotter(cells=bench.cells)
    snapshotter.refreshers.register("work", bench.export.store)
    producer = bench.collector.producer("gossip")
    for duration_ns in (1, 2_000_000_000, 123_456_789):
        producer.add("blocks", "first", 1, duration_ns)
        producer.try_flush()

    snapshot = await snapshotter.refresh()

    assert snapshot.family(WORK.name).value("gossip", "blocks", "first") == 3
    assert (
        b'leanmesh_work_seconds_total{source="gossip",topic_class="blocks",op="first"} 2.12345679\n'
        in snapshot.text
    )
    assert snapshot.family(RETAINED.name).value("gossip") == 2
    assert {series.labels[0] for series in snapshot.family(RETAINED.name).series} == {
        "gossip",
        "publish",
        "validation",
        "gossip_recovery",
        "reqresp",
        "api",
        "unknown",
    }


async def test_storing_again_changes_nothing_and_nothing_ever_falls():
    bench = Bench()
    producer = bench.collector.producer("gossip")
    seen = []
    for _ in range(5):
        producer.add("blocks", "first", 1, 10)
        for _ in range(2):
            bench.export.store()
            seen.append(bench.cell("gossip", "blocks", "first"))
        producer.try_flush()
        bench.collector._drain()
        bench.export.store()
        seen.append(bench.cell("gossip", "blocks", "first"))

    assert seen == [(count, 10 * count) for count in range(1, 6) for _ in range(3)]


async def test_series_beyond_the_bound_are_added_up_under_other():
    bench = Bench()
    producer = bench.collector.producer("api")
    for number in range(WORK_SERIES_LIMIT + 10):
        producer.add("none", f"/{number}", 1, 5)
    for _ in range(2):
        bench.export.store()

    assert bench.cell("api", "none", "/0") == (1, 5)
    assert bench.cell("other", "other", "other") == (10, 50)


async def test_the_log_says_per_source_what_was_done_since_the_last_time(autojump_clock):
    bench = Bench(log_interval_s=60.0)
    gossip, api = bench.collector.producer("gossip"), bench.collector.producer("api")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.export.run)
        await trio.sleep(30.5)
        gossip.add("blocks", "first", 3, 30)
        await trio.sleep(60)
        gossip.add("blocks", "first", 2, 20)
        api.add("none", "/metrics", 1, 7)
        await trio.sleep(60)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()

    assert bench.told == [
        (60.0, "gossip", {("blocks", "first"): Work(3, 30)}, 60.0),
        (120.0, "gossip", {("blocks", "first"): Work(2, 20)}, 60.0),
        (120.0, "api", {("none", "/metrics"): Work(1, 7)}, 60.0),
    ]


async def test_without_an_interval_the_log_is_silent(autojump_clock):
    bench = Bench(log_interval_s=0.0)
    bench.collector.producer("gossip").add("blocks", "first", 3, 30)
    with trio.move_on_after(1000):
        await bench.export.run()
    assert bench.told == []
    assert bench.cell("gossip", "blocks", "first") == (3, 30)


def test_the_line_begins_with_what_took_most():
    done = {("blocks", "first"): Work(1_200, 1_500_000_000), ("votes", "first"): Work(5, 2_000_000_000)}
    assert sentence("gossip", done, 60.0) == (
        "gossip took 3.500 s of the last 60 s: votes/first 5 in 2.000 s, blocks/first 1,200 in 1.500 s"
    )
    many = {("blocks", str(number)): Work(1, number) for number in range(10)}
    assert sentence("gossip", many, 60.0).endswith(", and 2 more")
