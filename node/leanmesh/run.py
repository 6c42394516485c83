"""The composition root: builds every layer from its settings and holds the outer nursery."""

import logging
import os
import time
from importlib.metadata import version
from pathlib import Path

import attrs
import trio

from leanmesh.contain import ContainedErrors
from leanmesh.errors import LocalError
from leanmesh.metrics.bookkeeping import add_bookkeeping
from leanmesh.metrics.catalog_lean import NODE_INFO, NODE_START_TIME
from leanmesh.metrics.catalog_node import LOOP_LATENESS
from leanmesh.metrics.cells import Cells, runtime_directory
from leanmesh.metrics.mesh_peers import add_mesh_peers
from leanmesh.metrics.process import add_process_metrics
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.settings import Settings
from leanmesh.web.endpoints import build_app
from leanmesh.web.server import HttpServer

LOGGER = logging.getLogger(__name__)

# Ten looks a second see every stall of a tenth of a second, and cost 0.01 % of a core.
LOOP_TICK_S = 0.1


@attrs.frozen
class Ready:
    """What is known once everything runs: the address that was taken, and where the cells lie."""

    metrics_url: str
    cells_path: Path | None


async def run(settings: Settings, *, task_status: trio.TaskStatus[Ready] = trio.TASK_STATUS_IGNORED) -> None:
    """Run until cancelled.  Reports readiness when the first scrape would be answered with data."""
    cells = open_cells()
    try:
        async with trio.open_nursery() as nursery:
            cells.signed_words[cells.gauge(NODE_INFO, "leanmesh", version("leanmesh"))] = 1
            cells.signed_words[cells.gauge(NODE_START_TIME)] = int(time.time())
            nursery.start_soon(watch_loop, cells)
            contained = ContainedErrors()
            snapshotter = Snapshotter(settings.metrics, cells=cells)
            add_process_metrics(snapshotter)
            add_mesh_peers(snapshotter)
            add_bookkeeping(snapshotter, contained, cells.dropped)
            await nursery.start(snapshotter.run)
            server = HttpServer(build_app(snapshotter, settings.web), settings.web, contained)
            address = await nursery.start(server.run)
            task_status.started(Ready(f"http://{address}/metrics", cells.block.path))
    finally:
        cells.close()


def open_cells() -> Cells:
    """Cells in a file that other processes can read, or in memory of our own when no file can be had."""
    try:
        return Cells.in_file(runtime_directory(), str(os.getpid()))
    except (LocalError, OSError) as error:
        LOGGER.warning("cells cannot be read by other processes: %s", error)
        return Cells.anonymous()


async def watch_loop(cells: Cells) -> None:
    """Measure how late the loop wakes a task, and say that it goes round at all."""
    lateness = cells.histogram(LOOP_LATENESS)
    while True:
        due_s = trio.current_time() + LOOP_TICK_S
        await trio.sleep_until(due_s)
        lateness.observe(round((trio.current_time() - due_s) / LOOP_LATENESS.resolution))
        cells.beat()
