"""What can go wrong between two peers.  Each error names the address or peer, the step, and the reason."""

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from leanmesh.errors import LocalError, RemoteError

if TYPE_CHECKING:
    from leanmesh.identity.peer_id import PeerId
    from leanmesh.wire.multiaddr import Multiaddr


class Step(StrEnum):
    """The steps from an address to a connection, in the order in which they are taken."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    NEGOTIATE_SECURITY = "negotiate security"
    HANDSHAKE = "handshake"
    NEGOTIATE_MUXER = "negotiate muxer"
    ADMIT = "admit"


class FailureKind(StrEnum):
    """Why an attempt failed, in the three classes that the metrics know."""

    TIMEOUT = "timeout"
    REFUSED = "refused"
    ERROR = "error"


class CloseReason(StrEnum):
    """Why a connection ended."""

    TIMEOUT = "timeout"
    REMOTE_CLOSE = "remote_close"
    LOCAL_CLOSE = "local_close"
    ERROR = "error"


@attrs.define(eq=False)
class ConnectError(RemoteError):
    """One address did not become a connection, in either direction."""

    address: "Multiaddr"
    step: Step
    reason: str
    kind: FailureKind = FailureKind.ERROR

    def __str__(self) -> str:
        return f"{self.address}: {self.step} failed: {self.reason}"


@attrs.define(eq=False)
class DialFailed(RemoteError):
    """None of the addresses of a peer became a connection."""

    attempts: Sequence[ConnectError]

    def __str__(self) -> str:
        return "; ".join(map(str, self.attempts))


@attrs.define(eq=False)
class DialBackedOff(LocalError):
    """Every address failed a short while ago.  Nothing was sent."""

    address: "Multiaddr"
    retry_in_s: float

    def __str__(self) -> str:
        return f"{self.address}: not dialed, it failed lately; the next try is due in {self.retry_in_s:.1f} s"


class DialToSelf(LocalError):
    """The address is our own."""


class UnsupportedAddress(LocalError):
    """No transport of this node serves such an address."""


@attrs.define(eq=False)
class ListenFailed(LocalError):
    """An address cannot be listened on: in use, not ours, or not permitted."""

    address: "Multiaddr"
    reason: str

    def __str__(self) -> str:
        return f"cannot listen on {self.address}: {self.reason}"


@attrs.define(eq=False)
class OutOfDescriptors(LocalError):
    """The machine has no descriptor or memory for one more connection.  It waits to be accepted."""

    address: "Multiaddr"
    reason: str

    def __str__(self) -> str:
        return f"cannot accept on {self.address}: {self.reason}"


@attrs.define(eq=False)
class ConnectionClosed(RemoteError):
    """The connection ended.  All its streams end with this error."""

    peer: "PeerId"
    reason: CloseReason
    detail: str

    def __str__(self) -> str:
        return f"connection to {self.peer} is closed ({self.reason}): {self.detail}"


@attrs.define(eq=False)
class StreamReset(RemoteError):
    """The other side tore the stream down.  What it sent before may be lost."""

    peer: "PeerId"
    protocol: str

    def __str__(self) -> str:
        return f"stream {self.protocol or '(not negotiated)'} was reset by {self.peer}"


@attrs.define(eq=False)
class StreamRefused(RemoteError):
    """The other side did not open the stream we asked for."""

    peer: "PeerId"
    protocols: Sequence[str]
    reason: str
    # It answered, and speaks none of them: asking again is in vain.
    is_unsupported: bool = False

    def __str__(self) -> str:
        return f"{self.peer} opened no stream for {', '.join(self.protocols)}: {self.reason}"


@attrs.define(eq=False)
class StreamClosed(LocalError):
    """We used a stream, or one direction of it, after closing it ourselves."""

    peer: "PeerId"
    protocol: str
    action: str

    def __str__(self) -> str:
        return f"cannot {self.action}: we have closed the stream {self.protocol} to {self.peer}"


class StreamBusy(LocalError):
    """Two tasks receive, or two tasks send, on one stream at the same time."""
