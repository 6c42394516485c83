"""Metrics of the process and its interpreter, as prometheus_client's own collectors read them."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from leanmesh.metrics.family import CounterSpec, FamilySpec, GaugeSpec
from leanmesh.metrics.sample import Sample
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.sources import SourceHandle

SOURCE_NAME = "process"


def add_process_metrics(snapshotter: Snapshotter) -> SourceHandle:
    """Export process_* and python_info.  Where there is no /proc, only what can be read elsewhere."""
    collectors = (ProcessCollector(registry=None), PlatformCollector(registry=None))

    def collect() -> Iterator[Metric]:
        for collector in collectors:
            yield from collector.collect()

    specs = {metric.name: _spec(metric) for metric in collect()}

    def read() -> Iterator[Sample]:
        for metric in collect():
            spec = specs[metric.name]
            for sample in metric.samples:
                yield Sample(spec, tuple(sample.labels.values()), sample.value)

    return snapshotter.add_source(SOURCE_NAME, tuple(specs.values()), read)


def _spec(metric: Metric) -> FamilySpec:
    labels = tuple(metric.samples[0].labels)
    if metric.type == "counter":
        return CounterSpec(f"{metric.name}_total", metric.documentation, labels=labels)
    return GaugeSpec(metric.name, metric.documentation, labels=labels)
