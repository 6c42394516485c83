"""How connections are limited, kept alive, and ended."""

import pytest
import trio
from leanmesh.transport.errors import ConnectionClosed, DialFailed, StreamRefused
from leanmesh.transport.memory_pipe import Link
from leanmesh.transport.tcp import TcpCarrier
from leanmesh.wire.yamux_frames import GoAwayCode
from transport.nodes import Nodes, address, address_of, params, until


async def hold(stream) -> None:
    await trio.sleep_forever()


async def connected(nodes: Nodes, **settings):
    dialer, listener = await nodes.start(params(**settings)), await nodes.start(params(**settings))
    dialer.handlers["/hold"] = listener.handlers["/hold"] = hold
    connection = await dialer.dial(address_of(listener))
    await until(lambda: listener.connections)
    return dialer, listener, connection


async def test_a_peer_that_vanishes_is_noticed_by_both_in_time(memory_nodes: Nodes, autojump_clock):
    dialer, listener, connection = await connected(memory_nodes)
    stream = await connection.open_stream(["/hold"])
    await trio.sleep(1)
    cut_at_s = trio.current_time()
    memory_nodes.network.cut("10.0.0.1", "10.0.0.2", is_silent=True)
    with pytest.raises(ConnectionClosed, match="left a ping unanswered for 10 s"):
        await stream.receive_some()

    assert trio.current_time() - cut_at_s <= 15 + 10 + 2 * 1
    await trio.sleep(5)
    assert (dialer.connections, listener.connections) == ([], [])
    assert dialer.observer.events[-1] == "closed: timeout: the peer left a ping unanswered for 10 s"


async def test_a_quiet_connection_lives_while_its_pings_are_answered(memory_nodes: Nodes, autojump_clock):
    _, _, connection = await connected(memory_nodes)
    await connection.open_stream(["/hold"])
    await trio.sleep(3600)

    assert not connection.is_closed


async def test_a_connection_without_streams_is_closed_after_its_time(memory_nodes: Nodes, autojump_clock):
    dialer, listener, connection = await connected(memory_nodes, connection={"idle_timeout_s": 60.0})
    await trio.sleep(59)
    assert not connection.is_closed
    await trio.sleep(5)

    assert connection.is_closed
    assert "closed: local_close: no stream for 60 s" in (
        dialer.observer.events[-1],
        listener.observer.events[-1],
    )
    assert listener.connections == []


async def test_a_peer_that_takes_no_data_is_cut_off(memory_nodes: Nodes, autojump_clock):
    memory_nodes.network = type(memory_nodes.network)(Link(capacity_bytes=1000))
    dialer, _, connection = await connected(memory_nodes)
    stream = await connection.open_stream(["/hold"])
    memory_nodes.network.partition(["10.0.0.1"], ["10.0.0.2"])
    with pytest.raises(ConnectionClosed):
        await stream.send_all(b"x" * 1_000_000)

    assert trio.current_time() < 40
    assert dialer.observer.events[-1].startswith("closed: timeout: ")


async def test_a_reset_connection_ends_at_once(any_nodes: Nodes):
    if any_nodes.kind == "tcp":
        pytest.skip("the memory network does the cutting; resets on TCP are in test_hostile_peers")
    dialer, listener, connection = await connected(any_nodes)
    stream = await connection.open_stream(["/hold"])
    assert any_nodes.network.cut("10.0.0.1", is_silent=False) == 1
    with pytest.raises(ConnectionClosed, match="the connection broke"):
        await stream.receive_some()
    await until(lambda: not listener.connections and not dialer.connections)


async def test_a_partition_that_heals_in_time_breaks_nothing(memory_nodes: Nodes, autojump_clock):
    _, listener, connection = await connected(memory_nodes)
    received = []

    async def collect(stream) -> None:
        while part := await stream.receive_some():
            received.append((part, trio.current_time()))

    listener.handlers["/collect"] = collect
    stream = await connection.open_stream(["/collect"])
    memory_nodes.network.partition(["10.0.0.1"], ["10.0.0.2"])
    await stream.send_all(b"patience")
    await trio.sleep(10)
    assert received == []
    healed_at_s = trio.current_time()
    memory_nodes.network.heal()
    await trio.sleep(0.1)

    assert received == [(b"patience", healed_at_s)]
    assert not connection.is_closed


async def test_latency_and_bandwidth_take_their_time(memory_nodes: Nodes, autojump_clock):
    memory_nodes.network = type(memory_nodes.network)(Link(latency_s=0.1, bandwidth_bytes_per_s=1_000_000))
    _, listener, connection = await connected(memory_nodes)
    ended_at_s = []

    async def collect(stream) -> None:
        while await stream.receive_some():
            pass
        ended_at_s.append(trio.current_time())

    listener.handlers["/collect"] = collect
    stream = await connection.open_stream(["/collect"])
    started_at_s = trio.current_time()
    await stream.send_all(b"x" * 200_000)
    await stream.send_eof()
    await trio.sleep(10)

    (end_s,) = ended_at_s
    assert end_s - started_at_s == pytest.approx(0.1 + 0.2, rel=0.01)
    assert connection.rtt_s == pytest.approx(0.2, rel=0.01)


async def test_streams_that_the_peer_never_closes_are_reset_in_time(memory_nodes: Nodes, autojump_clock):
    _, listener, connection = await connected(memory_nodes)
    stream = await connection.open_stream(["/hold"])
    await stream.aclose()
    await trio.sleep(20)
    assert len(connection.streams) == 1
    await trio.sleep(15)
    assert connection.streams == ()
    assert listener.connections[0].streams == ()


async def test_a_peer_that_opens_a_stream_and_says_nothing_loses_it(memory_nodes: Nodes, autojump_clock):
    _, listener, connection = await connected(memory_nodes)
    stream = connection._session.open_stream(0.0)
    connection.flush()
    await trio.sleep(1)
    assert len(listener.connections[0].streams) == 1
    await trio.sleep(10)

    assert listener.connections[0].streams == ()
    assert stream.is_reset


async def test_a_stream_that_is_not_answered_is_given_up_in_time(memory_nodes: Nodes, autojump_clock):
    _, _, connection = await connected(memory_nodes)
    memory_nodes.network.partition(["10.0.0.1"], ["10.0.0.2"])
    started_at_s = trio.current_time()
    with pytest.raises(StreamRefused, match="no answer within 2 s") as caught:
        await connection.open_stream(["/hold"], timeout_s=2.0)

    assert trio.current_time() - started_at_s == pytest.approx(2.0)
    assert not caught.value.is_unsupported


async def test_connections_from_one_address_are_limited_beyond_the_exempt_networks(nursery, autojump_clock):
    for exempt, expected in (((), 2), (("10.0.0.0/8",), 3)):
        nodes = Nodes("memory", nursery)
        listener = await nodes.start(params(connections_per_ip_limit=2, exempt_networks=exempt))
        host = nodes.network.host("10.0.0.9")
        pipes = [await host.connect(listener.listen_addresses[0], 1.0) for _ in range(3)]
        await trio.sleep(0.1)
        assert listener.limits.connections == expected
        refusals = [
            event for event in listener.observer.events if event == "refused: connections_per_ip_limit"
        ]
        assert len(refusals) == 3 - expected

        await trio.sleep(15)
        assert len(pipes) == 3
        assert listener.limits.connections == listener.limits.handshakes == 0
        assert listener.observer.events.count("accept failed: handshake: timeout") == expected


async def test_strangers_that_have_not_said_who_they_are_are_limited(memory_nodes: Nodes, autojump_clock):
    listener = await memory_nodes.start(params(handshakes_limit=2))
    pipes = []
    for number in range(3):
        host = memory_nodes.network.host(f"10.0.1.{number}")
        pipes.append(await host.connect(listener.listen_addresses[0], 1.0))
        await trio.sleep(0.01)
    assert listener.observer.events == ["refused: handshakes_limit", "accept failed: admit: refused"]

    # Those who hold the places lose them in time.
    await trio.sleep(15)
    dialer = await memory_nodes.start()
    await dialer.dial(address_of(listener))


async def test_connections_in_all_are_limited_in_both_directions(any_nodes: Nodes):
    limited = await any_nodes.start(params(connections_limit=1))
    first, second = await any_nodes.start(), await any_nodes.start()
    await first.dial(address_of(limited))
    await until(lambda: limited.connections)
    with pytest.raises(DialFailed):
        await second.dial(address_of(limited))
    with pytest.raises(DialFailed, match="admit failed: connections_limit of 1 is reached"):
        await limited.dial(address_of(second))

    assert limited.observer.events.count("refused: connections_limit") == 2
    await limited.connections[0].aclose()
    await until(lambda: limited.limits.connections == 0)
    await limited.dial(address_of(second))


async def test_beyond_the_limit_per_peer_the_newest_connections_stay(any_nodes: Nodes):
    listener = await any_nodes.start(params(connections_per_peer_limit=2))
    dialer = await any_nodes.start()
    target = listener.listen_addresses[0]  # Without peer id: dialed each time.
    connections = [await dialer.dial(target) for _ in range(3)]
    await until(lambda: connections[0].is_closed)

    assert [connection.is_closed for connection in connections] == [True, False, False]
    assert len(listener.connections) == 2
    assert listener.connection_to(dialer.local_peer) is listener.connections[-1]
    assert "refused: connections_per_peer_limit" in listener.observer.events


async def test_closing_the_switch_says_go_away_everywhere_and_frees_the_port(any_nodes: Nodes):
    dialer, listener, _ = await connected(any_nodes)
    target = listener.listen_addresses[0]
    await listener.aclose()
    await until(lambda: not dialer.connections)

    assert dialer.observer.events[-1] == "closed: remote_close: the peer closed it"
    assert listener.listen_addresses == []
    if any_nodes.kind == "tcp":
        await dialer.listen(target)


async def test_a_reset_behind_a_go_away_is_a_close_like_any_other(tcp_nodes: Nodes):
    _, listener, connection = await connected(tcp_nodes)
    connection._session.go_away(GoAwayCode.NORMAL)
    connection.flush()
    await until(lambda: listener.connections[0]._session.go_away_received is not None)
    connection.pipe.close(is_abrupt=True)
    await until(lambda: not listener.connections)

    assert listener.observer.events[-1] == "closed: remote_close: the peer closed it"


async def test_a_socket_closed_over_unread_bytes_is_not_reset():
    listener = await TcpCarrier().listen(address("/ip4/127.0.0.1/tcp/0"))
    ours = await TcpCarrier().connect(listener.address, 5.0)
    theirs = await listener.accept()
    listener.close()
    theirs.send_nowait(b"nobody reads this")
    await ours.wait_readable()
    ours.send_nowait(b"last words")
    ours.close()
    await theirs.wait_readable()

    # A reset would be an error instead of the end.
    assert [theirs.receive_nowait(100), theirs.receive_nowait(100)] == [b"last words", b""]
    theirs.close()


async def test_cancelling_the_switch_says_go_away_as_well(any_nodes: Nodes):
    listener = await any_nodes.start()
    other = Nodes(any_nodes.kind, any_nodes.nursery, any_nodes.network, count=5)
    async with trio.open_nursery() as nursery:
        other.nursery = nursery
        dialer = await other.start()
        await dialer.dial(address_of(listener))
        await until(lambda: listener.connections)
        nursery.cancel_scope.cancel()
    await until(lambda: not listener.connections)

    assert listener.observer.events[-1] == "closed: remote_close: the peer closed it"
    assert dialer.limits.connections == 0
