"""TCP sockets as pipes: connect, bind, accept.  What becomes of a pipe is decided elsewhere."""

import contextlib
import errno
import os
import socket
from collections.abc import Generator

import attrs
import trio

from leanmesh.transport.errors import ConnectError, FailureKind, ListenFailed, OutOfDescriptors, Step
from leanmesh.transport.pipe import SocketPipe
from leanmesh.wire.multiaddr import Multiaddr

# accept() fails with these when the machine is short of something, not the peer at fault.
_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_SHORTAGE_PAUSE_S = 0.1

_FAMILIES = {"ip4": socket.AF_INET, "ip6": socket.AF_INET6}


def _socket_address(sock: socket.socket, *, is_remote: bool) -> Multiaddr:
    name = sock.getpeername() if is_remote else sock.getsockname()
    host = name[0]
    if len(name) == 4 and name[3] and "%" not in host:
        host = f"{host}%{socket.if_indextoname(name[3])}"
    return Multiaddr.of_socket(host, name[1])


def _sockaddr(address: Multiaddr) -> tuple[str, int] | tuple[str, int, int, int]:
    endpoint = address.endpoint()
    host, _, zone = endpoint.host.partition("%")
    if endpoint.host_protocol == "ip6":
        return (host, endpoint.port, 0, socket.if_nametoindex(zone) if zone else 0)
    return (host, endpoint.port)


@attrs.define(eq=False)
class TcpListener:
    """A bound socket that gives one pipe per accepted connection."""

    address: Multiaddr
    _socket: socket.socket = attrs.field(kw_only=True, alias="socket")

    async def accept(self) -> SocketPipe:
        """Wait for the next connection.  Raises as `backend.Listener.accept` does."""
        while self._socket.fileno() >= 0:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                sock, _ = self._socket.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno not in _SHORTAGES:
                    raise self._gone(error) from error
                # It stays readable: without a pause this would be a busy loop until the shortage ends.
                await trio.sleep(_SHORTAGE_PAUSE_S)
                raise OutOfDescriptors(self.address, error.strerror or str(error)) from error
            sock.setblocking(False)
            try:
                return SocketPipe(
                    sock, _socket_address(sock, is_remote=False), _socket_address(sock, is_remote=True)
                )
            except OSError as error:
                # It was reset between the kernel's handshake and our accept.
                sock.close()
                raise self._gone(error) from error
        raise trio.ClosedResourceError("the listener was closed")

    def _gone(self, error: OSError) -> ConnectError:
        reason = f"it was gone before it was accepted: {error.strerror or error}"
        # Where it came from is not known any more.
        return ConnectError(self.address, Step.CONNECT, reason)

    def close(self) -> None:
        """Stop listening; a waiting `accept` ends with trio.ClosedResourceError."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


class TcpCarrier:
    """Dials and listens on /ip4 and /ip6 with /tcp."""

    name = "tcp"

    def __init__(self, *, listen_backlog: int = 128) -> None:
        self._listen_backlog = listen_backlog

    async def connect(self, address: Multiaddr, timeout_s: float) -> SocketPipe:
        """Connect to a resolved address.  Raises ConnectError with the system's reason."""
        try:
            with _new_socket(address) as sock:
                with trio.fail_after(timeout_s):
                    await _connect(sock, address)
                return SocketPipe(sock, _socket_address(sock, is_remote=False), address.without_peer())
        except trio.TooSlowError:
            reason = f"no answer within {timeout_s:g} s"
            raise ConnectError(address, Step.CONNECT, reason, FailureKind.TIMEOUT) from None
        except OSError as error:
            kind = FailureKind.REFUSED if error.errno == errno.ECONNREFUSED else FailureKind.ERROR
            raise ConnectError(address, Step.CONNECT, error.strerror or str(error), kind) from error

    async def listen(self, address: Multiaddr) -> TcpListener:
        """Bind and listen.  Port 0 takes a free one; the listener's address has the real one."""
        await trio.lowlevel.checkpoint()
        try:
            with _new_socket(address) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if sock.family == socket.AF_INET6:
                    # The two families are two addresses here, as in the addresses that peers are told.
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(_sockaddr(address))
                sock.listen(self._listen_backlog)
                return TcpListener(_socket_address(sock, is_remote=False), socket=sock)
        except OSError as error:
            raise ListenFailed(address, error.strerror or str(error)) from error


@contextlib.contextmanager
def _new_socket(address: Multiaddr) -> Generator[socket.socket]:
    """A socket of the address's family, closed again when what is done with it fails.

    OSError where the machine is out of descriptors, or does not have the family.
    """
    sock = socket.socket(_FAMILIES[address.endpoint().host_protocol], socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        yield sock
    except BaseException:
        sock.close()
        raise


async def _connect(sock: socket.socket, address: Multiaddr) -> None:
    with contextlib.suppress(BlockingIOError):
        sock.connect(_sockaddr(address))
    await trio.lowlevel.wait_writable(sock)
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
