"""A peer in a process of its own, for tests that kill and stop it.

It prints its address, dials what it reads, takes what is sent to /sink and
sends to /source without end.  It ends with its standard input: when whoever
started it is gone, so is it.
"""

import random
import sys

import trio
from leanmesh.identity.keys import PrivateKey
from leanmesh.transport.assembly import tcp_switch
from leanmesh.transport.interface import Stream
from leanmesh.transport.params import TransportParams
from leanmesh.wire.multiaddr import Multiaddr


async def sink(stream: Stream) -> None:
    while await stream.receive_some():
        pass


async def source(stream: Stream) -> None:
    while True:
        await stream.send_all(bytes(16384))
        # A machine that is busy with this has no time for the other processes.
        await trio.sleep(0.002)


async def main() -> None:
    switch = tcp_switch(PrivateKey.generate(), TransportParams(), random.Random())
    switch.handlers.update({"/sink": sink, "/source": source})
    async with trio.open_nursery() as nursery:
        await nursery.start(switch.run)
        address = await switch.listen(Multiaddr.from_text("/ip4/127.0.0.1/tcp/0"))
        print(address.with_peer(switch.local_peer), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            await switch.dial(Multiaddr.from_text(line.strip()))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
