"""What nodes do with single peers: connect, ask, answer, measure, and dial again."""

import logging
from itertools import pairwise

import pytest
import trio
from leanmesh.errors import LocalError, RemoteError
from leanmesh.service.identify_service import AGENT_VERSION
from leanmesh.service.params import ServiceParams
from leanmesh.service.ping_service import NoPong, ping
from leanmesh.service.redial import JITTER
from leanmesh.service.requests import NoResponse, Responder, TooMuch, request
from leanmesh.transport.errors import DialFailed, StreamRefused, StreamReset
from leanmesh.transport.interface import Stream
from leanmesh.wire.multiaddr import Multiaddr
from network.nodes import TOPIC, Nodes, eventually

ECHO = "/test/echo/1"
PING = "/ipfs/ping/1.0.0"


async def echo(peer, data: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return data


async def pair(nodes: Nodes):
    """Two nodes, and the connection of the second to the first."""
    await nodes.start(1)
    node = await nodes.start(2)
    return nodes[1], await node.connect(nodes.address(1))


def responder(node, respond=echo, **limits) -> Responder:
    return Responder(ECHO, respond, node.contained, **limits)


async def test_a_request_gets_its_answer(autojump_clock, nodes: Nodes):
    node, connection = await pair(nodes)
    asked = []

    async def respond(peer, data: bytes) -> bytes:
        asked.append((peer, data))
        return data[::-1]

    served = responder(node, respond)
    node.add_responder(served)
    large = bytes(range(256)) * 3000
    assert await request(connection, ECHO, b"abc") == b"cba"
    assert await request(connection, ECHO, b"") == b""
    assert await request(connection, ECHO, large) == large[::-1]
    assert asked == [(nodes.peer(2), data) for data in (b"abc", b"", large)]
    assert served.answered == 3


async def test_a_protocol_that_nobody_serves_is_refused_and_one_served_twice_too(
    autojump_clock, nodes: Nodes
):
    node, connection = await pair(nodes)
    with pytest.raises(StreamRefused, match="speaks none"):
        await request(connection, ECHO, b"abc")
    node.add_responder(responder(node))
    with pytest.raises(LocalError, match="is served already"):
        node.add_responder(responder(node))
    with pytest.raises(LocalError, match="is served already"):
        node.add_responder(Responder(PING, echo, node.contained))


async def test_a_request_over_the_limit_costs_the_connection_and_no_answer_is_made(
    autojump_clock, nodes: Nodes
):
    node, connection = await pair(nodes)
    node.add_responder(responder(node, limit_bytes=1000))
    assert len(await request(connection, ECHO, bytes(1000))) == 1000
    with pytest.raises(RemoteError):
        await request(connection, ECHO, bytes(1001))
    with trio.fail_after(1):
        await connection.wait_closed()


async def test_an_answer_over_the_limit_is_not_read_to_its_end(autojump_clock, nodes: Nodes):
    node, connection = await pair(nodes)

    async def much(peer, data: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return bytes(5_000_000)

    node.add_responder(responder(node, much))
    with pytest.raises(TooMuch, match="more than 1000 bytes"):
        await request(connection, ECHO, b"", limit_bytes=1000)
    assert connection.received_bytes < 1_000_000
    assert not connection.is_closed


async def test_a_responder_that_misbehaves_answers_nothing_and_harms_no_one(autojump_clock, nodes: Nodes):
    node, connection = await pair(nodes)

    async def misbehave(peer, data: bytes):
        await trio.lowlevel.checkpoint()
        if data == b"hang":
            await trio.sleep_forever()
        if data == b"raise":
            raise ValueError("a bug of the application")
        return "no bytes" if data == b"text" else data

    served = responder(node, misbehave, timeout_s=2.0)
    node.add_responder(served)
    for word in (b"raise", b"text", b"hang"):
        with pytest.raises(StreamReset):
            await request(connection, ECHO, word)
    assert await request(connection, ECHO, b"fine") == b"fine"
    assert (served.answered, served.timed_out) == (1, 1)
    assert node.contained.counts == {f"responder:{ECHO}": 2}
    assert node.restarts == {0: 0}
    node.contained.counts.clear()


async def test_a_peer_that_does_not_answer_is_waited_for_as_long_as_was_asked(autojump_clock, nodes: Nodes):
    async def silence(stream: Stream) -> None:
        await trio.sleep_forever()

    stranger = await nodes.stranger(1, {ECHO: silence})
    node = await nodes.start(2)
    connection = await node.connect(nodes.address(1))
    asked_s = trio.current_time()
    with pytest.raises(NoResponse, match="within 3 s"):
        await request(connection, ECHO, b"hello?", timeout_s=3)
    assert trio.current_time() - asked_s == 3.0
    await eventually(
        lambda: not any(stream.protocol == ECHO for one in stranger.connections for stream in one.streams)
    )


async def test_one_peer_is_answered_so_many_at_once_and_others_do_not_wait_for_it(
    autojump_clock, nodes: Nodes
):
    node, connection = await pair(nodes)
    await nodes.start(3)
    other = await nodes[3].connect(nodes.address(1))
    running = most = 0

    async def slow(peer, data: bytes) -> bytes:
        nonlocal running, most
        if peer == nodes.peer(2):
            running += 1
            most = max(most, running)
            await trio.sleep(1)
            running -= 1
        return data

    node.add_responder(responder(node, slow))
    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(request, connection, ECHO, bytes([number]))
        await trio.sleep(0.1)
        assert await request(other, ECHO, b"quick") == b"quick"
        assert trio.current_time() - began_s < 0.5
    assert most == 4


async def test_a_requester_that_goes_away_in_the_middle_leaves_nothing(autojump_clock, nodes: Nodes):
    node, connection = await pair(nodes)
    ended = trio.Event()

    async def slow(peer, data: bytes) -> bytes:
        try:
            await trio.sleep(5)
        finally:
            ended.set()
        return data

    node.add_responder(responder(node, slow))
    with trio.move_on_after(1):
        await request(connection, ECHO, b"never mind")
    await nodes.kill(2)
    with trio.fail_after(6):
        await ended.wait()


async def test_peers_know_each_other_and_learn_of_new_protocols(autojump_clock, nodes: Nodes):
    node, connection = await pair(nodes)
    await nodes.start(3, dials=(1,))
    told = await nodes[2].identify(connection)
    assert told.agent_version == AGENT_VERSION
    assert set(told.protocols) >= {"/meshsub/1.2.0", "/ipfs/id/1.0.0", PING}
    assert ECHO not in told.protocols
    assert [str(address) for address in told.listen_addresses] == ["/ip4/10.0.0.1/tcp/9000"]
    assert told.observed_address == connection.local_address

    node.add_responder(responder(node))
    await trio.sleep(0.5)
    for number in (2, 3):
        life = nodes[number].network().live
        assert [ECHO in known.protocols for known in life.identify.known.values()] == [True]
    assert len(node.network().live.identify.known) == 2
    await nodes.stop(3)
    await trio.sleep(0.5)
    assert len(node.network().live.identify.known) == 1


async def test_peers_are_described_as_they_are(autojump_clock, nodes: Nodes):
    await nodes.start(1)
    await nodes.start(2, dials=(1,))
    await nodes[1].wait_for_mesh(TOPIC, 1, 5)
    await nodes[2].wait_for_mesh(TOPIC, 1, 5)
    await trio.sleep(3)
    (info,) = nodes[2].peers()
    assert (info.peer, info.addresses, info.is_outbound) == (
        nodes.peer(1),
        ("/ip4/10.0.0.1/tcp/9000",),
        True,
    )
    assert (info.agent, info.protocol, info.topics, info.meshes) == (
        AGENT_VERSION,
        "/meshsub/1.2.0",
        (TOPIC,),
        (TOPIC,),
    )
    assert info.rtt_s == pytest.approx(0.02)
    assert (info.outbox_messages, info.outbox_bytes, info.slow_reason, info.misbehaviour) == (0, 0, None, {})
    assert min(info.received_bytes, info.sent_bytes) > 100


async def test_ping_measures_the_round_trip_once_per_interval(autojump_clock, nodes: Nodes):
    _, connection = await pair(nodes)
    began_s = trio.current_time()
    async with nodes[2].ping(connection, interval_s=0.5) as round_trips:
        measured = [await anext(round_trips) for _ in range(5)]
    assert measured == pytest.approx([0.02] * 5)
    # Opening the stream, and four intervals.
    assert trio.current_time() - began_s == pytest.approx(2.04, abs=0.03)


async def test_a_peer_that_answers_no_ping_or_a_wrong_one_is_an_error(autojump_clock, nodes: Nodes):
    async def silence(stream: Stream) -> None:
        await trio.sleep_forever()

    async def lie(stream: Stream) -> None:
        while chunk := await stream.receive_some():
            await stream.send_all(bytes(len(chunk)))

    async def hang_up(stream: Stream) -> None:
        await stream.receive_some()

    stranger = await nodes.stranger(1)
    node = await nodes.start(2)
    for handler, error, sentence in (
        (silence, NoPong, "did not answer a ping within 2 s"),
        (lie, RemoteError, "came back where"),
        (hang_up, NoPong, "ended the stream"),
    ):
        stranger.handlers[PING] = handler
        connection = await node.connect(nodes.address(1))
        with pytest.raises(error, match=sentence):
            async with ping(connection, timeout_s=2) as round_trips:
                await anext(round_trips)


async def test_a_peer_has_two_streams_for_pings_and_no_more(autojump_clock, nodes: Nodes):
    node, connection = await pair(nodes)
    streams = [await connection.open_stream([PING]) for _ in range(2)]
    with pytest.raises((StreamRefused, StreamReset)):
        await (await connection.open_stream([PING])).receive_some()
    assert [stream.is_closed for stream in streams] == [False, False]
    await node.refresh_metrics()
    assert node.metric("leanmesh_ping_streams_refused_total") == 1
    for stream in streams[:2]:
        stream.reset()
    await trio.sleep(0.1)
    again = await connection.open_stream([PING])
    await trio.sleep(0.1)
    assert not again.is_closed


async def test_configured_peers_are_dialed_for_ever_with_growing_pauses(
    autojump_clock, nodes: Nodes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    nodes.service = ServiceParams(redial_first_s=1.0, redial_limit_s=16.0)
    dialed_s: list[float] = []
    connect = type(nodes.memory).connect

    async def connecting(memory, source, address):
        dialed_s.append(trio.current_time())
        return await connect(memory, source, address)

    monkeypatch.setattr(type(nodes.memory), "connect", connecting)
    with caplog.at_level(logging.WARNING, "leanmesh.service.redial"):
        await nodes.start(1, dials=(2,))
        await trio.sleep(300)

    pauses = [later - earlier for earlier, later in pairwise(dialed_s)]
    for pause_s, expected_s in zip(pauses, [1, 2, 4, 8] + [16] * len(pauses), strict=False):
        assert expected_s * (1 - JITTER) <= pause_s <= expected_s * (1 + JITTER) + 0.1
    assert 15 < len(pauses) < 30
    # Said once, not at each attempt.
    assert len(caplog.records) == 1

    await nodes.start(2)
    await nodes[1].wait_for_mesh(TOPIC, 1, 21)
    # It goes, and comes back: dialed anew without end.
    await nodes.kill(2)
    await trio.sleep(100)
    await nodes.start(2)
    await nodes[1].wait_for_mesh(TOPIC, 1, 21)


async def test_our_own_address_among_the_configured_ones_is_left_alone(autojump_clock, nodes: Nodes):
    await nodes.start(1, dials=(1, 2))
    await nodes.start(2, dials=(1, 2))
    await nodes.wait_for_meshes(1)
    assert [len(node.peers()) for node in nodes] == [1, 1]


async def test_connecting_gives_the_connection_there_is_or_says_why_there_is_none(
    autojump_clock, nodes: Nodes
):
    _, connection = await pair(nodes)
    assert await nodes[2].connect(nodes.address(1)) is connection
    assert await nodes[2].connect(Multiaddr.from_text(nodes.address(1))) is connection
    with pytest.raises(DialFailed, match="refused"):
        await nodes[2].connect("/ip4/10.0.0.1/tcp/1")
    with pytest.raises(DialFailed):
        await nodes[2].connect(f"/ip4/10.0.0.1/tcp/9000/p2p/{nodes.peer(3)}")
    with pytest.raises(LocalError, match="our own address"):
        await nodes[2].connect(nodes.address(2))
