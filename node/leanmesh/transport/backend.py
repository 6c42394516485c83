"""What a transport offers to the switch, and what the switch needs of a connection to own it.

Everyone else sees `interface.Connection` only.  QUIC comes in behind these
as TCP and memory do.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from leanmesh.transport.interface import Connection
from leanmesh.wire.multiaddr import Multiaddr


class OwnedConnection(Connection, Protocol):
    """A connection as its owner sees it."""

    # Called once, when it ends.
    on_end: Callable[[], None]

    @property
    def used_at_s(self) -> float:
        """When it last had a stream, to the tick of the sweep."""
        ...

    @property
    def close_detail(self) -> str:
        """Why it ended, in words."""
        ...

    async def run(self) -> None:
        """Be a connection, until it ends.  Returns whatever the reason."""
        ...

    def sweep(self, now_s: float) -> None:
        """Look after its timeouts."""
        ...


class Incoming(Protocol):
    """Somebody knocks: nothing is known but the address."""

    @property
    def remote_address(self) -> Multiaddr:
        """Where it comes from."""
        ...

    async def establish(self) -> OwnedConnection:
        """Let it prove who it is.  Raises ConnectError."""
        ...

    def refuse(self) -> None:
        """Close it, without a word."""
        ...


class Listener(Protocol):
    """An address that is listened on."""

    @property
    def address(self) -> Multiaddr:
        """The address with its real port."""
        ...

    async def accept(self) -> Incoming:
        """Wait for the next one; trio.ClosedResourceError once closed.

        ConnectError for one that was gone before it could be accepted, and
        OutOfDescriptors, after a pause, while the machine can take none.
        """
        ...

    def close(self) -> None:
        """Stop listening.  Connections stay."""
        ...


class Transport(Protocol):
    """A way to reach peers."""

    @property
    def name(self) -> str:
        """Its name in metrics and logs."""
        ...

    def serves(self, address: Multiaddr) -> bool:
        """Whether it can dial or listen on this address, whose host is an IP address."""
        ...

    async def dial(self, address: Multiaddr) -> OwnedConnection:
        """Connect to an address and see that its peer, if it names one, answers.  Raises ConnectError."""
        ...

    async def listen(self, address: Multiaddr) -> Listener:
        """Listen; port 0 takes a free one.  Raises ListenFailed."""
        ...


def serving(transports: Sequence[Transport], address: Multiaddr) -> Transport | None:
    """The first transport that can dial this address, or listen on it."""
    return next((transport for transport in transports if transport.serves(address)), None)
