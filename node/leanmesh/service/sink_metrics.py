"""What the metrics page says of the sinks: their books, read once per snapshot."""

from collections.abc import Mapping

import attrs

from leanmesh.metrics import catalog_bridge as catalog
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import CounterSpec, GaugeSpec
from leanmesh.service.sink_queue import SinkBooks


@attrs.define(eq=False)
class SinkMetrics:
    """The figures of all sinks of a node."""

    cells: Cells
    books: Mapping[str, SinkBooks]
    """By name, of sinks that have ended too."""

    def refresh(self) -> None:
        """Bring every figure up to date.  Called once per snapshot."""
        for name, books in self.books.items():
            for outcome, count in books.outcomes.items():
                self._total(catalog.SINK_MESSAGES, count, name, str(outcome))
            self._total(catalog.SINK_REPUBLISHED, books.republished, name)
            self._total(catalog.SINK_DUPLICATES, books.duplicates, name)
            self._set(catalog.SINK_BALANCE, books.balance, name)
            self._set(catalog.SINK_QUEUE, books.queued, name)
            self._set(catalog.SINK_QUEUE_BYTES, books.queued_bytes, name)
            self._set(catalog.SINK_IN_FLIGHT, books.in_flight, name)
            self._set(catalog.SINK_CONNECTED, books.is_connected, name)

    def _set(self, spec: GaugeSpec, value: int, *labels: str) -> None:
        self.cells.signed_words[self.cells.gauge(spec, *labels)] = value

    def _total(self, spec: CounterSpec, value: int, *labels: str) -> None:
        """A counter whose total is kept elsewhere."""
        self.cells.words[self.cells.counter(spec, *labels)] = value
