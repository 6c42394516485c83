"""The transport made of pipes: a carrier connects them, a security proves the peer, yamux carries streams."""

from collections.abc import Mapping
from typing import Protocol

import attrs
import trio

from leanmesh.identity.peer_id import PeerId
from leanmesh.transport.flusher import Flusher
from leanmesh.transport.interface import StreamHandler
from leanmesh.transport.muxed import MuxedConnection
from leanmesh.transport.observer import TransportObserver
from leanmesh.transport.params import TransportParams
from leanmesh.transport.pipe import Pipe
from leanmesh.transport.upgrade import HandshakeChannel, Security, upgrade
from leanmesh.wire.multiaddr import InvalidAddress, Multiaddr


class PipeListener(Protocol):
    """A carrier's listener."""

    @property
    def address(self) -> Multiaddr:
        """The address with its real port."""
        ...

    async def accept(self) -> Pipe:
        """The next connected pipe.  Raises as `backend.Listener.accept` does."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class Carrier(Protocol):
    """What connects pipes: the machine's TCP, or a host of a network in memory."""

    @property
    def name(self) -> str:
        """Its name in metrics and logs."""
        ...

    async def connect(self, address: Multiaddr, timeout_s: float) -> Pipe:
        """A connected pipe.  Raises ConnectError."""
        ...

    async def listen(self, address: Multiaddr) -> PipeListener:
        """A listener.  Raises ListenFailed."""
        ...


@attrs.define(eq=False)
class UpgradedTransport:
    """Pipes of a carrier, secured and muxed."""

    carrier: Carrier
    security: Security
    local_peer: PeerId
    params: TransportParams
    handlers: Mapping[str, StreamHandler]
    observer: TransportObserver
    flusher: Flusher

    @property
    def name(self) -> str:
        """The carrier's name."""
        return self.carrier.name

    def serves(self, address: Multiaddr) -> bool:
        """Whether it is an IP address with a TCP port."""
        try:
            endpoint = address.endpoint()
        except InvalidAddress:
            return False
        return endpoint.transport == "tcp" and endpoint.host_protocol in ("ip4", "ip6")

    async def dial(self, address: Multiaddr) -> MuxedConnection:
        """Connect and upgrade."""
        pipe = await self.carrier.connect(address, self.params.connect_timeout_s)
        return await self.upgrade(pipe, expected_peer=address.peer, is_outbound=True)

    async def listen(self, address: Multiaddr) -> "UpgradedListener":
        """Listen; what arrives has yet to be upgraded."""
        return UpgradedListener(self, await self.carrier.listen(address))

    async def upgrade(
        self, pipe: Pipe, *, expected_peer: PeerId | None, is_outbound: bool
    ) -> MuxedConnection:
        """Make a connection of a pipe."""
        started_at_s = trio.current_time()
        channel = HandshakeChannel(pipe)
        try:
            secured = await upgrade(
                channel,
                self.security,
                local_peer=self.local_peer,
                expected_peer=expected_peer,
                is_outbound=is_outbound,
                timeout_s=self.params.handshake_timeout_s,
            )
        finally:
            # The network carried them, whatever came of it.
            self.observer.bytes_received(self.name, channel.received_bytes)
            self.observer.bytes_sent(self.name, channel.sent_bytes)
        now_s = trio.current_time()
        self.observer.handshake_finished(self.name, is_outbound, now_s - started_at_s)
        return MuxedConnection(
            transport=self.name,
            pipe=pipe,
            cipher=secured.cipher,
            early=secured.early,
            received_bytes=channel.received_bytes,
            sent_bytes=channel.sent_bytes,
            local_peer=self.local_peer,
            remote_peer=secured.remote_peer,
            is_outbound=is_outbound,
            opened_at_s=now_s,
            params=self.params.connection,
            handlers=self.handlers,
            observer=self.observer,
            flusher=self.flusher,
        )


@attrs.frozen(eq=False)
class UpgradedListener:
    """A carrier's listener whose pipes become connections."""

    transport: UpgradedTransport
    pipes: PipeListener

    @property
    def address(self) -> Multiaddr:
        """The address with its real port."""
        return self.pipes.address

    async def accept(self) -> "IncomingPipe":
        """The next pipe, as it is."""
        return IncomingPipe(self.transport, await self.pipes.accept())

    def close(self) -> None:
        """Stop listening."""
        self.pipes.close()


@attrs.frozen(eq=False)
class IncomingPipe:
    """An accepted pipe."""

    transport: UpgradedTransport
    pipe: Pipe

    @property
    def remote_address(self) -> Multiaddr:
        """Where it comes from."""
        return self.pipe.remote_address

    async def establish(self) -> MuxedConnection:
        """Upgrade it, as the listening side."""
        return await self.transport.upgrade(self.pipe, expected_peer=None, is_outbound=False)

    def refuse(self) -> None:
        """Close it, with a reset: nothing of ours waits in it."""
        self.pipe.close(is_abrupt=True)
