"""Fifty peers connect, transfer and are cut at random: nothing is corrupted, and nothing is left behind."""

import ctypes
import gc
import os
import random
from collections import Counter
from pathlib import Path

import attrs
import pytest
import trio
from leanmesh.errors import NodeError
from leanmesh.identity.keys import PrivateKey
from leanmesh.transport.assembly import tcp_switch
from leanmesh.transport.errors import CloseReason
from leanmesh.transport.interface import Connection, Stream
from leanmesh.transport.switch import Switch
from leanmesh.wire.multiaddr import Multiaddr
from transport.nodes import Recorder, address_of, params, until

PEERS = 50
CUT_EVERY_S = 0.02
# What leaks grows with every cycle; what the allocator holds for pieces in between grows in some.
CYCLES = 4
PARAMS = params(
    connection={"keepalive_interval_s": 0.3, "keepalive_timeout_s": 0.5, "close_timeout_s": 0.2},
    sweep_interval_s=0.1,
    handshake_timeout_s=2.0,
    backoff_initial_s=0.05,
    backoff_limit_s=0.2,
)


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


@attrs.define
class ChaosPeer:
    """One peer that lives, transfers, dies and comes back."""

    key: PrivateKey
    switch: Switch | None = None
    life: trio.CancelScope = attrs.field(factory=trio.CancelScope)


@attrs.define
class Chaos:
    """All peers, what is done to them, and what came of it."""

    peers: list[ChaosPeer]
    generator: random.Random
    counts: Counter = attrs.field(factory=Counter)
    # Copies of descriptors: the kernel keeps such a connection open though nobody serves it.
    silenced: list[int] = attrs.field(factory=list)

    async def run(self, duration_s: float) -> None:
        async with trio.open_nursery() as nursery:
            for peer in self.peers:
                nursery.start_soon(self.live, peer)
            nursery.start_soon(self.cut_at_random)
            await trio.sleep(duration_s)
            await until(self.is_enough)
            nursery.cancel_scope.cancel()
        for descriptor in self.silenced:
            os.close(descriptor)
        self.silenced.clear()

    def is_enough(self) -> bool:
        """Whether everything has happened often enough to mean something, however busy the machine is."""
        kinds = ("reset", "silent", "closed", "killed")
        return self.counts["transferred"] >= 50 and all(self.counts[kind] >= 3 for kind in kinds)

    async def live(self, peer: ChaosPeer) -> None:
        while True:
            with trio.CancelScope() as peer.life:
                switch = tcp_switch(peer.key, PARAMS, self.generator, Recorder())
                switch.handlers["/echo"] = echo
                async with trio.open_nursery() as nursery:
                    await nursery.start(switch.run)
                    await switch.listen(Multiaddr.from_text("/ip4/127.0.0.1/tcp/0"))
                    peer.switch = switch
                    while True:
                        await self.transfer(switch)
            self.counts["killed"] += 1

    async def transfer(self, switch: Switch) -> None:
        """Dial anybody, send something, and see that it comes back as it was."""
        other = self.generator.choice(self.peers).switch
        await trio.sleep(0.01)
        if other is None or other is switch or not other.listen_addresses:
            return
        data = self.generator.randbytes(self.generator.randrange(1, 100_000))
        try:
            with trio.move_on_after(3.0):
                connection = await switch.dial(address_of(other))
                stream = await connection.open_stream(["/echo"])
                await stream.send_all(data)
                await stream.send_eof()
                received = b""
                while part := await stream.receive_some():
                    received += part
                assert received == data
                await stream.aclose()
                self.counts["transferred"] += 1
        except NodeError:
            self.counts["interrupted"] += 1

    async def cut_at_random(self) -> None:
        while True:
            await trio.sleep(CUT_EVERY_S)
            peer = self.generator.choice(self.peers)
            connections = peer.switch.connections if peer.switch is not None else ()
            if not connections:
                continue
            how = self.generator.choice(["reset", "silent", "closed", "killed"])
            if how == "killed":
                peer.switch = None
                peer.life.cancel()
            else:
                self.cut(self.generator.choice(connections), how)
                self.counts[how] += 1

    def cut(self, connection: Connection, how: str) -> None:
        pipe = connection.pipe
        if how == "silent":
            self.silenced.append(os.dup(pipe._socket.fileno()))
            connection._outlet.close()  # No farewell.
            connection.abort(CloseReason.TIMEOUT, "silenced by the test")
        elif how == "reset":
            pipe.close(is_abrupt=True)
            connection.abort(CloseReason.ERROR, "reset by the test")
        else:
            connection.abort(CloseReason.LOCAL_CLOSE, "closed by the test")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def resident_bytes() -> int:
    """What the process holds, without what the allocator keeps back: that depends on the busiest moment."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def chaos_leaves_nothing(duration_s: float, seed: int = 1) -> None:
    peers = [ChaosPeer(PrivateKey.generate()) for _ in range(PEERS)]
    gc.collect()  # What earlier tests left to it is not ours.
    tasks, before = trio.lowlevel.current_statistics().tasks_living, descriptors()
    resident: list[int] = []
    for cycle in range(CYCLES):
        chaos = Chaos(peers, random.Random(seed + cycle))
        await chaos.run(duration_s)
        for peer in peers:
            peer.switch = None
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert descriptors() == before
        del chaos
        gc.collect()
        resident.append(resident_bytes())
        if cycle and resident[-1] < resident[-2] * 1.05:
            return
    raise AssertionError(f"every cycle leaves memory behind: {resident}")


async def test_three_seconds_of_chaos_leave_no_task_descriptor_or_memory_behind():
    await chaos_leaves_nothing(1.5)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_two_minutes_of_chaos_leave_no_task_descriptor_or_memory_behind():
    await chaos_leaves_nothing(60.0)
