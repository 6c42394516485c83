"""Our node among peers that others wrote: everything published by anyone reaches everyone once."""

import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack

import attrs
import leanmesh
import pytest
import trio
from interop.build import LANGUAGES
from interop.peers import Peer

TOPIC = "news"
COUNT = 10
SIZE = 1024
FORM_TIMEOUT_S = 60.0
DELIVERY_TIMEOUT_S = 60.0

pytestmark = [pytest.mark.timeout(300), pytest.mark.interop(*LANGUAGES)]


async def open_ours(stack: AsyncExitStack, signing: str, addresses: list[str]) -> leanmesh.Node:
    network = leanmesh.NetworkParams(
        listen=("/ip4/127.0.0.1/tcp/0",), peers=tuple(addresses), topics=(TOPIC,), signing=signing
    )
    return await stack.enter_async_context(leanmesh.open_node(leanmesh.Settings(network=(network,))))


def address_of(node: leanmesh.Node) -> str:
    return str(node.network().listen_addresses[0])


def peer_id_of(node: leanmesh.Node) -> str:
    return str(node.network().key.peer_id)


def mesh_of(node: leanmesh.Node) -> set[str]:
    return {str(peer) for peer in node.mesh(TOPIC)}


async def until_at_rest(nodes: list[leanmesh.Node], peers: list[Peer]) -> None:
    """Wait until everyone knows everyone, meshes agree from both ends, and ours have peers of every kind."""
    kinds = {peer.peer_id: peer.language for peer in peers} | {peer_id_of(node): "ours" for node in nodes}

    def meshes() -> dict[str, set[str]]:
        told = {peer.peer_id: set(peer.mesh(TOPIC) or ()) for peer in peers}
        return told | {peer_id_of(node): mesh_of(node) for node in nodes}

    def is_at_rest() -> bool:
        found = meshes()
        return (
            all(len({said["peer"] for said in peer.all("subscribed")}) == len(kinds) - 1 for peer in peers)
            and all(one in found[other] for one, mesh in found.items() for other in mesh)
            and all({kinds[member] for member in mesh_of(node)} >= set(LANGUAGES) for node in nodes)
        )

    with trio.move_on_after(FORM_TIMEOUT_S):
        while not is_at_rest():
            await trio.sleep(0.1)
    assert is_at_rest(), meshes()


@attrs.define
class Ours:
    """One of our nodes, what it published and what it received, as SHA-256 of the data."""

    node: leanmesh.Node
    published: list[str] = attrs.field(factory=list)
    received: Counter[str] = attrs.field(factory=Counter)

    async def receive(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with self.node.subscribe(TOPIC) as messages:
            task_status.started()
            async for message in messages:
                self.received[digest(message.data)] += 1

    async def publish(self) -> None:
        for number in range(COUNT):
            data = f"{peer_id_of(self.node)} {number} ".encode().ljust(SIZE, b".")
            self.published.append(digest(data))
            await self.node.publish(TOPIC, data)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("signing", ["strict", "none"])
async def test_a_mixed_network_delivers_everything_to_everyone_once(
    start, nursery: trio.Nursery, signing: str
):
    options = ("--topic", TOPIC, "--signing", signing, "--hold", "--count", COUNT, "--publish-rate", 20)
    peers: list[Peer] = []
    ours: list[Ours] = []
    async with AsyncExitStack() as stack:
        for kind in ("go", "ours", "js", "py", "go", "js", "ours", "py"):
            known = [peer.address for peer in peers] + [address_of(one.node) for one in ours]
            if kind == "ours":
                ours.append(Ours(await open_ours(stack, signing, known)))
                await nursery.start(ours[-1].receive)
            else:
                dialed = [word for each in known for word in ("--peer", each)]
                peers.append(await start(kind, *options, *dialed))
        await until_at_rest([one.node for one in ours], peers)

        for peer in peers:
            await peer.command("publish")
        for one in ours:
            await one.publish()
        for peer in peers:
            await peer.expect("published_all")

        by_peers = {peer.peer_id: [said["sha256"] for said in peer.all("published")] for peer in peers}
        by_us = {peer_id_of(one.node): one.published for one in ours}
        published = by_peers | by_us
        everything = Counter(each for several in published.values() for each in several)
        assert everything.total() == len(everything) == COUNT * (len(peers) + len(ours))
        received: dict[str, Callable[[], Counter[str]]] = {
            peer.peer_id: lambda p=peer: Counter(said["sha256"] for said in p.all("message"))
            for peer in peers
        }
        received |= {peer_id_of(one.node): lambda o=one: o.received for one in ours}
        wanted = {who: everything - Counter(own) for who, own in published.items()}
        with trio.move_on_after(DELIVERY_TIMEOUT_S):
            while any(received[who]().total() < wanted[who].total() for who in wanted):
                await trio.sleep(0.05)
        names = {peer.peer_id: f"{peer.language} {number}" for number, peer in enumerate(peers)}
        names |= {who: f"ours {number}" for number, who in enumerate(by_us)}
        found = {who: received[who]() for who in wanted}
        # Each message that is not everywhere once: whose it is, who lacks it, and who has it twice.
        wrong = {
            f"{each[:8]} by {names[author]}": (
                [names[who] for who in wanted if wanted[who][each] > found[who][each]],
                [names[who] for who in wanted if wanted[who][each] < found[who][each]],
            )
            for author, several in published.items()
            for each in several
            if any(wanted[who][each] != found[who][each] for who in wanted)
        }
        assert wrong == {}
        assert {who: got.total() for who, got in found.items()} == {
            who: want.total() for who, want in wanted.items()
        }
