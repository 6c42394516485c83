"""A real Prometheus scrapes a running endpoint each second while label sets come and go."""

from pathlib import Path

import attrs
import pytest
import trio
from end_to_end.prometheus import Prometheus, needs_prometheus, start_prometheus
from leanmesh.contain import ContainedErrors
from leanmesh.metrics.bookkeeping import add_bookkeeping
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import CounterSpec, HistogramSpec
from leanmesh.metrics.mesh_peers import add_mesh_peers
from leanmesh.metrics.process import add_process_metrics
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.web.endpoints import build_app
from leanmesh.web.params import WebParams
from leanmesh.web.server import HttpServer

pytestmark = [pytest.mark.slow, needs_prometheus]

STEADY = CounterSpec("test_steady_total", "Always there, all of them equal.", labels=("peer",))
PASSING = CounterSpec("test_passing_total", "Comes and goes.", labels=("peer",))
LAG = HistogramSpec(
    "test_lag_seconds", "Lag.", labels=("peer",), resolution=1e-9, bounds=(0.00005, 0.0025, 1.0)
)
STEADY_COUNT = 200
SCRAPES = 15
FORMATS = ("openmetrics", "text")


@attrs.frozen
class TextOnly:
    """Hides from an app that its client takes OpenMetrics, as Prometheus always does."""

    app: object

    async def __call__(self, scope, receive, send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"accept"]
        await self.app({**scope, "headers": headers}, receive, send)


async def start_endpoints(nursery: trio.Nursery, cells: Cells) -> dict[str, str]:
    """One endpoint for each format, in front of one snapshotter."""
    snapshotter = Snapshotter(cells=cells)
    contained = ContainedErrors()
    add_process_metrics(snapshotter)
    add_mesh_peers(snapshotter)
    add_bookkeeping(snapshotter, contained, cells)
    await nursery.start(snapshotter.run)
    params = WebParams(listen="127.0.0.1:0")
    app = build_app(snapshotter, params)
    apps = {"openmetrics": app, "text": TextOnly(app)}
    return {name: await nursery.start(HttpServer(apps[name], params, contained).run) for name in FORMATS}


async def live(cells: Cells) -> None:
    """Peers come and go; what is steady moves all together, in one step without a checkpoint."""
    steady = [cells.counter(STEADY, f"peer {i}") for i in range(STEADY_COUNT)]
    step = 0
    while True:
        step += 1
        for index in steady:
            cells.words[index] = step
        cells.words[cells.counter(PASSING, f"peer {step}")] = step
        cells.histogram(LAG, f"peer {step}").observe(step * 100_000)
        cells.release(PASSING, f"peer {step - 5}")
        cells.release(LAG, f"peer {step - 5}")
        await trio.sleep(0.05)


async def test_every_scrape_of_a_real_prometheus_is_complete_and_right(tmp_path: Path):
    cells = Cells.anonymous()
    cells.networks.store(cells.networks.start(0), 4242)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, cells)
        await trio.lowlevel.checkpoint()
        targets = await start_endpoints(nursery, cells)
        prometheus = await start_prometheus(nursery, tmp_path, targets)
        with trio.fail_after(60):
            while min(await scrape_counts(prometheus)) < SCRAPES:
                await trio.sleep(0.5)

        for job in FORMATS:
            await check_job(prometheus, job)
        nursery.cancel_scope.cancel()


async def scrape_counts(prometheus: Prometheus) -> list[int]:
    """Successful scrapes of each format."""
    ups = {labels["job"]: sum(samples.values()) for labels, samples in await prometheus.series("up")}
    return [int(ups.get(job, 0)) for job in FORMATS]


async def check_job(prometheus: Prometheus, job: str) -> None:
    ((_, up),) = await prometheus.series(f'up{{job="{job}"}}')
    # Series are read after `up`: a scrape in between adds samples, and takes none away.
    times = sorted(time_s for time_s, is_up in up.items() if is_up)

    steady = await prometheus.series(f'test_steady_total{{job="{job}"}}')
    assert len(steady) == STEADY_COUNT
    for time_s in times:
        seen = {samples.get(time_s) for _, samples in steady}
        assert len(seen) == 1, f"a gap, or values of two moments, in the scrape at {time_s}: {seen}"
        assert seen != {None}
    values = [steady[0][1][time_s] for time_s in times]
    assert values == sorted(values)
    assert values[-1] > values[0]

    ((_, mesh_peers),) = await prometheus.series(f'lean_gossip_mesh_peers{{job="{job}"}}')
    assert [mesh_peers[time_s] for time_s in times] == [4242.0] * len(times)
    ((_, generations),) = await prometheus.series(f'leanmesh_snapshot_generation{{job="{job}"}}')
    values = [generations[time_s] for time_s in times]
    assert values == sorted(values)
    assert len(set(values)) > SCRAPES // 2

    await check_histograms(prometheus, job)
    assert await prometheus.series(f'{{__name__=~".+_created",job="{job}"}}') == []
    # What left is gone with the next scrape, not after Prometheus' five minutes.
    assert len(await prometheus.now(f'test_passing_total{{job="{job}"}}')) <= 6
    assert len(await prometheus.series(f'test_passing_total{{job="{job}"}}')) > 30


async def check_histograms(prometheus: Prometheus, job: str) -> None:
    counts = {
        labels["peer"]: samples
        for labels, samples in await prometheus.series(f'test_lag_seconds_count{{job="{job}"}}')
    }
    full = await prometheus.series(f'test_lag_seconds_bucket{{job="{job}",le="+Inf"}}')
    assert {labels["peer"] for labels, _ in full} >= counts.keys()
    for labels, samples in full:
        if labels["peer"] in counts:
            shared = samples.keys() & counts[labels["peer"]].keys()
            assert all(samples[time_s] == counts[labels["peer"]][time_s] == 1.0 for time_s in shared)
    bounds = {
        labels["le"] for labels, _ in await prometheus.series(f'test_lag_seconds_bucket{{job="{job}"}}')
    }
    assert bounds == {"5e-05", "0.0025", "1.0", "+Inf"}
