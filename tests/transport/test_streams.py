"""What streams promise, on every transport."""

import hashlib
import random

import attrs
import pytest
import trio
from leanmesh.errors import RemoteError
from leanmesh.transport.errors import (
    CloseReason,
    ConnectionClosed,
    StreamBusy,
    StreamClosed,
    StreamRefused,
    StreamReset,
)
from leanmesh.transport.interface import Connection, Stream
from leanmesh.transport.memory_pipe import Link
from leanmesh.transport.switch import Switch
from transport.nodes import Nodes, address_of, params, until


@attrs.define
class Two:
    """A dialer, a listener, and a stream that both hold."""

    dialer: Switch
    listener: Switch
    connection: Connection
    ours: Stream
    theirs: Stream


async def two(nodes: Nodes, **settings) -> Two:
    node_params = params(**settings)
    dialer, listener = await nodes.start(node_params), await nodes.start(node_params)
    held: list[Stream] = []

    async def hold(stream: Stream) -> None:
        held.append(stream)
        await trio.sleep_forever()

    dialer.handlers["/hold"] = listener.handlers["/hold"] = hold
    connection = await dialer.dial(address_of(listener))
    ours = await connection.open_stream(["/hold"])
    await until(lambda: held)
    return Two(dialer, listener, connection, ours, held[0])


async def receive_all(stream: Stream) -> bytes:
    parts = []
    while part := await stream.receive_some():
        parts.append(part)
    return b"".join(parts)


async def test_both_ends_know_who_and_where_the_other_is(any_nodes: Nodes):
    pair = await two(any_nodes)
    ours, theirs = pair.ours.connection, pair.theirs.connection

    assert (ours.local_peer, ours.remote_peer) == (pair.dialer.local_peer, pair.listener.local_peer)
    assert (theirs.local_peer, theirs.remote_peer) == (pair.listener.local_peer, pair.dialer.local_peer)
    assert (ours.is_outbound, theirs.is_outbound) == (True, False)
    assert ours.remote_address == theirs.local_address == pair.listener.listen_addresses[0]
    assert ours.local_address == theirs.remote_address
    assert (pair.ours.protocol, pair.theirs.protocol) == ("/hold", "/hold")
    assert (pair.ours.is_outbound, pair.theirs.is_outbound) == (True, False)
    await until(lambda: ours.rtt_s is not None)


async def test_bytes_arrive_whole_in_both_directions(any_nodes: Nodes):
    pair = await two(any_nodes)
    data = random.Random(1).randbytes(3_000_000)
    received = {}

    async def send(stream: Stream) -> None:
        for start in range(0, len(data), 100_000):
            await stream.send_all(data[start : start + 100_000])
        await stream.send_eof()

    async def receive(name: str, stream: Stream) -> None:
        received[name] = hashlib.sha256(await receive_all(stream)).digest()

    async with trio.open_nursery() as nursery:
        for name, stream in (("ours", pair.ours), ("theirs", pair.theirs)):
            nursery.start_soon(send, stream)
            nursery.start_soon(receive, name, stream)

    whole = hashlib.sha256(data).digest()
    assert received == {"ours": whole, "theirs": whole}
    await until(lambda: pair.ours.is_closed and pair.theirs.is_closed)
    assert pair.connection.streams == ()


async def test_several_buffers_are_sent_as_one(any_nodes: Nodes):
    pair = await two(any_nodes)
    await pair.ours.send_all([b"one ", bytearray(b"two "), memoryview(b"three")])
    await pair.ours.send_eof()

    assert await receive_all(pair.theirs) == b"one two three"


async def test_an_end_is_clean_and_the_other_direction_goes_on(any_nodes: Nodes):
    pair = await two(any_nodes)
    await pair.ours.send_eof()

    assert await pair.theirs.receive_some() == b""
    assert await pair.theirs.receive_some() == b""
    assert (pair.theirs.is_receive_finished, pair.theirs.is_send_finished) == (True, False)
    await pair.theirs.send_all(b"answer")
    assert await pair.ours.receive_some() == b"answer"
    with pytest.raises(StreamClosed, match="cannot send"):
        await pair.ours.send_all(b"more")
    with pytest.raises(StreamClosed, match="cannot send"):
        pair.ours.send_nowait(b"more")


async def test_a_reset_is_an_error_for_the_other_side_and_not_an_end(any_nodes: Nodes):
    pair = await two(any_nodes)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait_for_data() -> None:
            with pytest.raises(StreamReset, match="/hold was reset by"):
                await pair.theirs.receive_some()

        await trio.testing.wait_all_tasks_blocked(0.01)
        pair.ours.reset()
    with pytest.raises(StreamReset):
        await pair.theirs.send_all(b"x")
    with pytest.raises(StreamClosed):
        await pair.ours.receive_some()
    assert (pair.ours.is_closed, pair.theirs.is_closed) == (True, True)
    assert not pair.connection.is_closed


async def test_a_slow_reader_stops_its_writer_and_memory_stays_bounded(any_nodes: Nodes):
    pair = await two(
        any_nodes, connection={"send_limit_bytes": 100_000}, yamux={"window_limit_bytes": 262144}
    )
    sent = 0

    async def send_for_ever() -> None:
        nonlocal sent
        while True:
            await pair.ours.send_all(b"x" * 10_000)
            sent += 10_000

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_for_ever)
        await until(lambda: pair.ours.state.send_window_bytes == 0)
        await until(lambda: len(pair.theirs.state.buffer) > 262_000)
        nursery.cancel_scope.cancel()

    # One window in the reader's hands; the rest waits with the writer.
    assert sent <= 262144
    assert len(pair.theirs.state.buffer) <= 262144
    assert pair.ours.send_nowait(b"y") == 0
    assert pair.ours.send_room_bytes == 0
    received = await pair.theirs.receive_some(1_000_000)
    # A few bytes of it went into the negotiation.
    assert 262_000 < len(received) <= 262144
    await until(lambda: pair.ours.send_room_bytes > 0)


async def test_send_nowait_takes_what_the_window_permits(any_nodes: Nodes):
    pair = await two(any_nodes)

    assert pair.ours.send_nowait(b"x" * 200_000) == 200_000
    assert 62_000 < pair.ours.send_nowait(b"x" * 200_000) <= 62144


async def test_one_stuck_stream_does_not_hold_up_another(any_nodes: Nodes):
    pair = await two(any_nodes)
    assert pair.ours.send_nowait(b"x" * 300_000) <= 262144

    async def echo(stream: Stream) -> None:
        while data := await stream.receive_some():
            await stream.send_all(data)

    pair.listener.handlers["/echo"] = echo
    other = await pair.connection.open_stream(["/echo"])
    await other.send_all(b"hello")
    assert await other.receive_some() == b"hello"


async def test_the_first_protocol_that_the_other_side_speaks_is_taken(any_nodes: Nodes):
    pair = await two(any_nodes)
    stream = await pair.connection.open_stream(["/unknown/2", "/unknown/1", "/hold"])
    assert stream.protocol == "/hold"

    with pytest.raises(StreamRefused) as caught:
        await pair.connection.open_stream(["/unknown/2", "/unknown/1"])
    assert str(caught.value) == (
        f"{pair.listener.local_peer} opened no stream for /unknown/2, /unknown/1: it speaks none of them"
    )
    assert caught.value.is_unsupported
    await until(lambda: len(pair.connection.streams) == 2)
    assert not pair.connection.is_closed


async def test_the_listener_opens_streams_as_well(any_nodes: Nodes):
    pair = await two(any_nodes)

    async def greet(stream: Stream) -> None:
        await stream.send_all(b"greetings")

    pair.dialer.handlers["/greet"] = greet
    (inbound,) = pair.listener.connections_to(pair.dialer.local_peer)
    stream = await inbound.open_stream(["/greet"])
    assert await receive_all(stream) == b"greetings"


async def test_a_clean_close_ends_every_blocked_call_and_names_the_reason(any_nodes: Nodes):
    pair = await two(any_nodes)
    second = await pair.theirs.connection.open_stream(["/hold"])
    errors = []

    async def expect_end(call, *arguments) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            await call(*arguments)
        errors.append((caught.value.reason, caught.value.detail))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_end, pair.ours.send_all, b"x" * 1_000_000)
        nursery.start_soon(expect_end, pair.theirs.send_all, b"x" * 1_000_000)
        nursery.start_soon(expect_end, second.receive_some)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await pair.connection.aclose("done here")

    assert sorted(errors) == [
        (CloseReason.LOCAL_CLOSE, "done here"),
        (CloseReason.REMOTE_CLOSE, "the peer closed it"),
        (CloseReason.REMOTE_CLOSE, "the peer closed it"),
    ]
    with pytest.raises(ConnectionClosed):
        await pair.connection.open_stream(["/hold"])
    await until(lambda: pair.listener.connections == pair.dialer.connections == [])
    assert pair.listener.observer.events[-1] == "closed: remote_close: the peer closed it"
    assert pair.dialer.observer.events[-1] == "closed: local_close: done here"


async def test_what_arrived_before_the_connection_ended_is_still_received(any_nodes: Nodes):
    pair = await two(any_nodes)
    await pair.ours.send_all(b"x" * 200_000)
    await pair.connection.aclose()
    await until(lambda: pair.theirs.connection.is_closed)

    assert await pair.theirs.receive_some(1_000_000) == b"x" * 200_000
    with pytest.raises(ConnectionClosed):
        await pair.theirs.receive_some()


async def test_what_a_peer_sent_before_it_went_is_received_though_our_next_write_fails(any_nodes: Nodes):
    pair = await two(any_nodes)
    # No checkpoint from here on: nothing of this has been read when writing fails.
    pair.ours.send_nowait(b"farewell")
    pair.connection.abort(CloseReason.LOCAL_CLOSE, "leaving")
    while not pair.theirs.connection.is_closed:
        pair.theirs.send_nowait(b"x")
        pair.theirs.connection.flush()

    assert await pair.theirs.receive_some() == b"farewell"
    with pytest.raises(ConnectionClosed, match="the peer closed it"):
        await pair.theirs.receive_some()
    await until(lambda: not pair.listener.connections)
    assert pair.listener.observer.events[-1] == "closed: remote_close: the peer closed it"


async def test_a_reset_that_a_write_finds_first_is_called_a_break(tcp_nodes: Nodes):
    pair = await two(tcp_nodes)
    pair.connection.pipe.close(is_abrupt=True)
    pair.theirs.send_nowait(b"x")
    pair.theirs.connection.flush()
    await until(lambda: not pair.listener.connections)

    assert pair.listener.observer.events[-1].startswith("closed: remote_close: the connection broke: ")


async def test_a_cancelled_receive_loses_nothing(any_nodes: Nodes):
    pair = await two(any_nodes)
    await pair.ours.send_all(b"precious")
    await until(lambda: pair.theirs.state.buffer)
    with trio.CancelScope() as scope:
        scope.cancel()
        await pair.theirs.receive_some()

    assert scope.cancelled_caught
    assert await pair.theirs.receive_some() == b"precious"


async def test_two_tasks_cannot_receive_on_one_stream(any_nodes: Nodes):
    pair = await two(any_nodes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.ours.receive_some)
        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(StreamBusy):
            await pair.ours.receive_some()
        nursery.cancel_scope.cancel()


async def test_a_stream_closed_while_the_other_side_still_sends_is_reset(any_nodes: Nodes):
    pair = await two(any_nodes)
    await pair.ours.aclose()
    assert await pair.theirs.receive_some() == b""
    await pair.theirs.send_all(b"anyone?")

    await until(lambda: pair.theirs.is_closed)
    with pytest.raises(StreamReset):
        await pair.theirs.receive_some()
    await until(lambda: pair.ours.is_closed)
    assert pair.connection.streams == ()


async def test_a_handler_that_finds_a_broken_protocol_ends_the_connection_and_not_the_node(any_nodes: Nodes):
    pair = await two(any_nodes)

    async def strict(stream: Stream) -> None:
        raise RemoteError(f"{await stream.receive_some()!r} is no greeting")

    pair.listener.handlers["/strict"] = strict
    stream = await pair.connection.open_stream(["/strict"])
    await stream.send_all(b"boo")
    with pytest.raises(ConnectionClosed, match="go-away code 1"):
        await stream.receive_some()
    await until(lambda: not pair.listener.connections)
    assert pair.listener.observer.events[-1] == "closed: error: /strict: b'boo' is no greeting"

    assert not (await pair.dialer.dial(address_of(pair.listener))).is_closed


async def test_a_handler_whose_stream_is_reset_ends_alone(any_nodes: Nodes):
    pair = await two(any_nodes)
    ended = trio.Event()

    async def reader(stream: Stream) -> None:
        try:
            await stream.receive_some()
        finally:
            ended.set()

    pair.listener.handlers["/reader"] = reader
    stream = await pair.connection.open_stream(["/reader"])
    stream.reset()
    await ended.wait()
    assert not pair.connection.is_closed
    assert (await pair.connection.open_stream(["/hold"])).protocol == "/hold"


async def test_a_handler_that_returns_closes_its_stream(any_nodes: Nodes):
    pair = await two(any_nodes)

    async def brief(stream: Stream) -> None:
        await stream.send_all(b"brief")

    pair.listener.handlers["/brief"] = brief
    stream = await pair.connection.open_stream(["/brief"])
    assert await receive_all(stream) == b"brief"
    await stream.aclose()
    await until(lambda: len(pair.connection.streams) == 1 and len(pair.theirs.connection.streams) == 1)


async def test_bytes_are_counted_on_both_sides(any_nodes: Nodes):
    pair = await two(any_nodes)
    await pair.ours.send_all(b"x" * 100_000)
    await until(lambda: len(pair.theirs.state.buffer) == 100_000)

    assert pair.connection.sent_bytes == pair.theirs.connection.received_bytes > 100_000


async def test_small_writes_that_follow_one_another_leave_together_and_in_order(any_nodes: Nodes):
    pair = await two(any_nodes)
    writes = [bytes([number]) * (number % 50 + 1) for number in range(200)]
    before = pair.connection.sent_bytes
    for write in writes:
        await pair.ours.send_all(write)
    await pair.ours.send_all(b"large" * 10_000)
    await pair.ours.send_all(b"last")

    whole = b"".join(writes) + b"large" * 10_000 + b"last"
    received = b""
    while len(received) < len(whole):
        received += await pair.theirs.receive_some()
    assert received == whole
    # 12 bytes of yamux for each write; with a frame of its own each would cost 18 more with Noise.
    overhead = pair.connection.sent_bytes - before - len(whole)
    assert overhead < 12 * len(writes) + 18 * 100


async def test_a_loop_of_small_writes_lets_others_run_and_can_be_cancelled(any_nodes: Nodes):
    pair = await two(any_nodes)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.lowlevel.checkpoint()
            ticks += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        for _ in range(200):
            await pair.ours.send_all(b"x" * 1000)
        # 200 kB are a dozen times what may wait for the next tick.
        assert ticks >= 5
        nursery.cancel_scope.cancel()
        with pytest.raises(trio.Cancelled):
            await pair.ours.send_all(b"x")


async def test_more_than_the_connection_may_queue_goes_through_in_parts(any_nodes: Nodes):
    pair = await two(any_nodes, connection={"send_limit_bytes": 10_000})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.ours.send_all, b"x" * 1_000_000)
        received = 0
        while received < 1_000_000:
            received += len(await pair.theirs.receive_some())


async def test_streams_that_wait_for_a_slow_network_all_get_their_turn(memory_nodes: Nodes, autojump_clock):
    memory_nodes.network = type(memory_nodes.network)(Link(bandwidth_bytes_per_s=1e6, capacity_bytes=5_000))
    pair = await two(memory_nodes, connection={"send_limit_bytes": 10_000})
    finished = []

    async def count(stream: Stream) -> None:
        finished.append(len(await receive_all(stream)))

    async def send() -> None:
        stream = await pair.connection.open_stream(["/count"])
        await stream.send_all(b"x" * 100_000)
        await stream.send_eof()

    pair.listener.handlers["/count"] = count
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(send)
    await until(lambda: len(finished) == 5)
    assert finished == [100_000] * 5


async def test_a_handler_may_finish_reading_what_arrived_before_the_end(any_nodes: Nodes):
    pair = await two(any_nodes)
    read, begin = [], trio.Event()

    async def late(stream: Stream) -> None:
        await begin.wait()
        try:
            while True:
                read.append(await stream.receive_some(50_000))
        except ConnectionClosed as error:
            read.append(error.reason)

    pair.listener.handlers["/late"] = late
    stream = await pair.connection.open_stream(["/late"])
    await stream.send_all(b"x" * 100_000)
    await pair.connection.aclose()
    await until(lambda: not pair.listener.connections)
    begin.set()
    await until(lambda: len(read) == 3)
    assert read == [b"x" * 50_000, b"x" * 50_000, CloseReason.REMOTE_CLOSE]
