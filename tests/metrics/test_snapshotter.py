"""When snapshots are taken and what a scrape is given, on virtual time."""

import logging
import threading
from collections.abc import Iterator
from functools import partial

import attrs
import pytest
import trio
from exposition import read_page
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import CounterSpec, GaugeSpec
from leanmesh.metrics.page import PageFormat
from leanmesh.metrics.params import MetricsParams
from leanmesh.metrics.sample import Sample
from leanmesh.metrics.snapshotter import Snapshotter

PEER_BYTES = GaugeSpec("test_peer_bytes", "Bytes by peer.", labels=("peer",))
EVENTS = CounterSpec("test_events_total", "Events.", labels=("peer",))


@attrs.define
class Source:
    """Counts how often it was asked."""

    values: dict[str, float] = attrs.field(factory=lambda: {"a": 1.0})
    is_broken: bool = False
    reads: int = 0

    def read(self) -> Iterator[Sample]:
        self.reads += 1
        if self.is_broken:
            raise OSError("the source is gone")
        for peer, value in self.values.items():
            yield Sample(PEER_BYTES, (peer,), value)


@pytest.fixture
def source() -> Source:
    return Source()


async def make(source: Source, **params: float) -> Snapshotter:
    """A snapshotter with one source.  A fixture would run before the clock is there."""
    snapshotter = Snapshotter(MetricsParams(**params))
    snapshotter.add_source("test", [PEER_BYTES], source.read)
    return snapshotter


async def page_of(snapshotter: Snapshotter):
    return read_page((await snapshotter.page()).body, is_openmetrics=False)


async def test_the_first_accepted_scrape_has_data(autojump_clock, nursery, source):
    snapshotter = await make(source)
    assert not snapshotter.is_ready

    await nursery.start(snapshotter.run)

    assert snapshotter.is_ready
    assert snapshotter.current.generation == 1
    assert snapshotter.current.family("test_peer_bytes").value("a") == 1.0


async def test_a_scrape_before_any_refresh_takes_the_first_snapshot_itself(autojump_clock, source):
    snapshotter = await make(source)

    assert (await page_of(snapshotter)).value("test_peer_bytes", peer="a") == 1.0


async def test_scrapes_between_two_refreshes_call_no_source(autojump_clock, source):
    snapshotter = await make(source, max_age_s=3600.0)
    await snapshotter.refresh()

    pages = {(await snapshotter.fresh()).text for _ in range(1000)}
    for _ in range(1000):
        await snapshotter.page()

    assert source.reads == 1
    assert pages == {snapshotter.current.text}


async def test_ten_scrapes_at_once_of_an_old_snapshot_cause_one_refresh(autojump_clock, source):
    snapshotter = await make(source)
    await snapshotter.refresh()
    await trio.sleep(1.1)

    generations: list[int] = []

    async def scrape() -> None:
        generations.append((await snapshotter.page()).generation)

    async with trio.open_nursery() as scrapers:
        for _ in range(10):
            scrapers.start_soon(scrape)

    assert source.reads == 2
    assert generations == [2] * 10


async def test_a_snapshot_of_max_age_is_still_served_and_an_older_one_is_not(autojump_clock, source):
    snapshotter = await make(source, max_age_s=1.0)
    await snapshotter.refresh()

    await trio.sleep(1.0)
    assert (await snapshotter.fresh()).generation == 1
    await trio.sleep(0.001)
    assert (await snapshotter.fresh()).generation == 2


async def test_a_snapshot_marked_as_outdated_is_not_served_however_young_it_is(autojump_clock, source):
    snapshotter = await make(source, max_age_s=3600.0, refresh_interval_min_s=0.1)
    await snapshotter.refresh()

    snapshotter.mark_outdated()
    asked_s = trio.current_time()
    assert (await snapshotter.fresh()).generation == 2
    assert trio.current_time() - asked_s <= 0.1
    assert (await snapshotter.fresh()).generation == 2


async def test_a_storm_of_scrapes_cannot_bring_refreshes_closer_than_the_least_interval(
    autojump_clock, source
):
    snapshotter = await make(source, max_age_s=0.0, refresh_interval_min_s=0.1)

    async def scrape_for_a_second() -> None:
        while trio.current_time() < 1.0:
            await snapshotter.fresh()
            await trio.sleep(0.007)

    async with trio.open_nursery() as scrapers:
        for _ in range(20):
            scrapers.start_soon(scrape_for_a_second)

    assert source.reads <= 11


async def test_a_scrape_waits_no_longer_than_the_limit_and_gets_the_old_snapshot(autojump_clock, source):
    snapshotter = await make(source, max_age_s=0.0, wait_limit_s=0.5, refresh_interval_min_s=60.0)
    await snapshotter.refresh()
    await trio.sleep(1.0)

    page = await snapshotter.page()

    assert trio.current_time() == 1.5
    assert page.generation == 1
    assert read_page(page.body, is_openmetrics=False).value("leanmesh_snapshot_age_seconds") == 1.5


async def test_a_refresh_shows_what_happened_before_it_was_asked_for(autojump_clock, source):
    snapshotter = await make(source)
    await snapshotter.refresh()

    source.values["a"] = 2.0
    snapshot = await snapshotter.refresh()

    assert snapshot.family("test_peer_bytes").value("a") == 2.0
    assert trio.current_time() == 0.1


async def test_a_source_that_raises_leaves_the_old_snapshot_until_it_recovers(
    autojump_clock, nursery, source, caplog
):
    caplog.set_level(logging.CRITICAL)
    snapshotter = await make(source, max_age_s=3600.0)
    snapshotter.add_source("steady", [EVENTS], lambda: [Sample(EVENTS, ("x",), 1)])
    await nursery.start(snapshotter.run)
    source.is_broken, source.values = True, {"a": 5.0}
    await trio.sleep(3.0)
    assert (await page_of(snapshotter)).value("leanmesh_source_errors_total", source="test") == 0

    await snapshotter.refresh()
    page = await page_of(snapshotter)
    assert page.value("leanmesh_source_errors_total", source="test") == 1
    assert page.value("leanmesh_source_errors_total", source="steady") == 0
    assert page.value("test_peer_bytes", peer="a") == 1.0
    assert page.value("test_events_total", peer="x") == 1.0
    assert page.value("leanmesh_snapshot_generation") == 1
    assert page.value("leanmesh_snapshot_age_seconds") == 3.0

    source.is_broken = False
    await trio.sleep(1.5)  # The background tries again each tick.
    page = await page_of(snapshotter)
    assert page.value("leanmesh_source_errors_total", source="test") == 1
    assert page.value("test_peer_bytes", peer="a") == 5.0
    assert page.value("leanmesh_snapshot_generation") == 2
    assert page.value("leanmesh_snapshot_age_seconds") < 1.0


async def test_a_source_that_fails_from_the_start_leaves_a_page_that_says_so(autojump_clock, source, caplog):
    caplog.set_level(logging.CRITICAL)
    source.is_broken = True
    snapshotter = await make(source)

    page = await page_of(snapshotter)

    assert not snapshotter.is_ready
    assert page.value("leanmesh_snapshot_generation") == 0
    assert page.value("leanmesh_source_errors_total", source="test") == 1
    assert "test_peer_bytes" not in page.families


async def test_the_background_refreshes_when_a_cell_changed_and_only_then(autojump_clock, nursery):
    cells = Cells.anonymous()
    index = cells.counter(EVENTS, "a")
    snapshotter = Snapshotter(cells=cells)
    await nursery.start(snapshotter.run)

    await trio.sleep(10.0)
    assert snapshotter.current.generation == 1

    cells.words[index] += 1
    await trio.sleep(1.2)
    assert snapshotter.current.generation == 2
    assert snapshotter.current.family("test_events_total").value("a") == 1

    cells.counter(EVENTS, "b")
    await trio.sleep(1.2)
    assert snapshotter.current.generation == 3

    handle = cells.networks.start(0)
    cells.networks.store(handle, 3)
    await trio.sleep(1.2)
    assert snapshotter.current.generation == 4


async def test_a_change_just_after_a_scrape_refreshed_is_seen_a_tick_later(autojump_clock, nursery):
    cells = Cells.anonymous()
    index = cells.counter(EVENTS, "a")
    snapshotter = Snapshotter(MetricsParams(max_age_s=0.0), cells=cells)
    await nursery.start(snapshotter.run)
    await trio.sleep(0.9)
    await snapshotter.fresh()

    await trio.sleep(0.01)
    cells.words[index] += 1
    await trio.sleep(1.05)

    assert snapshotter.current.family("test_events_total").value("a") == 1


async def test_a_marked_change_is_seen_by_the_next_tick_and_a_missed_one_by_nobody(
    autojump_clock, nursery, source
):
    snapshotter = await make(source)
    recomputed: list[float] = []
    snapshotter.refreshers.register("mesh", lambda: recomputed.append(trio.current_time()))
    await nursery.start(snapshotter.run)

    await trio.sleep(5.0)
    assert recomputed == [0.0]
    snapshotter.mark_changed()
    await trio.sleep(1.2)
    assert len(recomputed) == 2


async def test_the_background_keeps_its_tick_while_other_tasks_take_every_turn(
    autojump_clock, nursery, source
):
    snapshotter = await make(source)
    await nursery.start(snapshotter.run)

    async def take_every_turn() -> None:
        while trio.current_time() < 10.0:
            snapshotter.mark_changed()
            await trio.lowlevel.checkpoint()
            autojump_clock.jump(0.01)

    await take_every_turn()

    assert snapshotter.current.generation >= 9
    assert snapshotter.age_s < 2.0


async def test_a_peer_that_left_is_in_no_later_page_and_nothing_else_was_touched(autojump_clock):
    cells = Cells.anonymous()
    for i in range(20):
        cells.words[cells.counter(EVENTS, f"peer{i}")] = i
    snapshotter = Snapshotter(cells=cells)
    before = (await snapshotter.refresh()).text

    cells.release(EVENTS, "peer7")
    after = (await snapshotter.refresh()).text

    assert after == before.replace(b'test_events_total{peer="peer7"} 7\n', b"")


async def test_refreshers_run_before_the_cells_are_copied_and_their_errors_are_on_the_page(
    autojump_clock, caplog
):
    from leanmesh.contain import ContainedErrors
    from leanmesh.metrics.bookkeeping import add_bookkeeping

    caplog.set_level(logging.CRITICAL)
    cells = Cells.anonymous()
    index = cells.counter(EVENTS, "a")
    snapshotter = Snapshotter(cells=cells)
    add_bookkeeping(snapshotter, ContainedErrors())

    def count() -> None:
        cells.words[index] += 1

    snapshotter.refreshers.register("broken", lambda: 1 / 0)
    snapshotter.refreshers.register("events", count)

    page = await page_of(snapshotter)

    assert page.value("test_events_total", peer="a") == 1
    assert page.value("leanmesh_refresher_errors_total", refresher="broken") == 1
    assert page.value("leanmesh_refresher_errors_total", refresher="events") == 0


async def test_two_hundred_label_sets_are_in_each_of_five_thousand_scrapes_from_threads():
    """Real threads and the real clock: peers come and go while four threads read."""
    cells = Cells.anonymous()
    steady = [cells.counter(EVENTS, f"steady{i}") for i in range(200)]
    snapshotter = Snapshotter(MetricsParams(refresh_interval_min_s=1e-6), cells=cells)
    await snapshotter.refresh()
    is_done = threading.Event()

    def scrape(at_least: int) -> None:
        scrapes = 0
        while scrapes < at_least or snapshotter.current.generation < 50:
            scrapes += 1
            assert snapshotter.current.text.count(b'test_events_total{peer="steady') == 200

    async def refresh_until_done() -> None:
        coming = 0
        while not is_done.is_set():
            coming += 1
            cells.counter(EVENTS, f"passing{coming}")
            cells.release(EVENTS, f"passing{coming - 3}")
            for index in steady:
                cells.words[index] += 1
            await snapshotter.refresh()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refresh_until_done)
        async with trio.open_nursery() as scrapers:
            for _ in range(4):
                scrapers.start_soon(partial(trio.to_thread.run_sync, scrape, 1250))
        is_done.set()


async def test_a_page_in_openmetrics_is_complete_too(autojump_clock, source):
    snapshotter = await make(source)

    page = await snapshotter.page(PageFormat.OPENMETRICS)

    assert read_page(page.body, is_openmetrics=True).value("test_peer_bytes", peer="a") == 1.0
    assert page.content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
