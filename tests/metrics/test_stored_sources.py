"""What workers keep outside their cells reaches the page of their supervisor all the same."""

import logging
import os
from collections.abc import Iterator

import attrs
import pytest
from leanmesh.contain import ContainedErrors
from leanmesh.metrics.bookkeeping import add_bookkeeping
from leanmesh.metrics.cells import Cells, make_memfd
from leanmesh.metrics.family import CounterSpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.mesh_peers import add_mesh_peers
from leanmesh.metrics.sample import HistogramValue, Sample
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.stored_sources import StoredSources
from leanmesh.metrics.worker_cells import WorkerCells
from leanmesh.metrics.worker_metrics import add_worker_metrics

EVENTS = CounterSpec("test_events_total", "Events.", labels=("peer",), resolution=0.001, series_limit=2)
LEVEL = GaugeSpec("test_level", "Level.", labels=("peer",))
LAG = HistogramSpec("test_lag_seconds", "Lag.", labels=("peer",), bounds=(0.1, 0.2), resolution=1e-9)
SPECS = (EVENTS, LEVEL, LAG)


@attrs.define(eq=False)
class Keeper:
    """Keeps values by peer; a snapshotter stores them in cells."""

    values: dict[str, int] = attrs.field(factory=dict)

    def read(self) -> Iterator[Sample]:
        for peer, value in self.values.items():
            yield Sample(EVENTS, (peer,), value / 1000)
            yield Sample(LEVEL, (peer,), -value)
            yield Sample(LAG, (peer,), HistogramValue((value, 2 * value, 0), 0.3 * value))


def of_one(value: int) -> dict[str, object]:
    return {EVENTS.name: value, LEVEL.name: -value, LAG.name: ((value, 2 * value, 0), 300_000_000 * value)}


@attrs.define(eq=False)
class Host:
    workers: WorkerCells = attrs.field(factory=lambda: WorkerCells(Cells.anonymous(capacity=512), SPECS))
    open: list[Cells] = attrs.field(factory=list)

    def start(self, *, stores_errors: bool = False) -> tuple[Keeper, Snapshotter, object]:
        descriptor = make_memfd()
        handle = self.workers.attach("worker", descriptor)
        cells = Cells.in_memfd(descriptor, capacity=512)
        os.close(descriptor)
        self.open.append(cells)
        sources = StoredSources(cells=cells, stores_errors=stores_errors)
        keeper, snapshotter = Keeper(), Snapshotter(cells=cells, sources=sources)
        snapshotter.add_source("keeper", SPECS, keeper.read)
        add_mesh_peers(snapshotter)
        return keeper, snapshotter, handle

    def values(self, peer: str) -> dict[str, object]:
        return {
            spec.name: value
            for spec, series in self.workers.copy().families()
            for labels, value in series
            if labels == (peer,)
        }


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    for cells in host.open:
        cells.close()


async def test_values_of_sources_are_added_up_and_survive_their_worker(autojump_clock, host):
    one, first, handle = host.start()
    two, second, _ = host.start()
    one.values["a"], two.values["a"] = 3, 4
    for _ in range(2):
        await first.refresh()
        await second.refresh()
    assert host.values("a") == of_one(7)
    one.values["a"] = 5
    await first.refresh()
    assert host.values("a") == of_one(9)

    host.workers.retire(handle)

    assert host.values("a") == of_one(9) | {LEVEL.name: -4}


async def test_a_series_that_leaves_and_returns_goes_on_where_its_source_says(autojump_clock, host):
    keeper, snapshotter, _ = host.start()
    keeper.values["a"] = 3
    await snapshotter.refresh()
    assert host.values("a") == of_one(3)
    del keeper.values["a"]
    await snapshotter.refresh()
    assert host.values("a") == {}
    keeper.values["a"] = 4
    await snapshotter.refresh()
    assert host.values("a") == of_one(4)


async def test_who_leaves_makes_room_for_who_comes_and_the_shared_cell_is_emptied(autojump_clock, host):
    keeper, snapshotter, _ = host.start()

    async def events(**values: int) -> dict[str, object]:
        keeper.values = values
        await snapshotter.refresh()
        labels = ("a", "b", "c", "other")
        return {name: host.values(name)[EVENTS.name] for name in labels if EVENTS.name in host.values(name)}

    assert await events(a=1, b=2) == {"a": 1, "b": 2}
    assert await events(a=1, b=2, c=5) == {"a": 1, "b": 2, "other": 5}
    # The place is free once what was in it has been read.
    await events(b=2, c=5)
    assert await events(b=2, c=5) == {"b": 2, "c": 5, "other": 0}


async def test_errors_inside_workers_are_on_the_page_of_their_supervisor(autojump_clock, host, caplog):
    def fail() -> Iterator[Sample]:
        raise ValueError("a bug in a source")

    def raise_at_once() -> None:
        raise ValueError("a bug in a refresher")

    handles = []
    for refreshes in (2, 3):
        keeper, snapshotter, handle = host.start(stores_errors=True)
        add_bookkeeping(snapshotter, ContainedErrors())
        snapshotter.refreshers.register("broken", raise_at_once)
        await snapshotter.refresh()
        source = snapshotter.add_source("failing", (), fail)
        keeper.values["a"] = 7
        with caplog.at_level(logging.CRITICAL):
            for _ in range(refreshes):
                await snapshotter.refresh()
        source.remove()
        handles.append(handle)
    assert host.values("source:failing") == {"leanmesh_contained_errors_total": 5}
    assert host.values("source:keeper") == {"leanmesh_contained_errors_total": 0}
    # Nothing was renewed meanwhile: each has stored what it had before.
    assert host.values("broken") == {"leanmesh_refresher_errors_total": 2}
    assert host.values("a") == {}

    await snapshotter.refresh()
    assert host.values("broken") == {"leanmesh_refresher_errors_total": 1 + 5}
    assert host.values("a") == of_one(7)
    for handle in handles:
        host.workers.retire(handle)
    assert host.values("source:failing") == {"leanmesh_contained_errors_total": 5}


async def test_label_sets_beyond_the_bound_are_added_up_under_other(autojump_clock, host):
    keeper, snapshotter, _ = host.start()
    keeper.values |= {"a": 1, "b": 2, "c": 3, "d": 4}
    for _ in range(2):
        await snapshotter.refresh()
    assert host.values("a")[EVENTS.name] == 1
    assert host.values("other") == {EVENTS.name: 7}


async def test_what_is_no_number_or_too_large_is_not_stored_or_clamped(autojump_clock, host):
    _, snapshotter, _ = host.start()
    number = CounterSpec("test_numbers_total", "Numbers.", labels=("peer",))
    level = GaugeSpec("test_levels", "Levels.", labels=("peer",))
    values = {"a": float("nan"), "b": float("inf"), "c": -1, "d": 2**70, "e": 5}
    snapshotter.add_source(
        "numbers",
        [number, level],
        lambda: [Sample(spec, (peer,), value) for spec in (number, level) for peer, value in values.items()],
    )
    await snapshotter.refresh()

    assert [host.values(peer) for peer in values] == [
        {},
        {},
        {level.name: -1},
        {number.name: 2**64 - 1, level.name: 2**63 - 1},
        {number.name: 5, level.name: 5},
    ]


async def test_errors_in_workers_and_in_the_supervisor_are_one_family(autojump_clock, host, caplog):
    caplog.set_level(logging.CRITICAL)
    own = host.workers.own
    _, worker, _ = host.start()
    page = Snapshotter(cells=host.workers, sources=StoredSources(cells=own))
    add_mesh_peers(page)
    add_worker_metrics(page, host.workers)
    for snapshotter in (worker, page):
        contained = ContainedErrors()
        add_bookkeeping(snapshotter, contained)
        with contained.contain("validator"):
            raise OSError("broken")
        await snapshotter.refresh()
    await page.refresh()

    family = page.current.family("leanmesh_contained_errors_total")
    assert family.value("validator") == 2
    assert page.current.family("lean_gossip_mesh_peers").value() == 0
    assert page.current.family("leanmesh_worker_heartbeat_age_seconds").value("worker") < 60.0
