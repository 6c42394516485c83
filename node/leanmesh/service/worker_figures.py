"""What each worker costs: CPU time, memory and descriptors, on the supervisor's page.

Read by the supervisor and not told by the workers: of one that is stuck these figures matter most.
"""

from collections.abc import Iterator, Sequence

from leanmesh.metrics.catalog_workers import WORKER_CPU, WORKER_OPEN_FDS, WORKER_RESIDENT
from leanmesh.metrics.sample import Sample
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.sources import SourceHandle
from leanmesh.service.process_figures import count_descriptors, read_figures
from leanmesh.service.worker import Worker

SOURCE_NAME = "worker_processes"


def add_worker_figures(snapshotter: Snapshotter, workers: Sequence[Worker]) -> SourceHandle:
    """Export what each worker costs.  CPU time goes on over its processes; the rest is of the living only."""

    def read() -> Iterator[Sample]:
        for worker in workers:
            label = (str(worker.number),)
            yield Sample(WORKER_CPU, label, worker.cpu_s)
            pid = worker.living_pid
            figures = None if pid is None else read_figures(pid)
            if pid is None or figures is None or not figures.resident_bytes:
                continue
            yield Sample(WORKER_RESIDENT, label, figures.resident_bytes)
            if (descriptors := count_descriptors(pid)) is not None:
                yield Sample(WORKER_OPEN_FDS, label, descriptors)

    return snapshotter.add_source(SOURCE_NAME, (WORKER_CPU, WORKER_RESIDENT, WORKER_OPEN_FDS), read)
