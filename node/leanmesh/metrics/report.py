"""The report: the families about the snapshot itself, true when they are asked for."""

from bisect import bisect_left
from collections.abc import Mapping

import attrs

from leanmesh.metrics.catalog_node import (
    SNAPSHOT_AGE,
    SNAPSHOT_GENERATION,
    SNAPSHOT_REFRESH,
    SOURCE_ERRORS,
)
from leanmesh.metrics.family import FamilySpec
from leanmesh.metrics.sample import Family, HistogramValue, Series, Value
from leanmesh.metrics.snapshot import Snapshot


def _no_counts() -> list[int]:
    return [0] * (len(SNAPSHOT_REFRESH.bounds) + 1)


@attrs.define(eq=False)
class Report:
    """What refreshes cost and how the last one went."""

    started_unix_s: float
    has_failed: bool = attrs.field(default=False, init=False)
    _counts: list[int] = attrs.field(factory=_no_counts, init=False)
    _sum_s: float = attrs.field(default=0.0, init=False)

    def attempted(self, duration_s: float, *, has_failed: bool) -> None:
        """Count one refresh."""
        self.has_failed = has_failed
        self._counts[bisect_left(SNAPSHOT_REFRESH.bounds, duration_s)] += 1
        self._sum_s += duration_s

    def families(
        self, snapshot: Snapshot, age_s: float, source_errors: Mapping[str, int]
    ) -> tuple[Family, ...]:
        """Everything there is to say about `snapshot` at an age of `age_s`, in the order of the names."""
        families = (
            self._family(SNAPSHOT_AGE, {(): age_s}),
            self._family(SNAPSHOT_GENERATION, {(): snapshot.generation}),
            self._family(SNAPSHOT_REFRESH, {(): HistogramValue(tuple(self._counts), self._sum_s)}),
            self._family(SOURCE_ERRORS, {(name,): count for name, count in source_errors.items()}),
        )
        return tuple(family for family in families if family.series)

    def _family(self, spec: FamilySpec, values: Mapping[tuple[str, ...], Value]) -> Family:
        return Family(
            spec, tuple(Series(labels, value, self.started_unix_s) for labels, value in values.items())
        )
