"""The switch owns all connections of a network: it listens, dials, admits, sweeps and closes.

Rules for several connections to one peer (simultaneous dials, restarts):
they may coexist, up to `connections_per_peer_limit`, and the newest is the
one that is used; beyond the limit the oldest is closed.  Of two connections
dialed from both sides, the one whose dialer has the higher peer id is
redundant, and its dialer closes it once it had no stream for
`duplicate_linger_s`.  So both sides agree, and a peer that keeps using it is
not disturbed.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import trio

from leanmesh.errors import LocalError
from leanmesh.identity.peer_id import PeerId
from leanmesh.transport.backend import Incoming, Listener, OwnedConnection, Transport, serving
from leanmesh.transport.dialer import Dialer
from leanmesh.transport.errors import (
    CloseReason,
    ConnectError,
    DialToSelf,
    FailureKind,
    OutOfDescriptors,
    Step,
    UnsupportedAddress,
)
from leanmesh.transport.flusher import Flusher
from leanmesh.transport.interface import Connection, StreamHandler
from leanmesh.transport.limits import Limits, ip_of
from leanmesh.transport.observer import SilentObserver, TransportObserver
from leanmesh.transport.params import TransportParams
from leanmesh.wire.multiaddr import Multiaddr

if TYPE_CHECKING:
    from random import Random


class Switch:
    """All connections of one identity.  `run` makes it live; everything it starts is its child."""

    def __init__(
        self,
        local_peer: PeerId,
        params: TransportParams,
        random: "Random",
        observer: TransportObserver | None = None,
    ) -> None:
        self.local_peer = local_peer
        self.params = params
        self.observer = observer or SilentObserver()
        # Protocol id -> handler; read for every stream that a peer opens.
        self.handlers: dict[str, StreamHandler] = {}
        self.limits = Limits(params)
        self.transports: list[Transport] = []
        # For transports whose connections collect small writes.
        self.flusher = Flusher()
        self._dialer = Dialer(params, random, self.limits, self.observer, self.transports)
        self._listeners: list[Listener] = []
        self._connections: dict[PeerId, list[OwnedConnection]] = {}
        self._dialing: dict[PeerId, trio.Event] = {}
        self._nursery: trio.Nursery | None = None
        self._is_closing = False

    # ----- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own listeners and connections until `aclose`, or until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.flusher.run)
            task_status.started()
            try:
                while True:
                    await trio.sleep(self.params.sweep_interval_s)
                    self._sweep(trio.current_time())
            finally:
                self._is_closing = True
                self._close_listeners()

    async def aclose(self) -> None:
        """Stop listening, say go-away on every connection, and end `run`."""
        self._is_closing = True
        self._close_listeners()
        try:
            async with trio.open_nursery() as nursery:
                for connection in self.connections:
                    nursery.start_soon(connection.aclose, "the node stops")
        finally:
            if self._nursery is not None:
                self._nursery.cancel_scope.cancel()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def _live_nursery(self) -> trio.Nursery:
        if self._nursery is None or self._is_closing:
            raise LocalError("the switch is not running")
        return self._nursery

    # ----- what is there

    @property
    def connections(self) -> Sequence[Connection]:
        """The open connections."""
        return [connection for connections in self._connections.values() for connection in connections]

    def connections_to(self, peer: PeerId) -> Sequence[Connection]:
        """The open connections to one peer, oldest first."""
        return tuple(self._connections.get(peer, ()))

    def connection_to(self, peer: PeerId) -> Connection | None:
        """The one to open streams on: the newest, because a peer that came back has left the others."""
        connections = self.connections_to(peer)
        return connections[-1] if connections else None

    @property
    def listen_addresses(self) -> Sequence[Multiaddr]:
        """The addresses that are listened on, with their real ports, without peer id."""
        return [listener.address for listener in self._listeners]

    # ----- listening

    async def listen(self, address: Multiaddr) -> Multiaddr:
        """Listen on an address; gives it with its real port.  Raises ListenFailed or UnsupportedAddress."""
        # A caller that is being cancelled together with the switch shall see that, not a LocalError.
        await trio.lowlevel.checkpoint_if_cancelled()
        nursery = self._live_nursery()
        transport = serving(self.transports, address)
        if transport is None:
            names = ", ".join(transport.name for transport in self.transports)
            raise UnsupportedAddress(f"{address} cannot be listened on: the transports here are {names}")
        listener = await transport.listen(address.without_peer())
        self._listeners.append(listener)
        nursery.start_soon(self._accept_all, nursery, transport, listener)
        self.observer.listening(listener.address)
        return listener.address

    async def _accept_all(self, nursery: trio.Nursery, transport: Transport, listener: Listener) -> None:
        while True:
            try:
                incoming = await listener.accept()
            except trio.ClosedResourceError:
                return
            except ConnectError as error:
                self.observer.accept_failed(transport.name, error, 0.0)
                continue
            except OutOfDescriptors:
                self.observer.refused(transport.name, "descriptors")
                continue
            ip = ip_of(incoming.remote_address)
            limit = self.limits.limit_for_inbound(ip)
            if limit is not None:
                self._refuse(transport, incoming, limit)
            else:
                # Counted before the task exists: the next one that knocks has to be told.
                self.limits.opened(ip)
                self.limits.handshakes += 1
                nursery.start_soon(self._accept, transport, incoming)

    def _refuse(self, transport: Transport, incoming: Incoming, limit: str) -> None:
        self.observer.refused(transport.name, limit)
        reason = f"{limit} is reached"
        error = ConnectError(incoming.remote_address, Step.ADMIT, reason, FailureKind.REFUSED)
        self.observer.accept_failed(transport.name, error, 0.0)
        incoming.refuse()

    async def _accept(self, transport: Transport, incoming: Incoming) -> None:
        ip = ip_of(incoming.remote_address)
        started_at_s = trio.current_time()
        try:
            try:
                connection = await incoming.establish()
            finally:
                self.limits.handshakes -= 1
            self._add(connection)
            await connection.run()
        except ConnectError as error:
            self.observer.accept_failed(transport.name, error, trio.current_time() - started_at_s)
        finally:
            self.limits.closed(ip)

    # ----- dialing

    async def dial(self, *addresses: Multiaddr, ignore_backoff: bool = False) -> Connection:
        """A connection to the peer that these addresses lead to: the one there is, or a new one.

        All addresses that name a peer must name the same.  They are tried in
        order; raises DialFailed with every attempt, DialBackedOff when all
        failed lately, DialToSelf, or LocalError for addresses that make no sense.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._live_nursery()
        peer = self._peer_of(addresses)
        if peer is None:
            connection = await self._dialer.dial(addresses, ignore_backoff=ignore_backoff)
            return self._adopt(connection)
        while (existing := self.connection_to(peer)) is None:
            others = self._dialing.get(peer)
            if others is None:
                break
            # Somebody dials this peer already: one connection will serve both.
            await others.wait()
        else:
            await trio.lowlevel.checkpoint()
            return existing
        done = self._dialing[peer] = trio.Event()
        try:
            connection = await self._dialer.dial(addresses, ignore_backoff=ignore_backoff)
            return self._adopt(connection)
        finally:
            del self._dialing[peer]
            done.set()

    def _peer_of(self, addresses: Sequence[Multiaddr]) -> PeerId | None:
        if not addresses:
            raise LocalError("there is no address to dial")
        peers = {peer for address in addresses if (peer := address.peer) is not None}
        if len(peers) > 1:
            raise LocalError(f"one dial leads to one peer, not to {' and '.join(map(str, sorted(peers)))}")
        if self.local_peer in peers:
            raise DialToSelf(f"{addresses[0]} is our own address")
        return next(iter(peers), None)

    def _adopt(self, connection: OwnedConnection) -> Connection:
        try:
            nursery = self._live_nursery()
        except LocalError:
            # The switch has closed while its caller dialed: nobody could own this.
            connection.abort(CloseReason.LOCAL_CLOSE, "the node stops")
            self.limits.closed(None)
            raise
        self._add(connection)
        nursery.start_soon(self._run_dialed, connection)
        return connection

    async def _run_dialed(self, connection: OwnedConnection) -> None:
        try:
            await connection.run()
        finally:
            self.limits.closed(None)

    # ----- connections

    def _add(self, connection: OwnedConnection) -> None:
        connections = self._connections.setdefault(connection.remote_peer, [])
        connections.append(connection)
        connection.on_end = partial(self._ended, connection)
        self.observer.connection_opened(connection)
        if len(connections) > self.params.connections_per_peer_limit:
            self.observer.refused(connection.transport, "connections_per_peer_limit")
            connections[0].abort(CloseReason.LOCAL_CLOSE, "newer connections to the peer took its place")

    def _ended(self, connection: OwnedConnection) -> None:
        connections = self._connections[connection.remote_peer]
        connections.remove(connection)
        if not connections:
            del self._connections[connection.remote_peer]
        assert connection.close_reason is not None
        self.observer.connection_closed(connection, connection.close_reason, connection.close_detail)

    def _sweep(self, now_s: float) -> None:
        for connections in tuple(self._connections.values()):
            for connection in tuple(connections):
                connection.sweep(now_s)
            if len(connections) > 1:
                self._close_redundant(connections, now_s)

    def _close_redundant(self, connections: Sequence[OwnedConnection], now_s: float) -> None:
        """Close what we dialed although the peer's own connection is the one to keep."""
        is_ours_redundant = self.local_peer > connections[0].remote_peer
        has_theirs = any(
            not connection.is_outbound and not connection.is_closed for connection in connections
        )
        if not (is_ours_redundant and has_theirs):
            return
        for connection in connections:
            is_unused = now_s - connection.used_at_s > self.params.duplicate_linger_s
            if connection.is_outbound and is_unused and not connection.is_closed:
                connection.abort(CloseReason.LOCAL_CLOSE, "the peer's own connection serves both")
