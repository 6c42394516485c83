"""The catalog: every family that the node can export, once.

A family is on the page as soon as it has a series: from its first cell, or
from the first sample of its source.  Whoever creates the cells of a family
with `fixed` label values primes it, so that it is complete from then on.
"""

from collections.abc import Iterator
from itertools import product

from leanmesh.errors import LocalError
from leanmesh.metrics import (
    catalog_bridge,
    catalog_gossipsub,
    catalog_lag,
    catalog_lean,
    catalog_node,
    catalog_trace,
    catalog_work,
    catalog_workers,
)
from leanmesh.metrics.family import FamilySpec

CATALOG: tuple[FamilySpec, ...] = (
    *catalog_lean.FAMILIES,
    *catalog_gossipsub.FAMILIES,
    *catalog_node.FAMILIES,
    *catalog_workers.FAMILIES,
    *catalog_work.FAMILIES,
    *catalog_lag.FAMILIES,
    *catalog_trace.FAMILIES,
    *catalog_bridge.FAMILIES,
)


def fixed_label_sets(spec: FamilySpec, **given: str) -> Iterator[tuple[str, ...]]:
    """Every label set of a family: `given` for the open labels, all values for those that are fixed.

    A given value narrows a fixed label to that one.  LocalError when a label is
    neither given nor fixed, or a given one is none of the family's.
    """
    fixed = dict(spec.fixed)
    unknown = given.keys() - set(spec.labels)
    open_labels = [label for label in spec.labels if label not in fixed and label not in given]
    if unknown or open_labels:
        raise LocalError(
            f"{spec.name} has the labels {spec.labels}: {sorted(unknown)} are none of them, "
            f"{open_labels} have no value"
        )
    yield from product(*((given[label],) if label in given else fixed[label] for label in spec.labels))
