"""Peers without manners, on real sockets: they lose their connection, and the listener serves on."""

import socket
import tracemalloc

import pytest
import trio
from leanmesh.identity.keys import PrivateKey
from leanmesh.transport.switch import Switch
from leanmesh.transport.tcp import TcpCarrier
from leanmesh.transport.upgrade import HandshakeChannel, NoiseSecurity
from leanmesh.wire.noise import NoiseCredentials, NoiseHandshake
from transport.nodes import Nodes, address_of, params, until
from wire.yamux_pair import ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, WINDOW, WINDOW_UPDATE, data_frame, frame

OPEN = frame(WINDOW_UPDATE, SYN, 1, 0)
NEGOTIATE_HOLD = b"\x13/multistream/1.0.0\n\x06/hold\n"


async def hold(stream) -> None:
    await trio.sleep_forever()


async def listener_of(nodes: Nodes, **settings) -> Switch:
    listener = await nodes.start(params(**settings))
    listener.handlers["/hold"] = hold
    return listener


async def secured(listener: Switch) -> HandshakeChannel:
    """A peer that has shaken hands and speaks yamux as it pleases from here on."""
    pipe = await TcpCarrier().connect(listener.listen_addresses[0], 5.0)
    channel = HandshakeChannel(pipe)
    await NoiseSecurity(PrivateKey.generate()).secure(channel, is_outbound=True, expected_peer=None)
    return channel


async def send_until_closed(channel: HandshakeChannel, data: bytes) -> None:
    with pytest.raises(OSError):  # noqa: PT012
        while True:
            await channel.send_all(data)


async def is_unharmed(nodes: Nodes, listener: Switch) -> bool:
    """The others are gone from its books, and a newcomer is served."""
    await until(lambda: listener.limits.connections == listener.limits.handshakes == 0)
    newcomer = await nodes.start()
    stream = await (await newcomer.dial(address_of(listener))).open_stream(["/hold"])
    return stream.protocol == "/hold"


ABUSES = {
    "overruns its window": (
        OPEN + data_frame(1, NEGOTIATE_HOLD) + data_frame(1, b"x" * 65536) * 5,
        "whose window had",
    ),
    "opens streams without end": (
        b"".join(frame(WINDOW_UPDATE, SYN, number, 0) for number in range(1, 6001, 2)),
        "streams beyond inbound_streams_limit",
    ),
    "sends empty frames in a loop": (OPEN + frame(DATA, 0, 1, 0) * 5000, "empty data frames"),
    "pings in a loop": (frame(PING, SYN, 0, 1) * 5000, "pings"),
    "opens and resets streams in a loop": (
        (frame(WINDOW_UPDATE, SYN, 1, 0) + frame(WINDOW_UPDATE, RST, 1, 0)) * 5000,
        "frames that carry nothing",
    ),
    "opens and ends streams in a loop": (
        b"".join(frame(WINDOW_UPDATE, SYN | FIN, number, 0) for number in range(1, 12001, 2)),
        "streams beyond ",
    ),
    "acknowledges in a loop": (OPEN + frame(WINDOW_UPDATE, ACK, 1, 0) * 5000, "window updates without"),
    "says go-away in a loop": (frame(GO_AWAY, 0, 0, 0) * 5000, "go-aways after the first"),
    "sends an unknown frame": (frame(9, 0, 0, 0), "a frame of type 9"),
    "sends for a stream it never opened": (data_frame(1, b"x"), "never opened"),
}


@pytest.mark.parametrize("name", ABUSES)
async def test_a_peer_loses_its_connection_when_it(name: str, tcp_nodes: Nodes):
    data, reason = ABUSES[name]
    listener = await listener_of(tcp_nodes)
    channel = await secured(listener)
    await channel.send_all(data)
    await until(lambda: "closed" in "".join(listener.observer.events[-1:]))

    assert listener.observer.events[-1].startswith("closed: error: yamux: the peer ")
    assert reason in listener.observer.events[-1]
    assert await is_unharmed(tcp_nodes, listener)
    channel.pipe.close()


async def test_a_peer_that_changes_a_byte_of_a_frame_loses_its_connection(tcp_nodes: Nodes):
    listener = await listener_of(tcp_nodes)
    channel = await secured(listener)
    await until(lambda: listener.connections)
    sealed = bytearray(channel.cipher.encrypt(OPEN))
    sealed[-1] ^= 1
    channel.pipe.send_nowait(sealed)
    await until(lambda: "closed" in "".join(listener.observer.events[-1:]))

    assert listener.observer.events[-1] == "closed: error: frame 0 does not decrypt"
    assert await is_unharmed(tcp_nodes, listener)
    channel.pipe.close()


async def test_a_peer_that_makes_us_answer_and_reads_nothing_is_cut_off_in_bounded_memory(tcp_nodes: Nodes):
    listener = await listener_of(
        tcp_nodes,
        yamux={"idle_frames_burst": 10_000_000},
        connection={"send_limit_bytes": 4096, "control_limit_bytes": 65536},
    )
    channel = await secured(listener)
    with trio.move_on_after(20):
        await send_until_closed(channel, frame(PING, SYN, 0, 1) * 5000)

    assert listener.observer.events[-1] == "closed: error: the peer makes us answer and takes no answers"
    assert await is_unharmed(tcp_nodes, listener)
    channel.pipe.close()


async def test_a_peer_that_fills_every_stream_costs_no_more_than_the_stated_bound(tcp_nodes: Nodes):
    listener = await listener_of(tcp_nodes, yamux={"receive_limit_bytes": 1024 * 1024})
    channel = await secured(listener)
    await until(lambda: listener.connections)
    (connection,) = listener.connections
    tracemalloc.start()
    try:
        for stream_id in range(1, 201, 2):
            opening = data_frame(stream_id, NEGOTIATE_HOLD, SYN)
            room = WINDOW - len(NEGOTIATE_HOLD)
            await channel.send_all(opening + data_frame(stream_id, b"x" * room))
        await until(lambda: "refused: receive_limit_bytes" in listener.observer.events)
        current, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert connection._session.buffered_bytes <= 1024 * 1024
    # 100 tasks, tables, and the sender's own buffers lie on top of the megabyte.
    assert (current < 4_000_000, peak < 8_000_000) == (True, True)
    assert not connection.is_closed
    channel.pipe.close()
    assert await is_unharmed(tcp_nodes, listener)


STOPS = {
    "nothing": b"",
    "half of the negotiation": b"\x13/multistream/1.",
    "the negotiation": b"\x13/multistream/1.0.0\n\x07/noise\n",
    "half of the first handshake message": b"\x13/multistream/1.0.0\n\x07/noise\n\x00\x20abc",
}


@pytest.mark.parametrize("said", STOPS)
async def test_a_peer_that_stops_after_is_timed_out(said: str, tcp_nodes: Nodes):
    listener = await listener_of(tcp_nodes, handshake_timeout_s=0.3)
    pipe = await TcpCarrier().connect(listener.listen_addresses[0], 5.0)
    if STOPS[said]:
        pipe.send_nowait(STOPS[said])
    await until(lambda: listener.observer.events)

    step = "handshake" if "/noise" in STOPS[said].decode() else "negotiate security"
    assert listener.observer.events == [f"accept failed: {step}: timeout"]
    assert await is_unharmed(tcp_nodes, listener)
    pipe.close()


async def test_a_peer_that_stops_before_its_identity_is_timed_out(tcp_nodes: Nodes):
    listener = await listener_of(tcp_nodes, handshake_timeout_s=0.3)
    pipe = await TcpCarrier().connect(listener.listen_addresses[0], 5.0)
    handshake = NoiseHandshake(NoiseCredentials.of(PrivateKey.generate()), is_initiator=True)
    pipe.send_nowait(STOPS["the negotiation"] + handshake.start())
    await until(lambda: listener.observer.events)

    assert listener.observer.events == ["accept failed: handshake: timeout"]
    assert await is_unharmed(tcp_nodes, listener)
    pipe.close()


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n" * 10, b"\xff" * 100, b"\x16\x03\x01\x02\x00\x01\x00", b"\x00" * 5000],
)
async def test_a_peer_that_speaks_something_else_is_refused(garbage: bytes, tcp_nodes: Nodes):
    listener = await listener_of(tcp_nodes, handshake_timeout_s=0.3)
    pipe = await TcpCarrier().connect(listener.listen_addresses[0], 5.0)
    pipe.send_nowait(garbage)
    await until(lambda: listener.observer.events)

    assert listener.observer.events[0].startswith("accept failed: negotiate security: ")
    assert await is_unharmed(tcp_nodes, listener)
    pipe.close()


@pytest.mark.parametrize("is_abrupt", [False, True])
@pytest.mark.parametrize("said", STOPS)
async def test_a_peer_that_goes_away_in_the_middle_is_forgotten(said: str, is_abrupt: bool, tcp_nodes: Nodes):
    listener = await listener_of(tcp_nodes)
    pipe = await TcpCarrier().connect(listener.listen_addresses[0], 5.0)
    if STOPS[said]:
        pipe.send_nowait(STOPS[said])
    await until(lambda: listener.limits.handshakes)
    pipe.close(is_abrupt=is_abrupt)
    await until(lambda: listener.observer.events)

    assert listener.observer.events[0].startswith("accept failed: ")
    assert await is_unharmed(tcp_nodes, listener)


async def test_a_peer_that_goes_away_in_the_middle_of_a_frame_ends_its_connection_alone(tcp_nodes: Nodes):
    listener = await listener_of(tcp_nodes)
    channel = await secured(listener)
    await channel.send_all(OPEN + data_frame(1, NEGOTIATE_HOLD))
    channel.pipe.send_nowait(channel.cipher.encrypt(data_frame(1, b"cut"))[:-5])
    await until(lambda: listener.connections)
    channel.pipe.close(is_abrupt=True)
    await until(lambda: not listener.connections)

    assert listener.observer.events[-1].startswith("closed: remote_close: the connection broke: ")
    assert await is_unharmed(tcp_nodes, listener)


async def test_a_peer_that_drips_its_bytes_is_served_like_any_other(tcp_nodes: Nodes):
    listener = await listener_of(tcp_nodes)
    channel = await secured(listener)
    sealed = channel.cipher.encrypt(OPEN + data_frame(1, NEGOTIATE_HOLD) + frame(WINDOW_UPDATE, FIN, 1, 0))
    for number in range(len(sealed)):
        channel.pipe.send_nowait(sealed[number : number + 1])
        await trio.sleep(0)
    await until(lambda: listener.connections and listener.connections[0].streams)
    (stream,) = listener.connections[0].streams
    await until(lambda: stream.protocol == "/hold" and stream.is_receive_finished)
    channel.pipe.close()


async def test_a_flood_of_connections_leaves_the_listener_able_to_serve(tcp_nodes: Nodes):
    listener = await listener_of(tcp_nodes, handshakes_limit=10, handshake_timeout_s=0.5)
    target = listener.listen_addresses[0]
    sockets = []
    for _ in range(100):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", target.endpoint().port))
        sockets.append(sock)
    await until(lambda: listener.observer.events.count("refused: handshakes_limit") >= 90)
    assert (
        listener.observer.events[:180] == ["refused: handshakes_limit", "accept failed: admit: refused"] * 90
    )
    assert await is_unharmed(tcp_nodes, listener)
    for sock in sockets:
        sock.close()


async def test_a_peer_that_presents_anothers_peer_id_gets_nowhere(tcp_nodes: Nodes):
    """The signature in its payload is over another static key: the identity is real, the peer is not."""
    listener = await listener_of(tcp_nodes)
    victim = NoiseCredentials.of(PrivateKey.generate())
    thief = NoiseCredentials.of(PrivateKey.generate())
    stolen = type(thief)(thief.stream_muxers, thief.static_key, victim.payload)
    pipe = await TcpCarrier().connect(listener.listen_addresses[0], 5.0)
    handshake = NoiseHandshake(stolen, is_initiator=True)
    channel = HandshakeChannel(pipe)
    await channel.send_all(STOPS["the negotiation"] + handshake.start())
    received = b""
    while len(received) < 200:
        received += await channel.receive_some()
    await channel.send_all(handshake.receive(received[received.index(b"/noise\n") + 7 :]))
    await until(lambda: listener.observer.events)

    assert listener.observer.events == ["accept failed: handshake: error"]
    assert listener.connections == []
    pipe.close()


CREDIT = frame(WINDOW_UPDATE, 0, 1, 0xF0000000)


async def asks_for_a_flood(nodes: Nodes, size: int, **settings) -> tuple[Switch, HandshakeChannel]:
    """A peer that grants all credit there is, to a handler that has much to send."""
    listener = await listener_of(nodes, **settings)

    async def flood(stream) -> None:
        await stream.send_all(b"x" * size)

    listener.handlers["/hold"] = flood
    channel = await secured(listener)
    await channel.send_all(OPEN + CREDIT + data_frame(1, NEGOTIATE_HOLD))
    await until(lambda: listener.connections)
    return listener, channel


async def test_a_peer_that_reads_slowly_gets_everything_through_full_sockets(tcp_nodes: Nodes):
    size = 20_000_000
    listener, channel = await asks_for_a_flood(tcp_nodes, size)
    (connection,) = listener.connections
    await until(lambda: connection._outlet.is_blocked)
    queued = connection._outlet.waiting_bytes
    received = 0
    while received < size:
        received += len(await channel.receive_some(65536))

    assert queued <= 512 * 1024 + 64 * 1024
    assert not connection.is_closed
    channel.pipe.close()


async def test_a_peer_that_never_reads_is_cut_off_in_time(tcp_nodes: Nodes):
    listener, channel = await asks_for_a_flood(
        tcp_nodes, 20_000_000, connection={"write_timeout_s": 0.2}, sweep_interval_s=0.05
    )
    await until(lambda: not listener.connections)

    assert listener.observer.events[-1] == "closed: timeout: the peer took no data for 0.2 s"
    await until(lambda: listener.limits.connections == 0)
    channel.pipe.close()
