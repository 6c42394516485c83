"""Whole nodes on one network in memory: raised, stopped, killed and started again under their keys.

Every node is an `open_node` of its own.  Whenever one stops its books must
close and its gauge must have told the truth.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

import attrs
import trio
from leanmesh.gossip.params import GossipParams
from leanmesh.identity.key_file import read_or_create_key_file
from leanmesh.identity.peer_id import PeerId
from leanmesh.metrics.params import CollectorParams, LagParams
from leanmesh.run import open_node
from leanmesh.service.node import Node
from leanmesh.service.params import NetworkParams, ServiceParams
from leanmesh.settings import Settings
from leanmesh.transport.assembly import memory_switch
from leanmesh.transport.interface import Connection, StreamHandler
from leanmesh.transport.memory import MemoryNetwork
from leanmesh.transport.memory_pipe import Link
from leanmesh.transport.params import TransportParams
from leanmesh.transport.switch import Switch
from leanmesh.wire.multiaddr import Multiaddr

TOPIC = "news"
BOUNDARIES = ("inbound", "delivery", "outbound")
PORT = 9000


async def check_books(node: Node) -> None:
    """Every boundary balances, now; and the gauge of mesh peers tells what the meshes hold."""
    await node.refresh_metrics()
    balances = {name: node.metric("leanmesh_messages_balance", name) for name in BOUNDARIES}
    assert balances == dict.fromkeys(BOUNDARIES, 0)
    for network_id, network in node.networks.items():
        if network.life is not None:
            assert node.metric("leanmesh_network_mesh_peers", str(network_id)) == len(
                mesh_peers(node, network_id)
            )


def mesh_peers(node: Node, network_id: int | None = None) -> set[PeerId]:
    """The distinct peers of all meshes, counted here and not by the node."""
    view = node.network(network_id).live.gossip.router.view
    return {peer for topic in view.topics for peer in view.mesh(topic)}


@attrs.define(eq=False)
class Running:
    """One node and what ends it."""

    node: Node
    stop: trio.Event
    scope: trio.CancelScope
    has_ended: trio.Event


@attrs.define(eq=False)
class Nodes:
    """Nodes by number.  Node n has the address 10.0.0.n and a key that stays its own."""

    nursery: trio.Nursery
    keys: Path
    memory: MemoryNetwork = attrs.field(factory=lambda: MemoryNetwork(Link(latency_s=0.01)))
    gossip: GossipParams = attrs.field(factory=GossipParams)
    service: ServiceParams = attrs.field(factory=ServiceParams)
    transport: TransportParams = attrs.field(factory=TransportParams)
    collector: CollectorParams = attrs.field(factory=CollectorParams)
    lag: LagParams = attrs.field(factory=LagParams)
    running: dict[int, Running] = attrs.field(factory=dict[int, Running])
    strangers: list[Switch] = attrs.field(factory=list[Switch])
    contained: dict[str, int] = attrs.field(factory=dict[str, int])
    """Errors that a test expects to have been contained."""

    def __getitem__(self, number: int) -> Node:
        return self.running[number].node

    def __iter__(self) -> Iterator[Node]:
        return iter([running.node for running in self.running.values()])

    def ip(self, number: int) -> str:
        return f"10.0.0.{number}"

    def key_file(self, number: int) -> Path:
        return self.keys / f"{number}.key"

    def peer(self, number: int) -> PeerId:
        return read_or_create_key_file(self.key_file(number)).peer_id

    def address(self, number: int) -> str:
        """Where a node can be dialed, whether it runs or not."""
        return f"/ip4/{self.ip(number)}/tcp/{PORT}/p2p/{self.peer(number)}"

    async def connect_again(self, number: int, other: int) -> Connection:
        """One connection more from one node to another, beside those that there are."""
        switch = self[number].network().live.switch
        held = switch._connections.pop(self.peer(other), [])
        try:
            return await switch.dial(Multiaddr.from_text(self.address(other)))
        finally:
            switch._connections[self.peer(other)][:0] = held

    async def start(
        self, number: int, *, dials: Iterable[int] = (), topics: tuple[str, ...] = (TOPIC,), **params
    ) -> Node:
        """Start a node that keeps connections to others; `params` are more of NetworkParams."""
        network = NetworkParams(
            key_file=str(self.key_file(number)),
            listen=(f"/ip4/{self.ip(number)}/tcp/{PORT}",),
            peers=tuple(self.address(other) for other in dials),
            topics=topics,
            **{"signing": "none", **params},
        )
        settings = Settings(
            network=(network,),
            gossip=self.gossip,
            service=self.service,
            collector=self.collector,
            transport=self.transport,
            lag=self.lag,
        )
        await self.nursery.start(self._run, number, settings)
        return self[number]

    async def start_all(self, count: int, **params) -> list[Node]:
        """Nodes 1 to `count`; each dials all those before it."""
        return [await self.start(number, dials=range(1, number), **params) for number in range(1, count + 1)]

    async def _run(self, number: int, settings: Settings, *, task_status: trio.TaskStatus[None]) -> None:
        hosts = {network.network_id: self.memory.host(self.ip(number)) for network in settings.network}
        has_ended = trio.Event()
        with trio.CancelScope() as scope:
            async with open_node(settings, hosts=hosts, seed=number) as node:
                running = self.running[number] = Running(node, trio.Event(), scope, has_ended)
                task_status.started()
                await running.stop.wait()
                await check_books(node)
                assert node.contained.counts == self.contained
                await node.stop()
                await check_books(node)
                assert node.metric("lean_gossip_mesh_peers") == 0
                assert node.metric("lean_connected_peers") == 0
        has_ended.set()

    async def stranger(self, number: int, handlers: dict[str, StreamHandler] | None = None) -> Switch:
        """A host that speaks only what a test has it speak."""
        key = read_or_create_key_file(self.key_file(number))
        switch = memory_switch(self.memory.host(self.ip(number)), key, self.transport, Random(number))
        switch.handlers.update(handlers or {})
        await self.nursery.start(switch.run)
        await switch.listen(Multiaddr.from_text(f"/ip4/{self.ip(number)}/tcp/{PORT}"))
        self.strangers.append(switch)
        return switch

    async def stop(self, number: int) -> None:
        """Stop a node cleanly."""
        running = self.running.pop(number)
        running.stop.set()
        await running.has_ended.wait()

    async def kill(self, number: int, *, is_silent: bool = False) -> None:
        """End a node as a crash of its machine would, or of its process: without a word to anyone."""
        self.memory.cut(self.ip(number), is_silent=is_silent)
        running = self.running.pop(number)
        running.scope.cancel()
        await running.has_ended.wait()

    async def stop_all(self) -> None:
        for stranger in self.strangers:
            await stranger.aclose()
        for number in tuple(self.running):
            await self.stop(number)

    async def wait_for_meshes(self, count: int, timeout_s: float = 10.0) -> None:
        """Wait until every node has so many peers in its mesh."""
        for node in self:
            await node.wait_for_mesh(TOPIC, count, timeout_s)


@attrs.define(eq=False)
class Inbox:
    """What one subscription received."""

    data: list[bytes] = attrs.field(factory=list[bytes])
    _news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    async def collect(self, node: Node, *, task_status: trio.TaskStatus["Inbox"], **how) -> None:
        async with node.subscribe(TOPIC, **how) as messages:
            task_status.started(self)
            async for message in messages:
                self.data.append(message.data)
                self._news.unpark_all()

    async def wait_for(self, count: int, timeout_s: float = 10.0) -> list[bytes]:
        with trio.fail_after(timeout_s):
            while len(self.data) < count:
                await self._news.park()
        return self.data


async def collect(nursery: trio.Nursery, node: Node, **how) -> Inbox:
    """Start to collect what a node receives."""

    async def run(*, task_status: trio.TaskStatus[Inbox]) -> None:
        await Inbox().collect(node, task_status=task_status, **how)

    return await nursery.start(run)


async def eventually(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Look every 10 ms of the clock whether something holds; fail when it does not in time."""
    with trio.fail_after(timeout_s):
        while not condition():
            await trio.sleep(0.01)


async def cancel_after(turns: int, scope: trio.CancelScope) -> None:
    """Cancel when so many turns of the loop have passed."""
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    scope.cancel()
