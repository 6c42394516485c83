"""A raw pipe of bytes below a connection: what a socket is to TCP, with the waiting set apart.

The non-blocking calls raise BlockingIOError, as sockets do, so that the
connection can move bytes without a checkpoint while there are any, and
wait only when there are none.
"""

import contextlib
import socket
import struct
from typing import Protocol

import trio

from leanmesh.wire.multiaddr import Multiaddr

# Closing with a linger time of zero throws away what is unsent and resets the connection.
_LINGER_NONE = struct.pack("ii", 1, 0)
# What is read off at most when a socket is closed: more than windows let wait there, and no endless work.
_UNREAD_READS = 16
_UNREAD_READ_BYTES = 65536


class Pipe(Protocol):
    """Two directions of bytes.  OSError says that it broke, trio.ClosedResourceError that we closed it."""

    @property
    def local_address(self) -> Multiaddr:
        """Our end."""
        ...

    @property
    def remote_address(self) -> Multiaddr:
        """The other end."""
        ...

    def receive_nowait(self, max_bytes: int, /) -> bytes:
        """What is there, up to `max_bytes`; b"" at the end.  BlockingIOError when nothing is."""
        ...

    def send_nowait(self, data: bytes | memoryview, /) -> int:
        """Hand over what goes, at least one byte.  BlockingIOError when nothing does."""
        ...

    async def wait_readable(self) -> None:
        """Wait until `receive_nowait` is worth a try."""
        ...

    async def wait_writable(self) -> None:
        """Wait until `send_nowait` is worth a try."""
        ...

    def close(self, *, is_abrupt: bool = False) -> None:
        """Close both directions; waiting calls end with trio.ClosedResourceError.  Abruptly: with a reset."""
        ...


class SocketPipe:
    """A connected, non-blocking TCP socket."""

    def __init__(self, sock: socket.socket, local_address: Multiaddr, remote_address: Multiaddr) -> None:
        # Frames are coalesced above; what is sent is meant to leave at once.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self.local_address = local_address
        self.remote_address = remote_address
        # Bound once: these two are called for every chunk.
        self.receive_nowait = sock.recv
        self.send_nowait = sock.send

    async def wait_readable(self) -> None:
        """Wait for bytes or for the end."""
        self._check_open()
        await trio.lowlevel.wait_readable(self._socket)

    async def wait_writable(self) -> None:
        """Wait for room in the socket's buffer."""
        self._check_open()
        await trio.lowlevel.wait_writable(self._socket)

    def _check_open(self) -> None:
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("this end was closed")

    def close(self, *, is_abrupt: bool = False) -> None:
        """Close the socket; the kernel still sends what it has taken, unless abrupt."""
        if self._socket.fileno() < 0:
            return
        trio.lowlevel.notify_closing(self._socket)
        if is_abrupt:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        else:
            self._take_unread()
        self._socket.close()

    def _take_unread(self) -> None:
        """Read off what nobody will: a socket closed over it is reset, and what we sent last is lost."""
        with contextlib.suppress(OSError):
            for _ in range(_UNREAD_READS):
                if not self._socket.recv(_UNREAD_READ_BYTES):
                    return
