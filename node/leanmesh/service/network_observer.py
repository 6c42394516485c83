"""What the transports report, handed on to the metrics and to the network's own tasks."""

from collections.abc import Callable

import attrs

from leanmesh.service.metering import WorkMeter
from leanmesh.transport.errors import CloseReason, ConnectError
from leanmesh.transport.interface import Connection
from leanmesh.transport.observer import TransportObserver
from leanmesh.wire.multiaddr import Multiaddr


@attrs.define(eq=False)
class NetworkObserver(TransportObserver):
    """Passes everything on to `observer`, and what opens and closes to the network too.

    `meter` measures the requests that go out over its connections.
    """

    observer: TransportObserver
    on_opened: Callable[[Connection], None]
    on_closed: Callable[[Connection, CloseReason, str], None]
    meter: WorkMeter | None = None

    def listening(self, address: Multiaddr) -> None:
        """See TransportObserver."""
        self.observer.listening(address)

    def dial_started(self, transport: str, address: Multiaddr) -> None:
        """See TransportObserver."""
        self.observer.dial_started(transport, address)

    def dial_succeeded(self, transport: str, address: Multiaddr, duration_s: float) -> None:
        """See TransportObserver."""
        self.observer.dial_succeeded(transport, address, duration_s)

    def dial_failed(self, transport: str, error: ConnectError, duration_s: float) -> None:
        """See TransportObserver."""
        self.observer.dial_failed(transport, error, duration_s)

    def accept_failed(self, transport: str, error: ConnectError, duration_s: float) -> None:
        """See TransportObserver."""
        self.observer.accept_failed(transport, error, duration_s)

    def refused(self, transport: str, limit: str) -> None:
        """See TransportObserver."""
        self.observer.refused(transport, limit)

    def handshake_finished(self, transport: str, is_outbound: bool, duration_s: float) -> None:
        """See TransportObserver."""
        self.observer.handshake_finished(transport, is_outbound, duration_s)

    def connection_opened(self, connection: Connection) -> None:
        """See TransportObserver."""
        self.observer.connection_opened(connection)
        self.on_opened(connection)

    def connection_closed(self, connection: Connection, reason: CloseReason, detail: str) -> None:
        """See TransportObserver."""
        self.observer.connection_closed(connection, reason, detail)
        self.on_closed(connection, reason, detail)

    def bytes_received(self, transport: str, size_bytes: int) -> None:
        """See TransportObserver."""
        self.observer.bytes_received(transport, size_bytes)

    def bytes_sent(self, transport: str, size_bytes: int) -> None:
        """See TransportObserver."""
        self.observer.bytes_sent(transport, size_bytes)
