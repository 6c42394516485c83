"""Connections and streams as the rest of the house sees them, whichever transport carries them.

TCP, memory and QUIC stand behind these two interfaces.  Nothing here says how
bytes move; `transport/switch.py` says how connections come to be and end.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from leanmesh.transport.errors import CloseReason

if TYPE_CHECKING:
    from leanmesh.identity.peer_id import PeerId
    from leanmesh.transport.observer import TransportObserver
    from leanmesh.wire.multiaddr import Multiaddr

Buffer = bytes | bytearray | memoryview
READ_LIMIT_BYTES = 65536


class Stream(Protocol):
    """One reliable, ordered channel in each direction, with back-pressure in each.

    One task may receive and one may send at a time; a second one gets
    StreamBusy.  Every blocked call ends with ConnectionClosed when the
    connection ends, whoever closed it.
    """

    @property
    def protocol(self) -> str:
        """The protocol id that both sides agreed on; empty while they negotiate."""
        ...

    @property
    def connection(self) -> "Connection":
        """The connection that carries this stream."""
        ...

    @property
    def is_outbound(self) -> bool:
        """Whether we opened it."""
        ...

    @property
    def is_receive_finished(self) -> bool:
        """Whether the other side has sent its end and everything before it was received."""
        ...

    @property
    def is_send_finished(self) -> bool:
        """Whether we have sent our end."""
        ...

    @property
    def is_closed(self) -> bool:
        """Whether nothing can pass any more: closed in both directions, reset, or its connection gone."""
        ...

    @property
    def send_room_bytes(self) -> int:
        """How much `send_nowait` would take now."""
        ...

    async def receive_some(self, max_bytes: int = READ_LIMIT_BYTES) -> bytes:
        """Wait for at least one byte and give what is there, up to `max_bytes`; b"" at the clean end.

        Raises StreamReset when the other side tore the stream down. Always a checkpoint.
        """
        ...

    def receive_nowait(self, max_bytes: int = READ_LIMIT_BYTES) -> bytes | None:
        """What is there now, without waiting: None when nothing is, b"" at the clean end."""
        ...

    def send_nowait(self, data: Buffer) -> int:
        """Take what window and buffer permit, hand it to the network, and say how many bytes that was.

        Never waits: what was not taken is the caller's to keep or to drop.
        """
        ...

    async def send_all(self, data: "Buffer | Sequence[Buffer]") -> None:
        """Send everything, in one piece as far as it goes; waits for window and buffer.

        Small writes that follow one another closely may leave together, a
        tick later; then only some of the calls are checkpoints.

        When cancelled, an unknown part has been sent and the stream is fit for a reset only.
        """
        ...

    async def send_eof(self) -> None:
        """Say that we send no more.  Receiving goes on."""
        ...

    def reset(self) -> None:
        """Tear the stream down in both directions, at once.  Harmless when it is closed already."""
        ...

    async def aclose(self) -> None:
        """Send our end and receive no more.  Whatever the other side still sends answers with a reset."""
        ...


StreamHandler = Callable[[Stream], Awaitable[None]]


class Connection(Protocol):
    """An authenticated connection to one peer.  It carries streams in both directions."""

    @property
    def remote_peer(self) -> "PeerId":
        """Who is at the other end, as proved by the handshake."""
        ...

    @property
    def local_peer(self) -> "PeerId":
        """Who we are."""
        ...

    @property
    def remote_address(self) -> "Multiaddr":
        """Where the other end is, without its peer id."""
        ...

    @property
    def local_address(self) -> "Multiaddr":
        """Our end of it."""
        ...

    @property
    def transport(self) -> str:
        """The transport's name, as in the metrics: tcp, quic or memory."""
        ...

    @property
    def is_outbound(self) -> bool:
        """Whether we dialed it."""
        ...

    @property
    def opened_at_s(self) -> float:
        """When it became usable, on Trio's clock."""
        ...

    @property
    def received_bytes(self) -> int:
        """Bytes received from the network, overhead included."""
        ...

    @property
    def sent_bytes(self) -> int:
        """Bytes given to the network, overhead included."""
        ...

    @property
    def rtt_s(self) -> float | None:
        """The last measured round trip; None before the first."""
        ...

    @property
    def observer(self) -> "TransportObserver":
        """Who is told what happens to it: the observer of the host that it belongs to."""
        ...

    @property
    def streams(self) -> Sequence[Stream]:
        """The streams that are open now, oldest first."""
        ...

    @property
    def close_reason(self) -> CloseReason | None:
        """Why it ended; None while it is open."""
        ...

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        ...

    async def open_stream(self, protocols: Sequence[str], *, timeout_s: float | None = None) -> Stream:
        """Open a stream for the first of these protocols that the other side speaks.

        Raises StreamRefused when it speaks none, does not answer in time
        (`timeout_s`, else the transport's setting), or has no room;
        ConnectionClosed when the connection ends first.
        """
        ...

    async def wait_closed(self) -> None:
        """Wait until it has ended."""
        ...

    async def aclose(self, detail: str = "closed by its owner") -> None:
        """Say go-away, send what is queued within the close timeout, and end.  Streams end with it."""
        ...

    def abort(self, reason: CloseReason, detail: str) -> None:
        """End it at once, for a reason that the log and the metrics shall name."""
        ...
