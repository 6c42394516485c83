"""Priming: cells for every fixed label set of a family, before anything happened.

A rate over a counter that appears with its first event misses that event, and
an alert on a series that is not there never fires.
"""

from leanmesh.metrics.catalog import fixed_label_sets
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import CounterSpec, FamilySpec, GaugeSpec, HistogramSpec


def prime(cells: Cells, spec: FamilySpec, **given: str) -> None:
    """Make the cells of all label sets of one family; `given` are the values of its open labels.

    LocalError when an open label has no value.
    """
    for labels in fixed_label_sets(spec, **given):
        if isinstance(spec, CounterSpec):
            cells.counter(spec, *labels)
        elif isinstance(spec, HistogramSpec):
            cells.histogram(spec, *labels)
        elif isinstance(spec, GaugeSpec):
            cells.gauge(spec, *labels)
