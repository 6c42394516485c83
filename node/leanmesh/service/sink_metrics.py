"""What the metrics page says of the sinks: their books, read once per snapshot."""

from collections.abc import Mapping

import attrs

from leanmesh.metrics import catalog_bridge as catalog
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.stored_values import StoredValues
from leanmesh.service.sink_queue import SinkBooks


@attrs.define(eq=False)
class SinkMetrics:
    """The figures of all sinks of a node."""

    cells: Cells
    books: Mapping[str, SinkBooks]
    """By name, of sinks that have ended too."""

    def refresh(self) -> None:
        """Bring every figure up to date.  Called once per snapshot."""
        values = StoredValues(self.cells)
        for name, books in self.books.items():
            for outcome, count in books.outcomes.items():
                values.total(catalog.SINK_MESSAGES, count, name, str(outcome))
            values.total(catalog.SINK_REPUBLISHED, books.republished, name)
            values.total(catalog.SINK_DUPLICATES, books.duplicates, name)
            values.level(catalog.SINK_BALANCE, books.balance, name)
            values.level(catalog.SINK_QUEUE, books.queued, name)
            values.level(catalog.SINK_QUEUE_BYTES, books.queued_bytes, name)
            values.level(catalog.SINK_IN_FLIGHT, books.in_flight, name)
            values.level(catalog.SINK_CONNECTED, books.is_connected, name)
        values.write()
