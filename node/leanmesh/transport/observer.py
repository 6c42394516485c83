"""What may be observed of the transports: calls with values, never an await.

Every method does nothing by default; the metrics and the logs override those they want.
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from leanmesh.transport.errors import CloseReason, ConnectError
    from leanmesh.transport.interface import Connection
    from leanmesh.wire.multiaddr import Multiaddr


class TransportObserver(Protocol):
    """The observer's interface.  Subclass it and override; what is left out does nothing.

    `transport` is a transport's name: tcp, quic or memory; `resolve` for a dial
    that ended before its address had one.
    """

    def listening(self, address: "Multiaddr") -> None:
        """A listener is up, on this address with its real port."""

    def dial_started(self, transport: str, address: "Multiaddr") -> None:
        """We begin to connect to one resolved address."""

    def dial_succeeded(self, transport: str, address: "Multiaddr", duration_s: float) -> None:
        """The address became a usable connection."""

    def dial_failed(self, transport: str, error: "ConnectError", duration_s: float) -> None:
        """It did not; the error names the step and the reason."""

    def accept_failed(self, transport: str, error: "ConnectError", duration_s: float) -> None:
        """A peer that connected to us did not become a connection."""

    def refused(self, transport: str, limit: str) -> None:
        """A limit turned a connection or a stream away; `limit` is the name of the parameter.

        `descriptors` stands for the machine's own: accepting paused for want of
        them.  A connection that was refused before it shook hands is also an
        `accept_failed`, one of ours that was not even begun a `dial_failed`.
        """

    def handshake_finished(self, transport: str, is_outbound: bool, duration_s: float) -> None:
        """Security and muxer are in place; the time runs from the connected socket."""

    def connection_opened(self, connection: "Connection") -> None:
        """A connection is usable."""

    def connection_closed(self, connection: "Connection", reason: "CloseReason", detail: str) -> None:
        """A connection has ended."""

    def bytes_received(self, transport: str, size_bytes: int) -> None:
        """A chunk came from the network, overhead included.  Called once per chunk."""

    def bytes_sent(self, transport: str, size_bytes: int) -> None:
        """The network took a chunk, overhead included.  Called once per chunk."""


class SilentObserver(TransportObserver):
    """Observes nothing."""
