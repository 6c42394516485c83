"""Dials each address of its arguments and prints, as JSON, [error, kind] for each attempt that failed."""

import json
import random
import sys

import trio
from leanmesh.identity.keys import PrivateKey
from leanmesh.transport.assembly import tcp_switch
from leanmesh.transport.errors import DialFailed
from leanmesh.transport.params import TransportParams
from leanmesh.wire.multiaddr import Multiaddr


async def main() -> None:
    switch = tcp_switch(PrivateKey.generate(), TransportParams(), random.Random())
    async with trio.open_nursery() as nursery:
        await nursery.start(switch.run)
        for text in sys.argv[1:]:
            try:
                await switch.dial(Multiaddr.from_text(text))
            except DialFailed as error:
                print(json.dumps([[str(attempt), attempt.kind] for attempt in error.attempts]))
        nursery.cancel_scope.cancel()


trio.run(main)
