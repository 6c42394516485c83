"""Offers the current snapshot as a prometheus_client Collector, to mount in a registry that others serve."""

from collections.abc import Iterable, Iterator

import attrs
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from leanmesh.errors import LocalError
from leanmesh.metrics.catalog import CATALOG
from leanmesh.metrics.family import FamilySpec, HistogramSpec
from leanmesh.metrics.process import SOURCE_NAME as PROCESS_SOURCE
from leanmesh.metrics.sample import Family, HistogramValue, Series
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.text import base_name, bound_text, type_text


@attrs.define(eq=False)
class SnapshotCollector(Collector):
    """Yields what the current snapshot holds.  Reading it takes no snapshot and calls no source.

    process_* and python_info are left out: a registry has collectors of its
    own for them.  Keep Snapshotter.run() going, which takes new snapshots.
    """

    snapshotter: Snapshotter

    def describe(self) -> Iterable[Metric]:
        """Every family that may come, so that the registry refuses a second owner of its name."""
        specs = {spec.name: spec for spec in (*CATALOG, *self.snapshotter.sources.specs)}
        return [_metric(spec) for spec in specs.values() if spec.name not in self._left_out()]

    def collect(self) -> Iterator[Metric]:
        """The families of the current snapshot, and the report on it."""
        left_out = self._left_out()
        snapshot = self.snapshotter.current
        for family in (*snapshot.families, *self.snapshotter.report(snapshot)):
            if family.spec.name not in left_out:
                yield _filled_metric(family)

    def _left_out(self) -> set[str]:
        return {spec.name for spec in self.snapshotter.sources.specs_of(PROCESS_SOURCE)}


def attach(snapshotter: Snapshotter, registry: CollectorRegistry) -> SnapshotCollector:
    """Mount a snapshotter in a registry.  LocalError when one of its families is there already."""
    collector = SnapshotCollector(snapshotter)
    try:
        registry.register(collector)
    except ValueError as error:
        raise LocalError(
            f"the registry has families of these names already (one snapshotter fits, once): {error}"
        ) from error
    return collector


def _metric(spec: FamilySpec) -> Metric:
    return Metric(base_name(spec), spec.help, type_text(spec))


def _filled_metric(family: Family) -> Metric:
    metric = _metric(family.spec)
    for series in family.series:
        labels = dict(zip(family.spec.labels, series.labels, strict=True))
        for suffix, more, value in _samples(family.spec, series):
            metric.add_sample(family.spec.name + suffix, {**labels, **more}, value)
    return metric


def _samples(spec: FamilySpec, series: Series) -> Iterator[tuple[str, dict[str, str], float]]:
    value = series.value
    if not isinstance(value, HistogramValue):
        yield "", {}, value
        return
    assert isinstance(spec, HistogramSpec)
    total = 0
    for bound, count in zip((*spec.bounds, float("inf")), value.counts, strict=True):
        total += count
        yield "_bucket", {"le": bound_text(bound)}, total
    yield "_count", {}, total
    yield "_sum", {}, value.sum
