"""Values that are kept elsewhere, on their way into cells."""

import attrs

from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import CounterSpec, GaugeSpec

COUNTER_LIMIT = (1 << 64) - 1
GAUGE_LIMIT = (1 << 63) - 1


@attrs.define(eq=False)
class StoredValues:
    """Collects totals and levels, then writes each cell once.

    Label sets beyond a family's bound share the cell of `other`: what goes there is added up first,
    or the last one written would stand for all.
    """

    cells: Cells
    _totals: dict[int, int] = attrs.field(factory=dict[int, int], init=False)
    _levels: dict[int, int] = attrs.field(factory=dict[int, int], init=False)

    def total(self, spec: CounterSpec, value: int, *labels: str) -> None:
        """A counter stands here."""
        index = self.cells.counter(spec, *labels)
        self._totals[index] = self._totals.get(index, 0) + value

    def level(self, spec: GaugeSpec, value: int, *labels: str) -> None:
        """A gauge stands here."""
        index = self.cells.gauge(spec, *labels)
        self._levels[index] = self._levels.get(index, 0) + value

    def write(self) -> None:
        """Store what was collected, and begin anew."""
        for index, value in self._totals.items():
            self.cells.words[index] = min(value, COUNTER_LIMIT)
        for index, value in self._levels.items():
            self.cells.signed_words[index] = max(-GAUGE_LIMIT, min(value, GAUGE_LIMIT))
        self._totals.clear()
        self._levels.clear()
