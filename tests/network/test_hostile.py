"""Strangers that send anything on any protocol: they may lose their connections, and nobody else notices."""

from random import Random

import pytest
import trio
from leanmesh.errors import LocalError, RemoteError
from leanmesh.service.requests import Responder
from leanmesh.transport.interface import Stream
from leanmesh.wire.multiaddr import Multiaddr
from network.nodes import TOPIC, Nodes, check_books, collect

GOSSIPSUB = "/meshsub/1.2.0"
ECHO = "/test/echo/1"
PROTOCOLS = (
    GOSSIPSUB,
    GOSSIPSUB,
    "/floodsub/1.0.0",
    "/ipfs/id/push/1.0.0",
    "/ipfs/ping/1.0.0",
    "/ipfs/id/1.0.0",
    ECHO,
)

# Honest parts to start from: SUBSCRIBE, a message, GRAFT, PRUNE, IHAVE, IWANT, IDONTWANT.
PARTS = (
    b"\x0a\x08\x08\x01\x12\x04news",
    b"\x12\x0c\x12\x04data\x22\x04news",
    b"\x1a\x08\x1a\x06\x0a\x04news",
    b"\x1a\x0a\x22\x08\x0a\x04news\x18\x3c",
    b"\x1a\x0c\x0a\x0a\x0a\x04news\x12\x02id",
    b"\x1a\x06\x12\x04\x0a\x02id",
    b"\x1a\x06\x2a\x04\x0a\x02id",
)


def said(random: Random) -> bytes:
    """One to ten frames: of honest parts, of broken ones, of noise."""
    frames = b""
    for _ in range(random.randint(1, 10)):
        body = bytearray(b"".join(random.choices(PARTS, k=random.randint(1, 6))))
        if random.random() < 0.3:
            for _ in range(random.randint(1, 4)):
                body[random.randrange(len(body))] = random.randrange(256)
        if random.random() < 0.1:
            body = bytearray(random.randbytes(random.randint(0, 400)))
        length = len(body) + (random.choice([-1, 1, 100]) if random.random() < 0.05 else 0)
        frames += bytes((length & 0x7F | 0x80, length >> 7 & 0x7F)) + bytes(body)
    return frames


async def annoy(nodes: Nodes, random: Random, stranger, until_s: float) -> None:
    while trio.current_time() < until_s:
        try:
            connection = await stranger.dial(Multiaddr.from_text(nodes.address(1)), ignore_backoff=True)
            for _ in range(random.randint(1, 5)):
                stream = await connection.open_stream([random.choice(PROTOCOLS)])
                await stream.send_all(said(random))
                await trio.sleep(random.choice([0, 0.01, 1.2]))
                if random.random() < 0.3:
                    stream.reset()
                elif random.random() < 0.3:
                    await stream.aclose()
        except (RemoteError, LocalError):
            await trio.sleep(random.uniform(0, 0.5))


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_strangers_send_the_node_and_its_friends_go_on(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery, seed: int
):
    random = Random(seed)
    await nodes.start_all(3)
    await nodes.wait_for_meshes(2)
    node = nodes[1]

    async def echo(peer, data: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return data

    async def hear(stream: Stream) -> None:
        while await stream.receive_some():
            if random.random() < 0.02:
                await stream.send_all(b"nonsense")

    node.add_responder(Responder(ECHO, echo, node.contained))
    inboxes = [await collect(nursery, nodes[number]) for number in (2, 3)]
    async with trio.open_nursery() as strangers:
        for number in range(4, 10):
            stranger = await nodes.stranger(number, {GOSSIPSUB: hear})
            strangers.start_soon(annoy, nodes, random, stranger, trio.current_time() + 30)
        for number in range(30):
            await node.publish(TOPIC, b"friends %d" % number)
            await trio.sleep(1)
            await check_books(node)

    for inbox in inboxes:
        friendly = [data for data in inbox.data if data.startswith(b"friends")]
        assert sorted(friendly) == sorted(b"friends %d" % number for number in range(30))
    assert node.restarts == {0: 0}
    assert {nodes.peer(2), nodes.peer(3)} <= set(node.mesh(TOPIC))
    # Something was sent that deserved it.
    await node.refresh_metrics()
    assert node.metric("lean_peer_disconnection_events_total", "inbound", "error") > 0
