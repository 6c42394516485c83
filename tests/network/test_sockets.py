"""Whole nodes over TCP on loopback: real sockets, real time, real processes that are killed."""

import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE

import attrs
import pytest
import trio
from leanmesh.run import open_node
from leanmesh.service.node import Node
from leanmesh.service.params import NetworkParams
from leanmesh.settings import Settings
from network.nodes import TOPIC, check_books, collect, eventually, mesh_peers

CHILD = Path(__file__).with_name("child.py")
GAUGE = "lean_gossip_mesh_peers"
# What the gauge may be behind the truth.
LAG_LIMIT_S = 1.0


def on_loopback(*peers: str, **more) -> Settings:
    network = NetworkParams(
        listen=("/ip4/127.0.0.1/tcp/0",), peers=peers, topics=(TOPIC,), **{"signing": "none", **more}
    )
    return Settings(network=(network,))


def address(node: Node) -> str:
    return str(node.network().listen_addresses[0])


@asynccontextmanager
async def tcp_nodes(count: int, **more) -> AsyncIterator[list[Node]]:
    """Nodes in one process, each of which dials those before it; their books close in the end."""
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for _ in range(count):
            settings = on_loopback(*map(address, nodes), **more)
            nodes.append(await stack.enter_async_context(open_node(settings)))
        for node in nodes:
            await node.wait_for_mesh(TOPIC, count - 1, 20)
        yield nodes
        for node in nodes:
            await check_books(node)
            assert node.contained.counts == {}


@pytest.mark.parametrize("signing", ["none", "strict"])
async def test_every_message_of_five_nodes_reaches_the_others_once(nursery: trio.Nursery, signing: str):
    async with tcp_nodes(5, signing=signing) as nodes:
        inboxes = [await collect(nursery, node) for node in nodes]
        sent: dict[int, list[bytes]] = {number: [] for number in range(5)}
        for number in [*range(5)] * 10:
            data = b"%d from %d " % (len(sent[number]), number) + bytes(number * 5000)
            sent[number].append(data)
            await nodes[number].publish(TOPIC, data)
        for inbox in inboxes:
            await inbox.wait_for(40, timeout_s=20)
        await trio.sleep(0.5)
        everything = Counter(data for messages in sent.values() for data in messages)
        for number, inbox in enumerate(inboxes):
            assert Counter(inbox.data) == everything - Counter(sent[number])


async def test_a_burst_of_a_thousand_loses_nothing(nursery: trio.Nursery):
    async with tcp_nodes(3) as nodes:
        inboxes = [await collect(nursery, node, limit=2000) for node in nodes[1:]]
        sent = [number.to_bytes(4, "big") + bytes(1020) for number in range(1000)]
        for data in sent:
            receipt = await nodes[0].publish(TOPIC, data)
            assert (receipt.recipients, receipt.queued, receipt.dropped) == (2, 2, {})
        for inbox in inboxes:
            assert sorted(await inbox.wait_for(1000, timeout_s=30)) == sent


@attrs.define
class Child:
    """A node in a process of its own."""

    process: trio.Process
    _rest: bytes = b""

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def line(self, timeout_s: float = 30.0) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        with trio.fail_after(timeout_s):
            while b"\n" not in self._rest:
                chunk = await self.process.stdout.receive_some()
                assert chunk, "the child has ended"
                self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()


async def start_child(nursery: trio.Nursery, node: Node, rate_per_s: float = 0) -> Child:
    """A child that is in the mesh with a node."""
    command = [sys.executable, str(CHILD), address(node), str(rate_per_s)]
    process = await nursery.start(partial(trio.run_process, command, stdout=PIPE, check=False))
    child = Child(process)
    assert await child.line() == "ready"
    return child


async def test_a_peer_slower_than_a_burst_costs_bounded_memory_and_every_loss_is_said(
    nursery: trio.Nursery,
):
    async with tcp_nodes(2) as nodes:
        inbox = await collect(nursery, nodes[1], limit=5000)
        child = await start_child(nursery, nodes[0])
        await nodes[0].wait_for_mesh(TOPIC, 2, 20)
        # The process stalls: what arrives stays in the kernel, and then with us.
        child.signal(signal.SIGSTOP)
        queued = dropped = most_bytes = 0
        for number in range(3000):
            receipt = await nodes[0].publish(TOPIC, number.to_bytes(4, "big") + bytes(10_000))
            queued += receipt.queued
            dropped += receipt.dropped.get("full", 0)
            assert receipt.queued + receipt.dropped.get("full", 0) == receipt.recipients == 2
            most_bytes = max(most_bytes, max(info.outbox_bytes for info in nodes[0].peers()))
        child.signal(signal.SIGCONT)

        assert len(await inbox.wait_for(3000, timeout_s=60)) == 3000
        assert 0 < dropped < 3000
        assert most_bytes <= 16 * 1024 * 1024
        await check_books(nodes[0])
        lost = sum(nodes[0].metric("leanmesh_outbox_dropped_total", why) for why in ("full", "expired"))
        assert nodes[0].metric("leanmesh_outbox_dropped_total", "full") == dropped
        # Control has passed all that: the mesh stands, and what is said now arrives.
        assert len(nodes[0].mesh(TOPIC)) == 2
        await eventually(lambda: all(not info.outbox_messages for info in nodes[0].peers()), timeout_s=20)
        receipt = await nodes[0].publish(TOPIC, b"report", written_by=2)
        assert receipt.written == 2
        received = int((await child.line()).removeprefix("received "))
        assert 3000 - lost <= received <= 3000
        child.signal(signal.SIGKILL)


def mesh_size(node: Node) -> int:
    """Mesh peers of the networks that run."""
    running = [network_id for network_id, network in node.networks.items() if network.life is not None]
    return sum(len(mesh_peers(node, network_id)) for network_id in running)


async def follow(node: Node, truth: int) -> float:
    """Scrape until the gauge says what the meshes hold; how long that took from when they did.

    The end of a peer that was killed comes behind all that it had sent.
    """
    await eventually(lambda: mesh_size(node) == truth, timeout_s=20)
    began_s = trio.current_time()
    with trio.fail_after(10):
        while True:
            page = await node.snapshotter.page()
            if f"\n{GAUGE} {truth}\n".encode() in page.body:
                return trio.current_time() - began_s
            await trio.sleep(0.02)


@pytest.mark.slow
async def test_the_gauge_follows_within_a_second_while_messages_stream_through_the_node(
    nursery: trio.Nursery,
):
    """2,000 messages/s of 1 KiB, as far as the machine permits, and a mesh that changes in every way."""
    async with open_node(on_loopback()) as node:
        inbox = await collect(nursery, node, limit=100_000)
        children = [await start_child(nursery, node, rate_per_s) for rate_per_s in (2000, 0, 0)]
        await node.wait_for_mesh(TOPIC, 3, 20)
        assert await follow(node, 3) <= LAG_LIMIT_S

        children[1].signal(signal.SIGKILL)
        assert await follow(node, 2) <= LAG_LIMIT_S
        arrived = len(inbox.data)

        # A topic is left: with it the whole mesh.
        gossip = node.network().live.gossip
        gossip.leave(TOPIC)
        assert await follow(node, 0) <= LAG_LIMIT_S
        gossip.join(TOPIC)
        # Back-offs of 10 s after leaving, and a second of slack.
        await node.wait_for_mesh(TOPIC, 2, 30)
        assert await follow(node, len(mesh_peers(node))) <= LAG_LIMIT_S
        await inbox.wait_for(arrived + 1000, timeout_s=20)

        # The network is stopped, and started again where it was.
        params = attrs.evolve(node.network().params, listen=(address(node).partition("/p2p/")[0],))
        await node.stop_network(0)
        assert await follow(node, 0) <= LAG_LIMIT_S
        await node.start_network(params)
        await node.wait_for_mesh(TOPIC, 2, 30)
        assert await follow(node, 2) <= LAG_LIMIT_S
        await check_books(node)
        for child in (children[0], children[2]):
            child.signal(signal.SIGKILL)
        assert await follow(node, 0) <= LAG_LIMIT_S
        await check_books(node)
