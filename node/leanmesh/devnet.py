"""A network of peers in one process: who dials whom, who publishes what, and what became of it."""

import contextlib
import random
import struct
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import trio

from leanmesh.run import Node, Overflow, Ready, ReceivedMessage, run
from leanmesh.service.node import NobodyTakesTopic
from leanmesh.service.params import NetworkParams
from leanmesh.service.subscriptions import Subscription, SubscriptionClosed
from leanmesh.settings import Settings
from leanmesh.transport.memory import MemoryHost, MemoryNetwork

# Each peer dials so many of those that are there already: enough for one component and a full mesh.
DIALS = 8
# Each message begins with its publisher's number, its own, and when it was sent.
HEADER = struct.Struct(">IIQ")
LATENCY_SAMPLES = 2000
# How long the first messages wait for everyone to have a mesh.
MESH_TIMEOUT_S = 15.0
MESH_CHECK_S = 0.05


@attrs.frozen
class NodeStatus:
    """One peer of the network, for the display."""

    network_id: int
    peer_short: str
    peers: int
    mesh: int
    published: int
    delivered: int
    duplicates: int
    outbox: int


@attrs.frozen
class Share:
    """What one process does of a devnet in several: it connects its own peers, and publishes by them."""

    topic: str
    rate_per_s: float
    size_bytes: int

    async def run(self, node: Node) -> None:
        """Publish until cancelled.  What nobody takes, because the other processes are down, is left out."""
        networks = list(node.networks.values())
        for number, network in enumerate(networks):
            for other in networks[:number][-DIALS:]:
                await node.connect(other.listen_addresses[0], network_id=network.params.network_id)
        if not self.rate_per_s:
            await trio.sleep_forever()
        next_s = trio.current_time()
        while True:
            next_s += 1 / self.rate_per_s
            await trio.sleep_until(next_s)
            with contextlib.suppress(NobodyTakesTopic):
                network_id = random.choice(networks).params.network_id
                await node.publish(self.topic, random.randbytes(self.size_bytes), network_id=network_id)


def devnet_networks(nodes: int, topic: str, signing: str) -> tuple[NetworkParams, ...]:
    """The peers of a devnet in several processes, not yet knowing of each other."""
    return tuple(
        NetworkParams(
            network_id=network_id,
            listen=("/ip4/127.0.0.1/tcp/0",),
            topics=(topic,),
            signing="none" if signing == "none" else "strict",
        )
        for network_id in range(nodes)
    )


def with_dials(
    networks: tuple[NetworkParams, ...], known: Mapping[int, Sequence[str]]
) -> tuple[NetworkParams, ...]:
    """The networks of one process, dialing some of those that others run; `known` has their addresses."""
    own = {network.network_id for network in networks}
    others = [addresses[0] for network_id, addresses in known.items() if network_id not in own]
    return tuple(
        attrs.evolve(network, peers=tuple(random.sample(others, min(DIALS, len(others)))))
        for network in networks
    )


@attrs.define(eq=False)
class Devnet:
    """Peers that are networks of one node, so that one page shows them all.

    `rate_per_s` messages of `size_bytes` are published by peers chosen in turn
    by chance.  `seed` repeats the choices.
    """

    settings: Settings
    nodes: int = attrs.field(kw_only=True)
    is_in_memory: bool = attrs.field(default=False, kw_only=True)
    rate_per_s: float = attrs.field(default=10.0, kw_only=True)
    size_bytes: int = attrs.field(default=1024, kw_only=True)
    topic: str = attrs.field(default="devnet", kw_only=True)
    seed: int | None = attrs.field(default=None, kw_only=True)
    signing: str = attrs.field(default="strict", kw_only=True)
    published: dict[int, int] = attrs.field(factory=dict[int, int], init=False)
    delivered: dict[int, int] = attrs.field(factory=dict[int, int], init=False)
    expected: int = attrs.field(default=0, init=False)
    """Deliveries that the messages should cause: one to each peer that ran then, but the publisher."""
    _node: Node | None = attrs.field(default=None, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _keys: Path = attrs.field(default=Path(), init=False)
    _params: dict[int, NetworkParams] = attrs.field(factory=dict[int, NetworkParams], init=False)
    _random: Random = attrs.field(init=False)
    _publishing: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _published: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when the last message has been published and counted."""
    _counted: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _latencies_s: deque[float] = attrs.field(factory=lambda: deque(maxlen=LATENCY_SAMPLES), init=False)

    def __attrs_post_init__(self) -> None:
        self._random = Random(self.seed)

    @property
    def node(self) -> Node:
        """The node whose networks the peers are."""
        assert self._node is not None, "the devnet has not been started"
        return self._node

    @property
    def peer_ids(self) -> list[str]:
        """Who takes part, in the order of the network ids."""
        return [str(network.key.peer_id) for network in self.node.networks.values()]

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Run all peers until cancelled.  Started with the metrics' URL once every peer is dialed."""
        hosts = self._hosts()
        with TemporaryDirectory(prefix="leanmesh-devnet-") as folder:
            self._keys = Path(folder)
            await self._run(hosts, task_status)

    async def _run(self, hosts: dict[int, MemoryHost], task_status: trio.TaskStatus[str]) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            settings = attrs.evolve(self.settings, network=())
            ready: Ready = await nursery.start(partial(run, settings, hosts=hosts, seed=self.seed))
            self._node = ready.node
            for network_id in range(self.nodes):
                await self.start_peer(network_id)
            task_status.started(ready.metrics_url)
            await self._wait_for_meshes()
            with self._publishing:
                await self._publish_forever()
            self._published.set()
            await trio.sleep_forever()

    async def settle(self, timeout_s: float) -> None:
        """Publish no more, and wait until everything has arrived, or until it is too late."""
        self._publishing.cancel()
        with trio.move_on_after(timeout_s):
            await self._published.wait()
            while sum(self.delivered.values()) < self.expected:
                await self._counted.park()

    def _hosts(self) -> dict[int, MemoryHost]:
        if not self.is_in_memory:
            return {}
        memory = MemoryNetwork()
        return {network_id: memory.host(f"10.0.0.{network_id + 1}") for network_id in range(self.nodes)}

    def is_settled(self, network_id: int) -> bool:
        """Whether a peer runs, stays for now, and has a mesh."""
        network = self.node.networks.get(network_id)
        if network is None or network.life is None or network.is_stopping:
            return False
        return bool(self.node.mesh(self.topic, network_id))

    async def stop_peer(self, network_id: int) -> None:
        """Stop one peer cleanly; `start_peer` brings it back."""
        await self.node.stop_network(network_id)

    async def start_peer(self, network_id: int) -> None:
        """Start one peer, with the key and the place it had before if it ran before."""
        assert self._nursery is not None, "the devnet has not been started"
        params = self._params.get(network_id)
        if params is None:
            others = [network for other, network in self.node.networks.items() if other != network_id]
            dialed = self._random.sample(others, min(DIALS, len(others)))
            listen = "/ip4/0.0.0.0/tcp/0" if self.is_in_memory else "/ip4/127.0.0.1/tcp/0"
            params = NetworkParams(
                network_id=network_id,
                key_file=str(self._keys / f"{network_id}.key"),
                listen=(listen,),
                peers=tuple(str(network.listen_addresses[0]) for network in dialed),
                topics=(self.topic,),
                signing="none" if self.signing == "none" else "strict",
            )
            self.published[network_id] = self.delivered[network_id] = 0
        network = await self.node.start_network(params)
        self._params[network_id] = attrs.evolve(
            params, listen=tuple(str(address.without_peer()) for address in network.listen_addresses)
        )
        subscription = network.deliveries.subscribe(self.topic, Overflow.DROP_OLDEST)
        self._nursery.start_soon(self._consume, network_id, subscription)

    async def _wait_for_meshes(self) -> None:
        """Wait, not for ever, until those who run have meshes: peers may be stopped and started meanwhile."""
        with trio.move_on_after(MESH_TIMEOUT_S):
            while True:
                if self._have_meshes():
                    return
                await trio.sleep(MESH_CHECK_S)

    def _have_meshes(self) -> bool:
        networks = self.node.networks
        wanted = min(self.settings.gossip.mesh_low, len(networks) - 1)
        return all(
            network.life is not None and len(self.node.mesh(self.topic, network_id)) >= wanted
            for network_id, network in networks.items()
        )

    async def _publish_forever(self) -> None:
        if not self.rate_per_s:
            await trio.sleep_forever()
        next_s = trio.current_time()
        number = 0
        while True:
            next_s += 1 / self.rate_per_s
            await trio.sleep_until(next_s)
            publishers = [network_id for network_id in self.node.networks if self.is_settled(network_id)]
            if not publishers:
                continue
            network_id = self._random.choice(publishers)
            number += 1
            header = HEADER.pack(network_id, number, int(trio.current_time() * 1e9))
            payload = header + self._random.randbytes(self.size_bytes - len(header))
            await self.node.publish(self.topic, payload, network_id=network_id)
            self.published[network_id] += 1
            self.expected += len(self.node.networks) - 1

    async def _consume(self, network_id: int, subscription: Subscription) -> None:
        # The peer's end is the subscription's, also when it comes before the beginning.
        with suppress(SubscriptionClosed):
            async with subscription:
                while True:
                    self._count(network_id, await subscription.receive_batch())

    def _count(self, network_id: int, messages: list[ReceivedMessage]) -> None:
        self.delivered[network_id] += len(messages)
        self._counted.unpark_all()
        for message in messages:
            sent_ns = HEADER.unpack_from(message.data)[2]
            self._latencies_s.append(message.received_at_s - sent_ns / 1e9)

    # What it looks like.

    def statuses(self) -> list[NodeStatus]:
        """Every peer that runs now."""
        return [self._status(network_id) for network_id in self.node.networks]

    def _status(self, network_id: int) -> NodeStatus:
        network = self.node.network(network_id)
        links = network.life.gossip.links if network.life else {}
        return NodeStatus(
            network_id=network_id,
            peer_short=network.key.peer_id.short,
            peers=len(links),
            mesh=len(self.node.mesh(self.topic, network_id)) if network.life else 0,
            published=self.published[network_id],
            delivered=self.delivered[network_id],
            duplicates=network.duplicates,
            outbox=sum(link.outbox.count for link in links.values()),
        )

    def totals(self) -> dict[str, Any]:
        """Sums over all peers."""
        delivered = sum(self.delivered.values())
        return {
            "peers": len(self.node.networks),
            "published": sum(self.published.values()),
            "delivered": delivered,
            "duplicates": sum(network.duplicates for network in self.node.networks.values()),
            "missing": self.expected - delivered,
        }

    def latency_s(self) -> tuple[float, float]:
        """Median and 99th percentile of the last deliveries, from publishing to arrival; NaN before any."""
        ordered = sorted(self._latencies_s)
        if not ordered:
            return float("nan"), float("nan")
        return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
