"""Sources whose values are stored in cells, so that they are added up with those of other processes.

A supervisor reads nothing of its workers but cells.  What workers keep
elsewhere (the tables of duplicate lag, counts of errors) has to be stored there
at each refresh; and of families that workers have, the supervisor's own part lies in cells, too.
"""

import math
from collections.abc import Iterable, Iterator, Set
from operator import add

import attrs

from leanmesh.metrics.catalog_node import CONTAINED_ERRORS
from leanmesh.metrics.cells import Cells, Histogram
from leanmesh.metrics.family import CounterSpec, FamilySpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.sample import Family, HistogramValue
from leanmesh.metrics.sources import Sources

# Sources about the very process whose page it is: what a supervisor says itself, about itself and about all.
OF_THIS_PROCESS = ("process", "mesh_peers", "cells", "workers", "worker_processes", "http")

COUNTER_LIMIT = (1 << 64) - 1
GAUGE_LIMIT = (1 << 63) - 1

Key = tuple[FamilySpec, tuple[str, ...]]


@attrs.define(eq=False)
class StoredSources(Sources):
    """Sources for the Snapshotter of a supervisor or a worker: all but OF_THIS_PROCESS go into `cells`.

    They are on the page with the refresh after that.  Values are stored in steps of their
    family's resolution; what is no number has no series.  When a source raises nothing is
    stored but, with `stores_errors`, that it did: a worker has no page of its own to say so.
    """

    cells: Cells = attrs.field(kw_only=True)
    stores_errors: bool = attrs.field(default=False, kw_only=True)
    _stored: set[Key] = attrs.field(factory=set[Key], init=False)

    def read(self, owned: Set[str], created_unix_s: float) -> list[Family] | None:
        """Ask every source and store what they answer; the families of those about this process."""
        direct = {spec.name for name in OF_THIS_PROCESS for spec in self.specs_of(name)}
        families = super().read(owned & direct, created_unix_s)
        if self.stores_errors:
            for name, count in self.errors.counts.items():
                self.cells.words[self.cells.counter(CONTAINED_ERRORS, f"source:{name}")] = count
        if families is None:
            return None
        self._store([family for family in families if family.spec.name not in direct])
        return [family for family in families if family.spec.name in direct]

    def _store(self, families: list[Family]) -> None:
        # Label sets beyond a family's bound share a cell: what goes there is added up first.
        numbers: dict[int, int] = {}
        gauges: dict[int, int] = {}
        groups: dict[Histogram, list[int]] = {}
        stored: set[Key] = set()
        for spec, labels, words in _steps_of(families):
            stored.add((spec, labels))
            if isinstance(spec, HistogramSpec):
                handle = self.cells.histogram(spec, *labels)
                held = groups.get(handle)
                groups[handle] = words if held is None else list(map(add, held, words))
            elif isinstance(spec, GaugeSpec):
                index = self.cells.gauge(spec, *labels)
                gauges[index] = gauges.get(index, 0) + words[0]
            elif isinstance(spec, CounterSpec):
                index = self.cells.counter(spec, *labels)
                numbers[index] = numbers.get(index, 0) + words[0]
        for index, value in numbers.items():
            self.cells.words[index] = min(value, COUNTER_LIMIT)
        for index, value in gauges.items():
            self.cells.signed_words[index] = max(-GAUGE_LIMIT, min(value, GAUGE_LIMIT))
        for handle, words in groups.items():
            handle.store(words)
        for spec, labels in self._stored - stored:
            self.cells.release(spec, *labels, leaves_counts=False)
        self._stored = stored


def _steps_of(families: Iterable[Family]) -> Iterator[tuple[FamilySpec, tuple[str, ...], list[int]]]:
    """All values that can be stored, in steps of their resolution: one, or counts and sum."""
    for family in families:
        spec = family.spec
        for series in family.series:
            value = series.value
            counts, number = (value.counts, value.sum) if isinstance(value, HistogramValue) else ((), value)
            if not math.isfinite(number) or (isinstance(spec, CounterSpec) and number < 0):
                continue
            yield spec, series.labels, [*counts, round(number * 10**spec.decimals)]
