"""What a supervisor's page says about its workers' cells."""

from collections.abc import Iterator

from leanmesh.metrics.catalog_workers import CELLS_SKIPPED, CELLS_TORN, WORKER_HEARTBEAT_AGE
from leanmesh.metrics.sample import Sample
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.sources import SourceHandle
from leanmesh.metrics.worker_cells import WorkerCells


def add_worker_metrics(snapshotter: Snapshotter, workers: WorkerCells) -> SourceHandle:
    """Export how old each worker's heartbeat is, and what of its cells could not be read as it should.

    While two lives of one name overlap, the older heartbeat is shown.
    """

    def read() -> Iterator[Sample]:
        ages_s: dict[str, float] = {}
        for worker in workers.workers:
            ages_s[worker.name] = max(worker.heartbeat_age_s, ages_s.get(worker.name, 0.0))
        for name, age_s in ages_s.items():
            yield Sample(WORKER_HEARTBEAT_AGE, (name,), age_s)
        for reason, count in workers.torn.items():
            yield Sample(CELLS_TORN, (reason,), count)
        for reason, count in workers.skipped.items():
            yield Sample(CELLS_SKIPPED, (reason,), count)

    return snapshotter.add_source("workers", (WORKER_HEARTBEAT_AGE, CELLS_TORN, CELLS_SKIPPED), read)
