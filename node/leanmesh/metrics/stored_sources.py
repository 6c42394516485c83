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
from leanmesh.metrics.family import OTHER, CounterSpec, FamilySpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.sample import Family, HistogramValue
from leanmesh.metrics.sources import Sources
from leanmesh.metrics.stored_values import StoredValues
from leanmesh.metrics.totals import words_of

# Sources about the very process whose page it is: what a supervisor says itself, about itself and about all.
OF_THIS_PROCESS = ("process", "mesh_peers", "cells", "workers", "worker_processes", "http")

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
        steps = list(_steps_of(families))
        stored = {(spec, labels) for spec, labels, _ in steps}
        values = StoredValues(self.cells)
        # Label sets beyond a family's bound share a cell: what goes there is added up first.
        groups: dict[Histogram, list[int]] = {}

        def add_up(spec: FamilySpec, labels: tuple[str, ...], words: list[int]) -> None:
            if isinstance(spec, HistogramSpec):
                handle = self.cells.histogram(spec, *labels)
                held = groups.get(handle)
                groups[handle] = words if held is None else list(map(add, held, words))
            elif isinstance(spec, GaugeSpec):
                values.level(spec, words[0], *labels)
            elif isinstance(spec, CounterSpec):
                values.total(spec, words[0], *labels)

        # Those that went make room for those that came.
        for spec, labels in self._stored - stored:
            if not self.cells.release(spec, *labels, leaves_counts=False):
                # It was in the shared cell, where nobody may be left.
                add_up(spec, (OTHER,) * len(labels), [0] * words_of(spec))
        for spec, labels, words in steps:
            add_up(spec, labels, words)
        values.write()
        for handle, words in groups.items():
            handle.store(words)
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
