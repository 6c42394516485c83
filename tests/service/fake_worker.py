"""A worker process that does as its settings say, for the supervisor's tests: no networks, little to load."""

import os
import signal
import sys
import time

import trio
from leanmesh.metrics.catalog_gossipsub import RECEIVED_UNFILTERED
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import CounterSpec
from leanmesh.service.worker_messages import Answer, Ask, Failed, Hello, NetworkFacts, Ready, Start
from leanmesh.service.worker_process import die_with_parent, inherited_channel

DONE = CounterSpec("test_done_total", "What the fake worker has done.")


async def main(channel_descriptor: int, cells_descriptor: int, supervisor_pid: int) -> None:
    die_with_parent(supervisor_pid)
    channel = inherited_channel(channel_descriptor)
    await channel.send(Hello())
    start = await channel.receive()
    if not isinstance(start, Start):
        return
    does = start.settings["does"]
    cells = Cells.in_memfd(cells_descriptor)
    if does == "refuse":
        await channel.send(Failed("the port is taken", is_local=True))
        return
    if does == "never ready":
        await trio.sleep_forever()
    networks = tuple(
        NetworkFacts(network["network_id"], start.keys[str(network["network_id"])][-8:], BOUND, BOUND, ())
        for network in start.settings["networks"]
    )
    cells.add(cells.counter(DONE), 10)
    if does.startswith("receive "):
        for topic, count in enumerate(does.split()[1:]):
            cells.add(cells.counter(RECEIVED_UNFILTERED, "0", str(topic)), int(count))
    await channel.send(Ready(networks))
    if does == "burn":
        while time.process_time() < BURNT_S:
            pass
    if does in ("exit", "burn"):
        os._exit(3)
    if does == "babble":
        await channel.stream.send_all(b"\xff\xff\xff\xff")
        await trio.sleep_forever()
    if does == "loop":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)  # Its event loop does not go round.
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, channel, does)
            nursery.start_soon(beat, cells)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


async def answer(channel, does: str) -> None:
    while isinstance(question := await channel.receive(), Ask):
        if does != "silent":
            await channel.send(Answer(question.number, {"networks": [], "path": question.path}))
    os._exit(0)


async def beat(cells: Cells) -> None:
    while True:
        cells.beat()
        await trio.sleep(0.05)


BURNT_S = 1.0
BOUND = ("/ip4/127.0.0.1/tcp/4711",)

if __name__ == "__main__":
    trio.run(main, *map(int, sys.argv[1:]))
