"""A stream has one sender at a time: a second is refused, so that nobody's bytes are cut in two."""

import pytest
import trio
import trio.testing
from leanmesh.transport.errors import StreamBusy
from leanmesh.transport.interface import Stream
from transport.nodes import Nodes, address_of

# More than a window: its sender has to wait for the reader.
LARGE = 1_000_000


class Reader:
    """A handler that reads only once it may, and keeps everything."""

    def __init__(self) -> None:
        self.may_read = trio.Event()
        self.is_done = trio.Event()
        self.received = bytearray()

    async def __call__(self, stream: Stream) -> None:
        await self.may_read.wait()
        while part := await stream.receive_some():
            self.received += part
        self.is_done.set()


async def stream_to(reader: Reader, nodes: Nodes) -> Stream:
    dialer, listener = await nodes.start(), await nodes.start()
    listener.handlers["/read"] = reader
    connection = await dialer.dial(address_of(listener))
    return await connection.open_stream(["/read"])


@pytest.mark.parametrize("size", [1, 100_000], ids=["small", "large"])
async def test_a_second_sender_is_refused_and_the_first_ones_bytes_stay_together(size: int, any_nodes: Nodes):
    reader = Reader()
    stream = await stream_to(reader, any_nodes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"A" * LARGE)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            with pytest.raises(StreamBusy, match="another task is sending on <stream 1 /read to "):
                await stream.send_all(b"B" * size)
        reader.may_read.set()
    await stream.send_all(b"C" * size)
    await stream.send_eof()
    await reader.is_done.wait()

    assert bytes(reader.received) == b"A" * LARGE + b"C" * size


async def test_a_cancelled_sender_makes_room_for_the_next(any_nodes: Nodes):
    reader = Reader()
    stream = await stream_to(reader, any_nodes)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, b"A" * LARGE)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    reader.may_read.set()
    await stream.send_all(b"the next")
    await stream.send_eof()
    await reader.is_done.wait()

    sent = bytes(reader.received)
    assert sent.strip(b"A") == b"the next"
    assert 0 < sent.count(b"A") < LARGE
