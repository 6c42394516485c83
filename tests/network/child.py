"""One node in a process of its own, for tests that stop and kill it: `child.py ADDRESS RATE_PER_S`.

It dials ADDRESS, takes the topic and publishes RATE_PER_S messages of 1 KiB.
A message that says `report` has it print how many others it received before.
"""

import os
import sys

import trio
from leanmesh.run import open_node
from leanmesh.service.node import Node
from leanmesh.service.params import NetworkParams
from leanmesh.service.subscriptions import Overflow
from leanmesh.settings import Settings

TOPIC = "news"
TICK_S = 0.01


def say(text: str) -> None:
    print(text, flush=True)


async def publish(node: Node, rate_per_s: float) -> None:
    owed, number = 0.0, 0
    while True:
        owed += rate_per_s * TICK_S
        while owed >= 1:
            owed -= 1
            number += 1
            header = os.getpid().to_bytes(4, "big") + number.to_bytes(4, "big")
            await node.publish(TOPIC, header + bytes(1016))
        await trio.sleep(TICK_S)


async def count(node: Node) -> None:
    received = 0
    # A burst may be longer than a queue: what is counted is what arrived, not what was kept.
    async with node.subscribe(TOPIC, overflow=Overflow.WAIT) as messages:
        async for message in messages:
            if message.data == b"report":
                say(f"received {received}")
            received += 1


async def main(address: str, rate_per_s: float) -> None:
    network = NetworkParams(listen=(), peers=(address,), topics=(TOPIC,), signing="none")
    async with open_node(Settings(network=(network,))) as node, trio.open_nursery() as nursery:
        nursery.start_soon(count, node)
        await node.wait_for_mesh(TOPIC, 1, 30)
        say("ready")
        nursery.start_soon(publish, node, rate_per_s)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], float(sys.argv[2]))
