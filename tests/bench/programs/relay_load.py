"""The ends of a relay: one publisher and eight subscribers, as cheap as ends can be.

    python relay_load.py ADDRESS

They speak the transport and say what a gossip peer says at the start (its
topics, GRAFT), and then send, or take and count.  So that the contestant at
the address, and not its load, is what a run waits for.  Each second a line
with the messages that arrived, over all subscribers.  What is counted is
looked for in the bytes: each message has the mark once.
"""

import json
import random
import sys

import attrs
import trio
from leanmesh.gossip import entries
from leanmesh.gossip.dialect import PROTOCOLS
from leanmesh.gossip.rpc import Control, Rpc, Subscription
from leanmesh.gossip.wire import encode
from leanmesh.identity.keys import PrivateKey
from leanmesh.service.identify_service import IdentifyService
from leanmesh.transport.assembly import tcp_switch
from leanmesh.transport.interface import Connection, Stream
from leanmesh.transport.params import TransportParams
from leanmesh.wire import identify
from leanmesh.wire.frames import encode_frame
from leanmesh.wire.multiaddr import Multiaddr

SUBSCRIBERS = 8
TOPIC = "bench"
SIZE_BYTES = 1024
MARK = b"\x00leanmesh relayed\x00"
BATCH = 60
REPORT_S = 1.0


@attrs.define
class Count:
    """Messages over all subscribers."""

    received: int = 0
    published: int = 0


def message(number: int) -> bytes:
    """A publish entry with the mark and a number in it."""
    data = MARK + number.to_bytes(8, "big")
    return entries.message(TOPIC.encode(), data.ljust(SIZE_BYTES, b"\x01"))


async def connect(nursery: trio.Nursery, address: str, count: Count) -> tuple[Connection, Stream]:
    """A peer of its own key, connected, with the stream that it writes to."""
    key = PrivateKey.generate()
    switch = tcp_switch(key, TransportParams(), random.Random())

    async def take(stream: Stream) -> None:
        tail = b""
        keep = len(MARK) - 1
        while chunk := await stream.receive_some():
            count.received += (tail + chunk).count(MARK)
            tail = chunk[-keep:]

    service = IdentifyService(key, lambda: tuple(switch.handlers), lambda: switch.listen_addresses, 1, 10.0)
    switch.handlers.update(
        {identify.PROTOCOL_ID: service.serve, identify.PUSH_PROTOCOL_ID: service.serve_push}
    )
    switch.handlers.update(dict.fromkeys(PROTOCOLS, take))
    await nursery.start(switch.run)
    connection = await switch.dial(Multiaddr.from_text(address))
    return connection, await connection.open_stream(PROTOCOLS)


async def subscribe(nursery: trio.Nursery, address: str, count: Count) -> None:
    """A peer in the contestant's mesh."""
    _, stream = await connect(nursery, address, count)
    await stream.send_all(encode_frame(encode(Rpc([Subscription(True, TOPIC)], [], None))))
    # Once it knows us and our topic, and not sooner: a GRAFT from a stranger is refused.
    await trio.sleep(1.0)
    await stream.send_all(encode_frame(encode(Rpc([], [], Control(graft=[TOPIC])))))


async def publish(stream: Stream, rate_per_s: float, count: Count) -> None:
    """Send for ever; a contestant that reads slowly is waited for."""
    began_s = trio.current_time()
    # One by one where the rate is what matters.
    batch = 1 if rate_per_s else BATCH
    while True:
        if rate_per_s:
            await trio.sleep_until(began_s + count.published / rate_per_s)
        numbers = range(count.published, count.published + batch)
        await stream.send_all(encode_frame(b"".join(map(message, numbers))))
        count.published += batch


async def main(address: str) -> None:
    count = Count()
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as joining:
            for _ in range(SUBSCRIBERS):
                joining.start_soon(subscribe, nursery, address, count)
        _, stream = await connect(nursery, address, count)
        say("listening", addresses=[], peer_id="")
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            if line.startswith("publish"):
                nursery.start_soon(publish, stream, float(line.split()[1]), count)
                nursery.start_soon(report, count)
        nursery.cancel_scope.cancel()


async def report(count: Count) -> None:
    while True:
        await trio.sleep(REPORT_S)
        say("summary", received=count.received, published=count.published)


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
