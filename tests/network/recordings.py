"""Networks that are recorded: five of them in one node, of which few talk to whom is chosen by chance."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from leanmesh.gossip.intake import Intake
from leanmesh.gossip.params import GossipParams
from leanmesh.run import open_node
from leanmesh.service.node import Node
from leanmesh.service.params import NetworkParams, RecordParams, ServiceParams
from leanmesh.settings import Settings
from leanmesh.transport.memory import MemoryNetwork

# Meshes so small, and so few peers told of the rest, that much is chosen by chance.
CHOOSY = GossipParams(
    heartbeat_interval_s=0.1,
    validation_timeout_s=0.5,
    mesh_target=1,
    mesh_low=1,
    mesh_high=1,
    mesh_best=0,
    mesh_outbound=0,
    gossip_peers=1,
    gossip_factor=0.0,
)
TOPIC = "news"
OTHER = "weather"
NODES = 5


def network(number: int, **params) -> NetworkParams:
    # Some speak with signatures, and the others could not talk to them: two networks of their own.
    signing = "strict" if number < 3 else "none"
    given = {"topics": (TOPIC,), "signing": signing, "listen": ("/ip4/0.0.0.0/tcp/9000",), **params}
    return NetworkParams(network_id=number, **given)


@asynccontextmanager
async def recording(
    folder: Path | None, count: int = NODES, gossip: GossipParams | None = None, **record
) -> AsyncIterator[Node]:
    """A node whose networks know each other, and are recorded."""
    memory = MemoryNetwork()
    hosts = {number: memory.host(f"10.0.0.{number + 1}") for number in range(count)}
    settings = Settings(
        network=tuple(map(network, range(count))),
        gossip=gossip or GossipParams(heartbeat_interval_s=0.1),
        record=RecordParams(folder=None if folder is None else str(folder), **record),
        service=ServiceParams(restart_first_s=0.05),
    )
    async with open_node(settings, hosts=hosts) as node:
        for number in range(1, count):
            for other in range(number):
                await node.connect(node.network(other).listen_addresses[0], network_id=number)
        for number in range(count):
            await node.wait_for_mesh(TOPIC, 1, 10, number)
        yield node


def files(folder: Path, number: int = 0) -> list[Path]:
    return sorted(folder.glob(f"network-{number}-*.record"))


def kinds(path: Path) -> Counter[str]:
    return Counter(json.loads(line)[1] for line in path.read_text().splitlines()[1:])


def break_at(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """A bug of ours: there is one message that the router cannot stand."""
    on_message = Intake.on_message

    def fail(intake: Intake, peer, message, now_s: float) -> None:
        if message.data == data:
            raise ZeroDivisionError(f"a bug of ours in {object()}")
        on_message(intake, peer, message, now_s)

    monkeypatch.setattr(Intake, "on_message", fail)


def is_listening(node: Node, number: int) -> bool:
    life = node.network(number).life
    return life is not None and bool(life.switch.listen_addresses)


async def fails(node: Node, number: int, data: bytes) -> None:
    """Publish to a network what breaks another, and wait until that runs again."""
    restarts = node.restarts[number]
    await node.publish(TOPIC, data, network_id=1 - number)
    with trio.fail_after(10):
        while node.restarts[number] == restarts or not is_listening(node, number):
            await trio.sleep(0.01)
