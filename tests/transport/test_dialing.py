"""Dialing: every failure names the address, the step and the reason; one peer, one dial."""

import random
import socket

import pytest
import trio
from leanmesh.errors import LocalError
from leanmesh.identity.keys import PrivateKey
from leanmesh.transport.assembly import tcp_switch
from leanmesh.transport.errors import (
    DialBackedOff,
    DialFailed,
    DialToSelf,
    FailureKind,
    ListenFailed,
    Step,
    UnsupportedAddress,
)
from leanmesh.transport.memory_pipe import Link
from leanmesh.transport.params import TransportParams
from leanmesh.transport.switch import Switch
from transport.nodes import Nodes, address, address_of, params, peer_ids, until


async def failed_step(switch: Switch, target) -> tuple[Step, FailureKind, str]:
    with pytest.raises(DialFailed) as caught:
        await switch.dial(target, ignore_backoff=True)
    (attempt,) = caught.value.attempts
    assert str(attempt) == f"{target}: {attempt.step} failed: {attempt.reason}" or "/dns" in str(target)
    return attempt.step, attempt.kind, attempt.reason


async def test_a_port_nobody_listens_on_refuses(any_nodes: Nodes):
    switch = await any_nodes.start()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host, port = "127.0.0.1" if any_nodes.kind == "tcp" else "10.0.0.9", unused.getsockname()[1]
        step, kind, reason = await failed_step(switch, address(f"/ip4/{host}/tcp/{port}"))

    assert (step, kind, reason) == (Step.CONNECT, FailureKind.REFUSED, "Connection refused")
    assert switch.observer.events == ["dial failed: connect: refused"]
    assert switch.limits.connections == 0


async def test_another_peer_than_the_one_dialed_is_refused_by_the_dialer(any_nodes: Nodes):
    dialer, listener = await any_nodes.start(), await any_nodes.start()
    other = PrivateKey.generate().peer_id
    target = listener.listen_addresses[0].with_peer(other)
    with pytest.raises(DialFailed, match=f"handshake failed: {listener.local_peer} answered where {other}"):
        await dialer.dial(target)

    await until(lambda: listener.limits.connections == 0)
    assert (dialer.connections, listener.connections) == ([], [])


async def test_a_dial_to_oneself_is_refused_by_peer_id_and_by_handshake(any_nodes: Nodes):
    switch = await any_nodes.start()
    with pytest.raises(DialToSelf, match="is our own address"):
        await switch.dial(address_of(switch))
    step, _, reason = await failed_step(switch, switch.listen_addresses[0])

    assert (step, reason) == (Step.HANDSHAKE, "the other end is this node itself")
    await until(lambda: switch.limits.connections == 0)
    assert switch.connections == []


async def test_an_address_in_use_cannot_be_listened_on(any_nodes: Nodes):
    switch = await any_nodes.start()
    taken = switch.listen_addresses[0]
    with pytest.raises(ListenFailed, match=f"cannot listen on {taken}: Address already in use"):
        await switch.listen(taken)


async def test_an_address_that_is_not_ours_cannot_be_listened_on(any_nodes: Nodes):
    switch = await any_nodes.start()
    with pytest.raises(ListenFailed, match=r"cannot listen on /ip4/192\.0\.2\.1/tcp/0: "):
        await switch.listen(address("/ip4/192.0.2.1/tcp/0"))


async def test_addresses_of_other_transports_are_a_mistake_of_ours(any_nodes: Nodes):
    switch = await any_nodes.start()
    with pytest.raises(UnsupportedAddress, match="transports here are"):
        await switch.listen(address("/ip4/127.0.0.1/udp/0/quic-v1"))
    with pytest.raises(UnsupportedAddress, match="transports here are"):
        await switch.dial(address("/ip4/127.0.0.1/udp/1/quic-v1"))
    with pytest.raises(LocalError, match="no address"):
        await switch.dial()
    one, other = peer_ids(2)
    target = address("/ip4/127.0.0.1/tcp/1")
    with pytest.raises(LocalError, match="one dial leads to one peer"):
        await switch.dial(target.with_peer(one), target.with_peer(other))


async def test_the_second_address_is_tried_when_the_first_fails_and_both_reasons_are_told(any_nodes: Nodes):
    dialer, listener = await any_nodes.start(), await any_nodes.start()
    dead = address("/ip4/127.0.0.2/tcp/9" if any_nodes.kind == "tcp" else "/ip4/10.0.0.99/tcp/9")
    connection = await dialer.dial(dead, address_of(listener))
    assert connection.remote_peer == listener.local_peer

    with pytest.raises(DialFailed) as caught:
        await dialer.dial(dead, address(str(dead) + "9"), ignore_backoff=True)
    assert [attempt.step for attempt in caught.value.attempts] == [Step.CONNECT, Step.CONNECT]


async def test_both_ip_families_and_names_lead_to_a_listener(tcp_nodes: Nodes):
    dialer, listener = await tcp_nodes.start(), await tcp_nodes.start()
    port = listener.listen_addresses[0].endpoint().port
    by_name = await dialer.dial(address(f"/dns4/localhost/tcp/{port}"))
    assert str(by_name.remote_address) == f"/ip4/127.0.0.1/tcp/{port}"

    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    try:
        six = await listener.listen(address("/ip6/::1/tcp/0"))
    except ListenFailed as error:
        pytest.skip(str(error))
    assert (await dialer.dial(six)).remote_address == six


async def test_a_name_that_does_not_resolve_says_so(tcp_nodes: Nodes):
    switch = await tcp_nodes.start()
    step, _, _ = await failed_step(switch, address("/dns4/does-not-exist.invalid/tcp/1"))
    assert step == Step.RESOLVE


async def test_a_connected_peer_is_not_dialed_again(any_nodes: Nodes):
    dialer, listener = await any_nodes.start(), await any_nodes.start()
    first = await dialer.dial(address_of(listener))
    assert await dialer.dial(address_of(listener)) is first
    await until(lambda: listener.connections)
    (inbound,) = listener.connections
    assert await listener.dial(address_of(dialer)) is inbound


async def test_dials_to_one_peer_at_the_same_time_share_one_connection(any_nodes: Nodes):
    dialer, listener = await any_nodes.start(), await any_nodes.start()
    found = []

    async def dial() -> None:
        found.append(await dialer.dial(address_of(listener)))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(dial)
    assert len({id(connection) for connection in found}) == 1
    await until(lambda: len(listener.connections) == 1)


async def test_a_failed_address_rests_twice_as_long_each_time(memory_nodes: Nodes, autojump_clock):
    switch = await memory_nodes.start(params(backoff_jitter=1e-9, backoff_limit_s=5.0))
    dead = address("/ip4/10.0.0.9/tcp/1")
    rests = []
    for _ in range(5):
        with pytest.raises(DialFailed):
            await switch.dial(dead)
        with pytest.raises(DialBackedOff, match="the next try is due in") as caught:
            await switch.dial(dead)
        rests.append(round(caught.value.retry_in_s, 3))
        await trio.sleep(caught.value.retry_in_s + 0.001)

    assert rests == [1.0, 2.0, 4.0, 5.0, 5.0]


async def test_a_success_ends_the_rest(memory_nodes: Nodes, autojump_clock):
    dialer, listener = await memory_nodes.start(), await memory_nodes.start()
    memory_nodes.network.partition(["10.0.0.1"], ["10.0.0.2"])
    with pytest.raises(DialFailed, match="connect failed: no answer within 5 s"):
        await dialer.dial(address_of(listener))
    memory_nodes.network.heal()
    with pytest.raises(DialBackedOff):
        await dialer.dial(address_of(listener))
    connection = await dialer.dial(address_of(listener), ignore_backoff=True)
    await connection.aclose()
    await dialer.dial(address_of(listener))


async def test_simultaneous_dials_leave_one_connection_that_both_sides_agree_on(
    memory_nodes: Nodes, autojump_clock
):
    low, high = peer_ids(2)
    memory_nodes.network = type(memory_nodes.network)(Link(latency_s=0.05))
    one, other = await memory_nodes.start(peer=low), await memory_nodes.start(peer=high)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.dial, address_of(other))
        nursery.start_soon(other.dial, address_of(one))
    assert len(one.connections) == len(other.connections) == 2

    await trio.sleep(15)
    ((ours,), (theirs,)) = one.connections, other.connections
    assert (ours.is_outbound, theirs.is_outbound) == (True, False)
    await trio.sleep(60)
    assert (one.connections, other.connections) == ([ours], [theirs])
    assert one.observer.events[-1] == "closed: remote_close: the peer closed it"


async def test_a_redundant_connection_that_is_used_stays(memory_nodes: Nodes, autojump_clock):
    low, high = peer_ids(2)
    memory_nodes.network = type(memory_nodes.network)(Link(latency_s=0.05))
    one, other = await memory_nodes.start(peer=low), await memory_nodes.start(peer=high)

    async def hold(stream) -> None:
        await stream.receive_some()

    one.handlers["/hold"] = hold
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.dial, address_of(other))
        nursery.start_soon(other.dial, address_of(one))
    (dialed,) = [connection for connection in other.connections if connection.is_outbound]
    await dialed.open_stream(["/hold"])
    await trio.sleep(60)

    assert not dialed.is_closed
    assert len(one.connections) == 2


async def test_a_silent_listener_times_out_in_the_step_it_is_silent_in(tcp_nodes: Nodes):
    switch = await tcp_nodes.start(params(handshake_timeout_s=0.05))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        step, kind, reason = await failed_step(
            switch, address(f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}")
        )

    assert (step, kind, reason) == (
        Step.NEGOTIATE_SECURITY,
        FailureKind.TIMEOUT,
        "the peer took longer than 0.05 s",
    )


async def test_a_listener_without_noise_is_named_as_such(tcp_nodes: Nodes, nursery: trio.Nursery):
    switch = await tcp_nodes.start()

    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"\x13/multistream/1.0.0\n\x03na\n")
        await stream.receive_some()

    listeners = await nursery.start(
        lambda task_status: trio.serve_tcp(refuse, 0, host="127.0.0.1", task_status=task_status)
    )
    port = listeners[0].socket.getsockname()[1]
    step, _, reason = await failed_step(switch, address(f"/ip4/127.0.0.1/tcp/{port}"))
    assert (step, reason) == (Step.NEGOTIATE_SECURITY, "the peer refused /noise")


async def test_a_switch_that_is_not_running_refuses_to_work():
    switch = tcp_switch(PrivateKey.generate(), TransportParams(), random.Random(1))
    with pytest.raises(LocalError, match="not running"):
        await switch.dial(address("/ip4/127.0.0.1/tcp/1"))
    with pytest.raises(LocalError, match="not running"):
        await switch.listen(address("/ip4/127.0.0.1/tcp/0"))


async def test_a_listener_closed_before_it_ever_accepted_ends_quietly(any_nodes: Nodes):
    switch = await any_nodes.start()
    host = "127.0.0.1" if any_nodes.kind == "tcp" else "10.0.0.1"
    # No checkpoint between these: the accepting task has not run yet when its listener closes.
    transport = switch.transports[0]
    listener = await transport.listen(address(f"/ip4/{host}/tcp/0"))
    listener.close()
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()


async def test_a_dial_that_outlives_its_switch_leaves_nothing_behind(memory_nodes: Nodes, autojump_clock):
    memory_nodes.network = type(memory_nodes.network)(Link(latency_s=0.1))
    dialer, listener = await memory_nodes.start(), await memory_nodes.start()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def dial() -> None:
            with pytest.raises(LocalError, match="not running"):
                await dialer.dial(address_of(listener))

        await trio.sleep(0.15)
        await dialer.aclose()
    await until(lambda: not listener.connections)
    assert dialer.limits.connections == 0
