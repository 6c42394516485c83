"""Work measured: the meter, the collector behind it and where its figures go, built and run as one."""

import logging

import attrs
import trio

from leanmesh.metrics.accumulator import Work
from leanmesh.metrics.catalog_work import NANOSECOND
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.collector import Collector
from leanmesh.metrics.params import CollectorParams
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.topic_classes import TopicClasses
from leanmesh.metrics.work_export import WorkExport, sentence
from leanmesh.service.events import tell
from leanmesh.service.metering import WorkMeter


@attrs.define(eq=False)
class MeasuredWork:
    """What measures the work of one process; made only when it is to be measured."""

    params: CollectorParams
    cells: Cells
    collector: Collector = attrs.field(init=False)
    meter: WorkMeter = attrs.field(init=False)
    export: WorkExport = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.collector = Collector(self.params)
        self.meter = WorkMeter(self.collector, TopicClasses(self.params))
        self.export = WorkExport(self.cells, self.collector, tell_work)

    @classmethod
    def build(cls, params: CollectorParams, cells: Cells, snapshotter: Snapshotter) -> "MeasuredWork | None":
        """What the settings ask for; None when nothing is to be measured."""
        if not params.is_on:
            return None
        work = cls(params, cells)
        snapshotter.refreshers.register("work", work.export.store)
        return work

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Collect and export until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.collector.run)
            nursery.start_soon(self.export.run)
            task_status.started()

    def stop(self) -> None:
        """Collect what everybody holds, for the last time, and write it down."""
        self.collector.stop()
        self.export.store()


def tell_work(source: str, done: dict[tuple[str, str], Work], interval_s: float) -> None:
    """One event per source: what it did in the interval."""
    tell(
        "work",
        sentence(source, done, interval_s),
        level=logging.INFO,
        source=source,
        interval_s=round(interval_s, 3),
        work=[
            {
                "topic_class": topic_class,
                "op": op,
                "count": work.count,
                "seconds": round(work.duration_ns * NANOSECOND, 9),
            }
            for (topic_class, op), work in done.items()
        ],
    )
