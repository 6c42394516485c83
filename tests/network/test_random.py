"""Anything in any order: nodes start, stop, fall silent, part, subscribe and publish; then they rest.

At rest the books close, the gauges tell the truth, nobody is left without a
mesh, and what was published while the network was whole has reached everyone.
"""

import contextlib
from collections import Counter
from random import Random

import attrs
import pytest
import trio
from leanmesh.errors import LocalError
from leanmesh.service.subscriptions import Overflow, SubscriptionClosed
from network.nodes import TOPIC, Nodes, check_books, eventually

COUNT = 5
STEPS = 25
# Silent connections are given up after 25 s, peers dialed again at most 60 s later.
REST_S = 150.0


@attrs.define(eq=False)
class Storm:
    """What happens to five nodes, drawn from one generator."""

    nodes: Nodes
    random: Random
    received: dict[int, list[bytes]] = attrs.field(factory=dict)
    published: int = 0
    log: list[str] = attrs.field(factory=list)

    async def start(self, number: int) -> None:
        others = [other for other in range(1, COUNT + 1) if other != number]
        node = await self.nodes.start(number, dials=others)
        self.nodes.nursery.start_soon(self._consume, number, node)

    async def _consume(self, number: int, node) -> None:
        overflow = self.random.choice(list(Overflow))
        received = self.received[number] = []
        # Closed at once when the node is stopped before this begins.
        with contextlib.suppress(SubscriptionClosed):
            async with node.subscribe(TOPIC, overflow=overflow) as messages:
                while True:
                    received += [message.data for message in await messages.receive_batch()]

    async def publish(self, number: int) -> bytes:
        self.published += 1
        data = self.published.to_bytes(4, "big") + bytes(self.random.choice([0, 500, 5000, 200_000]))
        await self.nodes[number].publish(TOPIC, data, timeout_s=0.5)
        return data

    async def step(self) -> None:
        running = list(self.nodes.running)
        number = self.random.randint(1, COUNT)
        action = self.random.choice(
            [
                "publish",
                "publish",
                "publish",
                "end",
                "end",
                "partition",
                "heal",
                "cut",
                "topic",
                "network",
                "wait",
            ]
        )
        self.log.append(f"{action} {number}")
        if number not in running:
            await self.start(number)
        elif action == "publish":
            for _ in range(self.random.randint(1, 20)):
                try:
                    await self.publish(number)
                except LocalError:
                    break
        elif action == "end":
            if self.random.random() < 0.4:
                await self.nodes.stop(number)
            else:
                await self.nodes.kill(number, is_silent=self.random.random() < 0.5)
        elif action == "partition":
            group = self.random.sample(range(1, COUNT + 1), 2)
            rest = [other for other in range(1, COUNT + 1) if other not in group]
            self.nodes.memory.partition(map(self.nodes.ip, group), map(self.nodes.ip, rest))
        elif action == "heal":
            self.nodes.memory.heal()
        elif action == "cut":
            other = self.random.choice([other for other in range(1, COUNT + 1) if other != number])
            self.nodes.memory.cut(
                self.nodes.ip(number), self.nodes.ip(other), is_silent=self.random.random() < 0.5
            )
        elif action == "topic":
            async with self.nodes[number].subscribe(self.random.choice(["other", "more"])):
                await trio.sleep(self.random.uniform(0, 3))
        elif action == "network":
            node = self.nodes[number]
            params = node.network().params
            await node.stop_network(0)
            await trio.sleep(self.random.uniform(0, 2))
            await node.start_network(params)
            self.nodes.nursery.start_soon(self._consume, number, node)
        await trio.sleep(self.random.choice([0.0, 0.003, 0.02, 0.3, 2.0, 30.0]))
        for node in self.nodes:
            await check_books(node)

    async def rest(self) -> None:
        """Everyone is there, the network is whole, and all have found each other."""
        self.nodes.memory.heal()
        for number in range(1, COUNT + 1):
            if number not in self.nodes.running:
                await self.start(number)
        await trio.sleep(REST_S)
        for number in range(1, COUNT + 1):
            others = {self.nodes.peer(other) for other in range(1, COUNT + 1) if other != number}
            assert {info.peer for info in self.nodes[number].peers()} == others, self.log
            assert set(self.nodes[number].mesh(TOPIC)) <= others
            view = self.nodes[number].network().live.gossip.router.view
            assert set(view.topic_peers(TOPIC)) == others, self.log
            await check_books(self.nodes[number])
            assert self.nodes[number].restarts == {0: 0}


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 16))]
)
async def test_after_any_storm_the_network_is_whole_and_loses_nothing(
    autojump_clock, nodes: Nodes, seed: int
):
    storm = Storm(nodes, Random(seed))
    for number in range(1, COUNT + 1):
        await storm.start(number)
    for _ in range(STEPS):
        await storm.step()
    await storm.rest()

    before = {number: len(received) for number, received in storm.received.items()}
    sent: dict[int, list[bytes]] = {number: [] for number in range(1, COUNT + 1)}
    for number in [*range(1, COUNT + 1)] * 4:
        sent[number].append(await storm.publish(number))
    everything = [data for messages in sent.values() for data in messages]

    def has_all(number: int) -> bool:
        arrived = storm.received[number][before[number] :]
        return Counter(arrived) == Counter(everything) - Counter(sent[number])

    await eventually(lambda: all(map(has_all, range(1, COUNT + 1))), timeout_s=15)
    for received in storm.received.values():
        # At most once, in the storm too.
        assert max(Counter(received).values()) == 1
