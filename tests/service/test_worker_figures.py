"""What worker processes cost, as the supervisor's page says it."""

import os
import signal
import sys
from pathlib import Path

import attrs
import trio
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.params import MetricsParams
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.stored_sources import StoredSources
from leanmesh.metrics.worker_cells import WorkerCells
from leanmesh.service.params import NetworkParams, WorkerParams
from leanmesh.service.supervisor import Supervisor
from leanmesh.service.worker_figures import add_worker_figures

FAKE_WORKER = Path(__file__).parent / "fake_worker.py"
# What a life that burns has used when it ends, at the least.
BURNT_S = 1.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
CPU, RESIDENT, FDS = (
    f"leanmesh_worker_{name}" for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds")
)


@attrs.define(eq=False)
class Page:
    """The figures of a supervisor of two fake workers; `does` is what the lives of worker 0 do."""

    does: list[str]
    restart_first_s: float = 0.0
    supervisor: Supervisor = attrs.field(init=False)
    snapshotter: Snapshotter = attrs.field(init=False)
    lives: int = 0

    def __attrs_post_init__(self) -> None:
        cells = Cells.anonymous()
        workers = WorkerCells(cells)
        networks = [NetworkParams(network_id=i, listen=("/ip4/127.0.0.1/tcp/0",)) for i in range(2)]
        self.supervisor = Supervisor(
            WorkerParams(count=2, restart_first_s=self.restart_first_s),
            networks,
            (sys.executable, str(FAKE_WORKER)),
            self._settings_for,
            workers,
            cells,
            stop_timeout_s=5.0,
        )
        self.snapshotter = Snapshotter(
            MetricsParams(refresh_interval_min_s=0.001), sources=StoredSources(cells=cells), cells=workers
        )
        add_worker_figures(self.snapshotter, self.supervisor.workers)

    def _settings_for(self, networks: tuple[NetworkParams, ...]) -> dict:
        does = "work"
        if networks[0].network_id == 0:
            does = self.does[min(self.lives, len(self.does) - 1)]
            self.lives += 1
        return {"does": does, "networks": [attrs.asdict(network) for network in networks]}

    def pid(self, number: int) -> int:
        return self.supervisor.workers[number].life.process.pid

    async def values(self) -> dict[str, dict[str, float]]:
        snapshot = await self.snapshotter.refresh()
        return {
            family.spec.name: {series.labels[0]: series.value for series in family.series}
            for family in snapshot.families
            if family.spec.name in (CPU, RESIDENT, FDS)
        }

    async def until(self, number: int, state: str, restarts: int = 0) -> None:
        worker = self.supervisor.workers[number]
        with trio.fail_after(30):
            while (worker.state, worker.restarts) != (state, restarts):
                await self.supervisor.metrics.is_changed.wait()


async def test_each_worker_has_the_figures_of_its_own_process(nursery):
    page = Page(["work"])
    await nursery.start(page.supervisor.run)
    values = await page.values()
    assert values.keys() == {CPU, RESIDENT, FDS}
    assert all(list(series) == ["0", "1"] for series in values.values())
    for number in range(2):
        process = Path(f"/proc/{page.pid(number)}")
        assert values[FDS][str(number)] == len(list((process / "fd").iterdir()))
        (high_water,) = [line for line in (process / "status").read_text().splitlines() if "VmHWM" in line]
        high_water_bytes = int(high_water.split()[1]) * 1024
        assert high_water_bytes / 2 < values[RESIDENT][str(number)] < high_water_bytes * 2
        assert values[CPU][str(number)] > 0
    nursery.cancel_scope.cancel()


async def test_a_worker_that_is_down_has_no_memory_or_descriptors_but_its_cpu_time(nursery):
    page = Page(["work"], restart_first_s=60.0)
    await nursery.start(page.supervisor.run)
    before = await page.values()
    os.kill(page.pid(0), signal.SIGKILL)
    os.waitid(os.P_PID, page.pid(0), os.WEXITED | os.WNOWAIT)
    # Dead and not known to be, then known: neither is alive.
    for state in ("running", "waiting"):
        await page.until(0, state)
        values = await page.values()
        assert values[CPU]["0"] >= before[CPU]["0"]
        assert values[RESIDENT].keys() == values[FDS].keys() == {"1"}
    page.supervisor.recycle("test", 0)
    await page.until(0, "running", restarts=1)
    values = await page.values()
    assert values[CPU]["0"] >= before[CPU]["0"]
    assert values[RESIDENT].keys() == values[FDS].keys() == {"0", "1"}
    nursery.cancel_scope.cancel()


async def test_cpu_time_that_nobody_looked_at_before_the_end_is_counted_and_kept(nursery):
    page = Page(["burn", "work"])
    await nursery.start(page.supervisor.run)
    await page.until(0, "running", restarts=1)
    used_s = (await page.values())[CPU]["0"]
    assert used_s >= BURNT_S - 2 * TICK_S

    page.supervisor.recycle("test", 0)
    await page.until(0, "running", restarts=2)
    assert (await page.values())[CPU]["0"] > used_s
    nursery.cancel_scope.cancel()


async def test_no_cpu_time_falls_while_workers_come_and_go(nursery):
    page = Page(["work"])
    await nursery.start(page.supervisor.run)
    seen: list[float] = [0.0]

    async def watch() -> None:
        while True:
            seen.append((await page.values())[CPU]["0"])
            await trio.sleep(0.001)

    nursery.start_soon(watch)
    page.supervisor.recycle("test", 0)
    await page.until(0, "running", restarts=1)
    os.kill(page.pid(0), signal.SIGKILL)
    await page.until(0, "running", restarts=2)
    nursery.cancel_scope.cancel()
    assert seen == sorted(seen)
