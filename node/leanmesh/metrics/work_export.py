"""Exports what the collector knows: to the cells for every snapshot, and now and then to the log."""

from collections.abc import Callable

import attrs
import trio

from leanmesh.metrics.accumulator import Figures, Work
from leanmesh.metrics.catalog_work import NANOSECOND, RETAINED, SOURCES, UNKNOWN, WORK, WORK_SECONDS
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.collector import Collector
from leanmesh.metrics.prime import prime
from leanmesh.metrics.stored_values import StoredValues

# How old the cells may be for who reads them without a scrape.
STORE_INTERVAL_S = 1.0

# The source, what it did since the last time by (topic class, op), and how many seconds ago that was.
TellWork = Callable[[str, dict[tuple[str, str], Work], float], None]


@attrs.define(eq=False)
class WorkExport:
    """Brings the figures to where they are read.  `tell` is called per source that did something."""

    cells: Cells
    collector: Collector
    tell: TellWork
    _told: Figures = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        prime(self.cells, RETAINED)
        self._told = {}

    def store(self) -> None:
        """Write all figures into their cells.  Each is a total, so writing it again changes nothing."""
        values = StoredValues(self.cells)
        for key, work in self.collector.figures().items():
            values.total(WORK, work.count, *key)
            values.total(WORK_SECONDS, work.duration_ns, *key)
        for source in (*SOURCES, UNKNOWN):
            values.level(RETAINED, self.collector.retained(source), source)
        values.write()

    async def run(self) -> None:
        """Store every second, and tell every `log_interval_s`, until cancelled."""
        interval_s = self.collector.params.log_interval_s
        told_at_s = trio.current_time()
        while True:
            await trio.sleep(STORE_INTERVAL_S)
            self.store()
            now_s = trio.current_time()
            if interval_s and now_s - told_at_s >= interval_s:
                self._tell_all(now_s - told_at_s)
                told_at_s = now_s

    def _tell_all(self, interval_s: float) -> None:
        figures = self.collector.figures()
        by_source: dict[str, dict[tuple[str, str], Work]] = {}
        for key, work in figures.items():
            done = work - self._told.get(key, Work())
            if done.count or done.duration_ns:
                by_source.setdefault(key.source, {})[key.topic_class, key.op] = done
        self._told = figures
        for source, done in by_source.items():
            self.tell(source, done, interval_s)


def sentence(source: str, done: dict[tuple[str, str], Work], interval_s: float) -> str:
    """One line for people: what took most first."""
    duration_s = sum(work.duration_ns for work in done.values()) * NANOSECOND
    parts = [
        f"{topic_class}/{op} {work.count:,} in {work.duration_ns * NANOSECOND:.3f} s"
        for (topic_class, op), work in sorted(done.items(), key=lambda item: -item[1].duration_ns)
    ]
    shown = ", ".join(parts[:OPERATIONS_TOLD])
    more = f", and {len(parts) - OPERATIONS_TOLD} more" if len(parts) > OPERATIONS_TOLD else ""
    return f"{source} took {duration_s:.3f} s of the last {interval_s:.0f} s: {shown}{more}"


OPERATIONS_TOLD = 8
