"""The snapshot in a prometheus_client registry, read from threads as its servers do."""

from functools import partial

import pytest
import trio
from exposition import read_page
from leanmesh.errors import LocalError
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.collector_adapter import attach
from leanmesh.metrics.family import CounterSpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.params import MetricsParams
from leanmesh.metrics.process import add_process_metrics
from leanmesh.metrics.sample import Sample
from leanmesh.metrics.snapshotter import Snapshotter
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

EVENTS = CounterSpec("test_events_total", "Events.", labels=("topic",))
PEERS = GaugeSpec("test_peers", "Peers.", labels=("client",))
LAG = HistogramSpec("test_lag_seconds", "Lag.", resolution=1e-9, bounds=(0.00005, 1.0))


@pytest.fixture
def cells() -> Cells:
    cells = Cells.anonymous()
    cells.words[cells.counter(EVENTS, 'a "b"')] = 4242
    cells.histogram(LAG).observe(2_400_000)
    return cells


async def make(cells: Cells | None = None) -> Snapshotter:
    snapshotter = Snapshotter(MetricsParams(max_age_s=3600.0), cells=cells)
    snapshotter.add_source("test", [PEERS], lambda: [Sample(PEERS, ("x",), 8)])
    return snapshotter


async def test_a_registry_shows_what_our_own_page_shows(cells: Cells):
    snapshotter = await make(cells)
    registry = CollectorRegistry()
    attach(snapshotter, registry)
    ours = read_page((await snapshotter.page()).body, is_openmetrics=False).series()

    theirs = {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in registry.collect()
        for sample in family.samples
    }

    age = ("leanmesh_snapshot_age_seconds", ())
    assert theirs.pop(age) >= ours.pop(age)
    assert theirs == ours


async def test_generate_latest_works_in_a_thread_and_takes_no_snapshot(cells: Cells):
    snapshotter = await make(cells)
    registry = CollectorRegistry()
    attach(snapshotter, registry)
    await snapshotter.refresh()

    for generate in (generate_latest, generate_openmetrics):
        body = await trio.to_thread.run_sync(partial(generate, registry))
        assert b'test_events_total{topic="a \\"b\\""} 4242.0\n' in body

    assert snapshotter.current.generation == 1


async def test_a_second_snapshotter_is_refused_and_the_first_still_works(cells: Cells):
    first, second = await make(cells), await make()
    registry = CollectorRegistry()
    attach(first, registry)
    await first.refresh()

    for snapshotter in (second, first):
        with pytest.raises(LocalError, match="one snapshotter fits, once"):
            attach(snapshotter, registry)

    assert b"test_events_total" in generate_latest(registry)


async def test_a_name_that_the_registry_has_is_refused():
    registry = CollectorRegistry()
    Gauge("leanmesh_connections", "Somebody else's.", registry=registry)

    with pytest.raises(LocalError, match="leanmesh_connections"):
        attach(await make(), registry)


async def test_the_process_is_left_to_the_registrys_own_collector():
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    snapshotter = await make()
    add_process_metrics(snapshotter)
    await snapshotter.refresh()

    attach(snapshotter, registry)

    assert generate_latest(registry).count(b"\nprocess_cpu_seconds_total ") == 1
    assert snapshotter.current.family("process_cpu_seconds_total").value() > 0
