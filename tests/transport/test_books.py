"""The books of the transports: what was turned away, what failed, and every byte that passed, are counted."""

import socket
import struct

import attrs
import pytest
import trio
from leanmesh.identity.keys import PrivateKey
from leanmesh.metrics.catalog_node import TRANSPORT_LIMITS
from leanmesh.transport.errors import DialFailed, OutOfDescriptors
from leanmesh.transport.memory import PlainCipher
from leanmesh.transport.outlet import Outlet
from leanmesh.transport.params import TransportParams
from leanmesh.transport.switch import Switch
from leanmesh.transport.tcp import TcpCarrier
from leanmesh.transport.upgrade import HandshakeChannel, NoiseSecurity
from leanmesh.wire.yamux_params import YamuxParams
from transport.machine import no_descriptor_left
from transport.nodes import Nodes, address, address_of, params, until
from wire.yamux_pair import SYN, WINDOW_UPDATE, frame

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def test_every_limit_on_the_page_is_the_name_of_a_setting():
    settings = {field.name for params in (TransportParams, YamuxParams) for field in attrs.fields(params)}
    assert set(TRANSPORT_LIMITS) - settings == {"descriptors"}


def connected_socket(listener: Switch) -> socket.socket:
    """A connection that the kernel has taken and the listener has not: nothing else ran meanwhile."""
    return socket.create_connection(("127.0.0.1", listener.listen_addresses[0].endpoint().port))


async def test_who_is_refused_before_the_handshake_is_a_failed_attempt_too(
    memory_nodes: Nodes, autojump_clock
):
    listener = await memory_nodes.start(params(connections_per_ip_limit=1))
    host = memory_nodes.network.host("10.0.0.9")
    pipes = [await host.connect(listener.listen_addresses[0], 1.0) for _ in range(3)]
    await trio.sleep(0.1)

    assert (
        listener.observer.events == ["refused: connections_per_ip_limit", "accept failed: admit: refused"] * 2
    )
    pipes[0].close()


async def test_the_oldest_that_makes_room_for_a_new_one_is_no_failed_attempt(memory_nodes: Nodes):
    listener = await memory_nodes.start(params(connections_per_peer_limit=1))
    dialer = await memory_nodes.start()
    for _ in range(2):
        await dialer.dial(listener.listen_addresses[0])
    await until(lambda: "refused: connections_per_peer_limit" in listener.observer.events)
    assert not any(event.startswith("accept failed") for event in listener.observer.events)


async def test_streams_refused_in_the_chunk_that_ends_the_connection_are_counted(tcp_nodes: Nodes):
    listener = await tcp_nodes.start(
        params(yamux={"inbound_streams_limit": 5, "idle_frames_burst": 100, "idle_frames_per_s": 0.001})
    )
    channel = HandshakeChannel(await TcpCarrier().connect(listener.listen_addresses[0], 5.0))
    await NoiseSecurity(PrivateKey.generate()).secure(channel, is_outbound=True, expected_peer=None)
    await channel.send_all(b"".join(frame(WINDOW_UPDATE, SYN, number, 0) for number in range(1, 1001, 2)))
    await until(lambda: "closed" in "".join(listener.observer.events[-1:]))

    # The one that broke the rule was refused as well.
    assert listener.observer.events.count("refused: inbound_streams_limit") == 101
    channel.pipe.close()


async def test_bytes_of_a_handshake_that_fails_are_counted_by_both_sides(any_nodes: Nodes):
    dialer, listener = await any_nodes.start(), await any_nodes.start()
    other = PrivateKey.generate().peer_id
    with pytest.raises(DialFailed, match="answered where"):
        await dialer.dial(listener.listen_addresses[0].with_peer(other))
    await until(lambda: listener.limits.connections == 0)

    ours, theirs = dialer.observer, listener.observer
    assert min(ours.sent_bytes, ours.received_bytes) > 0
    assert theirs.sent_bytes >= ours.received_bytes
    # What is under way when the dialer closes abruptly may be lost.
    assert theirs.received_bytes <= ours.sent_bytes


async def test_garbage_of_a_stranger_is_counted_to_the_byte(tcp_nodes: Nodes):
    listener = await tcp_nodes.start()
    with connected_socket(listener) as stranger:
        stranger.sendall(b"\xff" * 100)
        await until(lambda: listener.observer.events)
    assert listener.observer.received_bytes == 100


class BreakingPipe:
    """Takes ten bytes, and breaks."""

    def __init__(self) -> None:
        self.is_broken = False

    def send_nowait(self, data: memoryview) -> int:
        if self.is_broken:
            raise BrokenPipeError
        self.is_broken = True
        return min(10, len(data))


async def test_what_was_sent_before_a_send_broke_is_counted():
    told: list[object] = []
    outlet = Outlet(
        BreakingPipe(),
        PlainCipher(),
        bytearray(25),
        on_sent=told.append,
        on_blocked=lambda: told.append("blocked"),
        on_broken=lambda error: told.append(type(error)),
    )
    outlet.flush()
    assert told == [10, BrokenPipeError]


async def test_without_descriptors_accepting_pauses_is_counted_and_loses_nobody(tcp_nodes: Nodes):
    listener = await tcp_nodes.start()
    with connected_socket(listener):
        with no_descriptor_left():
            await until(lambda: len(listener.observer.events) >= 2)
        assert set(listener.observer.events) == {"refused: descriptors"}
        assert listener.limits.connections == 0
        # Whoever waited is accepted as soon as there are some again.
        await until(lambda: listener.limits.handshakes == 1)


async def test_a_listener_without_descriptors_says_which_and_why():
    listener = await TcpCarrier().listen(address("/ip4/127.0.0.1/tcp/0"))
    with socket.create_connection(("127.0.0.1", listener.address.endpoint().port)):
        with (
            no_descriptor_left(),
            pytest.raises(
                OutOfDescriptors, match=f"cannot accept on {listener.address}: Too many open files"
            ),
        ):
            await listener.accept()
        (await listener.accept()).close()
    listener.close()


async def test_a_connection_that_is_gone_before_it_is_accepted_is_a_failed_attempt(tcp_nodes: Nodes):
    listener = await tcp_nodes.start()
    stranger = connected_socket(listener)
    stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    stranger.close()
    await until(lambda: listener.observer.events)

    assert listener.observer.events == ["accept failed: connect: error"]
    assert (await (await tcp_nodes.start()).dial(address_of(listener))).remote_peer == listener.local_peer
