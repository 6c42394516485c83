"""Switches for tests: on TCP, in memory, in memory with Noise; and an observer that remembers."""

import random
from collections.abc import Callable

import attrs
import trio
from leanmesh.identity.keys import KeyKind, PrivateKey
from leanmesh.identity.peer_id import PeerId
from leanmesh.transport.assembly import memory_switch, tcp_switch
from leanmesh.transport.memory import MemoryNetwork
from leanmesh.transport.observer import TransportObserver
from leanmesh.transport.params import ConnectionParams, TransportParams
from leanmesh.transport.switch import Switch
from leanmesh.wire.multiaddr import Multiaddr
from leanmesh.wire.yamux_params import YamuxParams

KINDS = ("tcp", "memory", "memory+noise")


def address(text: str) -> Multiaddr:
    return Multiaddr.from_text(text)


@attrs.define
class Recorder(TransportObserver):
    """Remembers what was observed, as texts in order, and how many bytes passed."""

    events: list[str] = attrs.field(factory=list)
    received_bytes: int = 0
    sent_bytes: int = 0

    def dial_failed(self, transport, error, duration_s):
        self.events.append(f"dial failed: {error.step}: {error.kind}")

    def accept_failed(self, transport, error, duration_s):
        self.events.append(f"accept failed: {error.step}: {error.kind}")

    def refused(self, transport, limit):
        self.events.append(f"refused: {limit}")

    def bytes_received(self, transport, size_bytes):
        self.received_bytes += size_bytes

    def bytes_sent(self, transport, size_bytes):
        self.sent_bytes += size_bytes

    def connection_opened(self, connection):
        self.events.append(f"opened: {'outbound' if connection.is_outbound else 'inbound'}")

    def connection_closed(self, connection, reason, detail):
        self.events.append(f"closed: {reason}: {detail}")


def params(*, yamux: dict | None = None, connection: dict | None = None, **limits) -> TransportParams:
    connection_params = ConnectionParams(yamux=YamuxParams(**(yamux or {})), **(connection or {}))
    return TransportParams(connection=connection_params, **limits)


def peer_ids(count: int) -> list[PeerId]:
    """Peer ids in rising order, from fixed keys."""
    keys = (PrivateKey.of_kind(KeyKind.ED25519, bytes([number]) * 32) for number in range(1, count + 1))
    return sorted(key.peer_id for key in keys)


@attrs.define
class Nodes:
    """Makes switches of one kind, each on a host of its own, and runs them in one nursery."""

    kind: str
    nursery: trio.Nursery
    network: MemoryNetwork = attrs.field(factory=MemoryNetwork)
    count: int = 0

    async def start(
        self, node_params: TransportParams | None = None, *, peer: PeerId | None = None
    ) -> Switch:
        self.count += 1
        node_params = node_params or TransportParams()
        ip = "127.0.0.1" if self.kind == "tcp" else f"10.0.0.{self.count}"
        identity = PrivateKey.generate()
        generator = random.Random(self.count)
        observer = Recorder()
        if self.kind == "tcp":
            switch = tcp_switch(identity, node_params, generator, observer)
        elif self.kind == "memory+noise":
            switch = memory_switch(self.network.host(ip), identity, node_params, generator, observer)
        else:
            peer = peer or identity.peer_id
            switch = memory_switch(self.network.host(ip), peer, node_params, generator, observer)
        await self.nursery.start(switch.run)
        await switch.listen(address(f"/ip4/{ip}/tcp/0"))
        return switch


def address_of(switch: Switch) -> Multiaddr:
    return switch.listen_addresses[0].with_peer(switch.local_peer)


async def until(condition: Callable[[], object]) -> None:
    """Let other tasks work until something holds; the test's timeout is the limit."""
    while not condition():
        await trio.sleep(0.001)
