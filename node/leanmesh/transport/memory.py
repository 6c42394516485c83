"""A network in memory: hosts with addresses, links between them, and the ways in which they break.

Everything above the pipe is the code that runs on TCP: the same connection,
streams and limits, in virtual time.  Hosts listen on /ip4 or /ip6 with /tcp,
so what depends on addresses can be tried as well.
"""

from collections.abc import Iterable

import attrs
import trio

from leanmesh.errors import RemoteError
from leanmesh.identity.peer_id import PeerId
from leanmesh.transport.errors import ConnectError, FailureKind, ListenFailed, Step
from leanmesh.transport.interface import Buffer
from leanmesh.transport.memory_pipe import Direction, Link, MemoryPipe
from leanmesh.transport.upgrade import HandshakeChannel, Secured
from leanmesh.wire.multiaddr import Multiaddr
from leanmesh.wire.noise import WrongPeer

FIRST_FREE_PORT = 49152
LAST_PORT = 65535
# Connections that a host's listener has not accepted yet; more are refused.
BACKLOG = 128


@attrs.define(eq=False)
class MemoryListener:
    """A port of a host that gives one pipe per accepted connection."""

    address: Multiaddr
    _host: "MemoryHost"
    _arrivals: "trio.MemoryReceiveChannel[MemoryPipe]"
    backlog: "trio.MemorySendChannel[MemoryPipe]"

    async def accept(self) -> MemoryPipe:
        """Wait for the next connection."""
        try:
            return await self._arrivals.receive()
        except trio.EndOfChannel:
            raise trio.ClosedResourceError("the listener was closed") from None

    def close(self) -> None:
        """Stop listening."""
        self._host.forget(self)
        self.backlog.close()
        self._arrivals.close()


class MemoryHost:
    """One machine of the network: a carrier that dials and listens from its own IP address."""

    name = "memory"

    def __init__(self, network: "MemoryNetwork", ip: str) -> None:
        self.ip = ip
        self._network = network
        self._listeners: dict[int, MemoryListener] = {}
        self._next_port = FIRST_FREE_PORT

    async def connect(self, address: Multiaddr, timeout_s: float) -> MemoryPipe:
        """Connect to a listener of another host; takes one round trip."""
        with trio.move_on_after(timeout_s):
            return await self._network.connect(self, address)
        raise ConnectError(address, Step.CONNECT, f"no answer within {timeout_s:g} s", FailureKind.TIMEOUT)

    async def listen(self, address: Multiaddr) -> MemoryListener:
        """Listen on a port of this host; the wildcard address stands for its own."""
        await trio.lowlevel.checkpoint()
        endpoint = address.endpoint()
        if endpoint.host not in (self.ip, "0.0.0.0", "::"):
            raise ListenFailed(address, f"the host's address is {self.ip}")
        port = endpoint.port or self.free_port()
        if port in self._listeners:
            raise ListenFailed(address, "Address already in use")
        send, receive = trio.open_memory_channel[MemoryPipe](BACKLOG)
        listener = MemoryListener(Multiaddr.of_socket(self.ip, port), self, receive, send)
        self._listeners[port] = listener
        return listener

    def listener_on(self, port: int) -> MemoryListener | None:
        """Who listens on a port."""
        return self._listeners.get(port)

    def forget(self, listener: MemoryListener) -> None:
        """Free a listener's port."""
        self._listeners.pop(listener.address.endpoint().port, None)

    def free_port(self) -> int:
        """A port that nobody uses; ports come round again after a while, as the kernel's do."""
        while True:
            port = self._next_port
            self._next_port = FIRST_FREE_PORT if port == LAST_PORT else port + 1
            if port not in self._listeners:
                return port


@attrs.define(eq=False)
class _Route:
    """An open connection: the two hosts, and both directions between them."""

    ips: frozenset[str]
    directions: tuple[Direction, Direction]
    pipes: tuple[MemoryPipe, MemoryPipe]


class MemoryNetwork:
    """All hosts, the links between them, and what has been done to them."""

    def __init__(self, link: Link | None = None) -> None:
        self._link = link or Link()
        self._links: dict[frozenset[str], Link] = {}
        self._hosts: dict[str, MemoryHost] = {}
        self._routes: list[_Route] = []
        self._groups: list[frozenset[str]] = []

    def host(self, ip: str) -> MemoryHost:
        """The host with this address; made when it is new."""
        return self._hosts.setdefault(ip, MemoryHost(self, ip))

    def set_link(self, one: str, other: str, link: Link) -> None:
        """How future connections between two hosts travel."""
        self._links[frozenset((one, other))] = link

    async def connect(self, source: MemoryHost, address: Multiaddr) -> MemoryPipe:
        """One round trip to the listener, and back with a pipe."""
        endpoint = address.endpoint()
        ips = frozenset((source.ip, endpoint.host))
        link = self._links.get(ips, self._link)
        await trio.sleep(2 * link.latency_s)
        if self._is_divided(ips):
            await trio.sleep_forever()
        target = self._hosts.get(endpoint.host)
        listener = target.listener_on(endpoint.port) if target is not None else None
        if listener is None:
            raise ConnectError(address, Step.CONNECT, "Connection refused", FailureKind.REFUSED)
        ours = Multiaddr.of_socket(source.ip, source.free_port())
        forth, back = Direction(link), Direction(link)
        near = MemoryPipe(ours, address.without_peer(), outward=forth, inward=back)
        far = MemoryPipe(listener.address, ours, outward=back, inward=forth)
        try:
            listener.backlog.send_nowait(far)
        except trio.WouldBlock:
            raise ConnectError(address, Step.CONNECT, "the backlog is full", FailureKind.REFUSED) from None
        self._routes = [route for route in self._routes if not all(pipe.is_closed for pipe in route.pipes)]
        self._routes.append(_Route(ips, (forth, back), (near, far)))
        return near

    def cut(self, *ips: str, is_silent: bool) -> int:
        """Break all connections of a host, or those between two, and say how many there were.

        A reset is learned at once by both ends; a silent cut by neither.
        """
        routes = [route for route in self._open_routes() if route.ips.issuperset(ips)]
        for direction in (direction for route in routes for direction in route.directions):
            if is_silent:
                direction.cut()
            else:
                direction.reset()
        return len(routes)

    def partition(self, *groups: Iterable[str]) -> None:
        """Let hosts of different groups not reach each other.

        What they send on open connections waits until `heal`; dials time
        out.  A host in no group reaches all.
        """
        self._groups = [frozenset(group) for group in groups]
        self._freeze()

    def heal(self) -> None:
        """End the partition."""
        self._groups = []
        self._freeze()

    def _freeze(self) -> None:
        for route in self._open_routes():
            for direction in route.directions:
                direction.freeze(self._is_divided(route.ips))

    def _open_routes(self) -> list[_Route]:
        return [route for route in self._routes if not all(pipe.is_closed for pipe in route.pipes)]

    def _is_divided(self, ips: frozenset[str]) -> bool:
        return sum(1 for group in self._groups if group & ips) > 1


class PlainCipher:
    """No protection: between hosts of one process there is nobody to hide from."""

    def encrypt(self, data: Buffer) -> bytes:
        """The bytes as they are."""
        return bytes(data)

    def decrypt(self, chunk: bytes) -> bytes:
        """The bytes as they are."""
        return chunk


class PlainSecurity:
    """Each end says who it is, and is believed.  Spares a hundred nodes in one process their handshakes."""

    def __init__(self, local_peer: PeerId) -> None:
        self._local_peer = local_peer

    async def secure(
        self, channel: HandshakeChannel, *, is_outbound: bool, expected_peer: PeerId | None
    ) -> Secured:
        """Exchange peer ids, each behind one byte of length."""
        channel.step = Step.HANDSHAKE
        await channel.send_all(bytes((len(self._local_peer),)) + self._local_peer)
        received = b""
        while not received or len(received) <= received[0]:
            chunk = await channel.receive_some()
            if not chunk:
                raise RemoteError("the peer closed the connection in the middle of the handshake")
            received += chunk
        size = received[0]
        peer = PeerId.from_bytes(received[1 : 1 + size])
        if expected_peer is not None and peer != expected_peer:
            raise WrongPeer(expected_peer, peer)
        return Secured(PlainCipher(), peer, received[1 + size :])
