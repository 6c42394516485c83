"""Addresses that cannot be used, and a machine that is short of something: told, and never in others' way."""

import pytest
from leanmesh.transport import tcp
from leanmesh.transport.errors import (
    ConnectError,
    DialFailed,
    FailureKind,
    ListenFailed,
    Step,
    UnsupportedAddress,
)
from transport.machine import no_descriptor_left
from transport.nodes import Nodes, address, address_of, params, until

QUIC = address("/ip4/127.0.0.1/udp/1/quic-v1")
# Parsed as text, but no form that leads anywhere.
FORMLESS = address("/ip4/127.0.0.1/udp/1")


async def test_a_dial_without_a_descriptor_fails_as_a_dial_and_the_switch_goes_on(tcp_nodes: Nodes):
    dialer, listener = await tcp_nodes.start(), await tcp_nodes.start()
    with no_descriptor_left(), pytest.raises(DialFailed) as caught:
        await dialer.dial(address_of(listener))
    (attempt,) = caught.value.attempts
    assert (attempt.step, attempt.reason, attempt.kind) == (
        Step.CONNECT,
        "Too many open files",
        FailureKind.ERROR,
    )
    assert dialer.observer.events == ["dial failed: connect: error"]
    assert dialer.limits.connections == 0

    await dialer.dial(address_of(listener), ignore_backoff=True)


async def test_listening_without_a_descriptor_fails_with_the_systems_reason(tcp_nodes: Nodes):
    switch = await tcp_nodes.start()
    with (
        no_descriptor_left(),
        pytest.raises(ListenFailed, match=r"cannot listen on /ip4/127\.0\.0\.1/tcp/0: Too many open files"),
    ):
        await switch.listen(address("/ip4/127.0.0.1/tcp/0"))
    await switch.listen(address("/ip4/127.0.0.1/tcp/0"))


async def test_a_machine_without_the_family_says_so(tcp_nodes: Nodes, monkeypatch: pytest.MonkeyPatch):
    switch = await tcp_nodes.start()
    # A family that no machine has stands for the one that this machine lacks.
    monkeypatch.setitem(tcp._FAMILIES, "ip6", 99)
    reason = "Address family not supported by protocol"
    with pytest.raises(DialFailed, match=f"^/ip6/::1/tcp/1: connect failed: {reason}$"):
        await switch.dial(address("/ip6/::1/tcp/1"))
    with pytest.raises(ListenFailed, match=reason):
        await switch.listen(address("/ip6/::1/tcp/0"))


@pytest.mark.parametrize("unusable", [QUIC, FORMLESS], ids=["unsupported", "formless"])
async def test_an_unusable_address_does_not_hide_the_good_one_behind_it(unusable, any_nodes: Nodes):
    dialer, listener = await any_nodes.start(), await any_nodes.start()
    connection = await dialer.dial(unusable.with_peer(listener.local_peer), address_of(listener))
    assert connection.remote_peer == listener.local_peer
    # It was never dialed, so no dial failed.
    assert dialer.observer.events == ["opened: outbound"]


async def test_a_failed_dial_tells_of_the_unusable_addresses_as_well(any_nodes: Nodes):
    switch = await any_nodes.start()
    dead = address("/ip4/127.0.0.2/tcp/9" if any_nodes.kind == "tcp" else "/ip4/10.0.0.99/tcp/9")
    with pytest.raises(DialFailed) as caught:
        await switch.dial(QUIC, FORMLESS, dead)

    assert [(attempt.address, attempt.step) for attempt in caught.value.attempts] == [
        (dead, Step.CONNECT),
        (QUIC, Step.CONNECT),
        (FORMLESS, Step.RESOLVE),
    ]
    assert switch.observer.events == ["dial failed: connect: refused"]


async def test_nothing_but_unusable_addresses_is_a_mistake_of_ours_that_names_each(any_nodes: Nodes):
    switch = await any_nodes.start()
    there_are = f"the transports here are {switch.transports[0].name}"
    with pytest.raises(UnsupportedAddress) as caught:
        await switch.dial(QUIC, FORMLESS)

    assert str(caught.value) == "; ".join(
        (
            str(ConnectError(QUIC, Step.CONNECT, there_are)),
            f"{FORMLESS}: resolve failed: {FORMLESS} is neither HOST/tcp/PORT nor HOST/udp/PORT/quic-v1",
        )
    )


async def test_a_full_house_of_ours_does_not_make_the_address_rest(any_nodes: Nodes):
    full = await any_nodes.start(params(connections_limit=1))
    guest, wanted = await any_nodes.start(), await any_nodes.start()
    await guest.dial(address_of(full))
    await until(lambda: full.connections)
    with pytest.raises(DialFailed, match="admit failed: connections_limit of 1 is reached"):
        await full.dial(address_of(wanted))
    assert full.observer.events[-2:] == ["refused: connections_limit", "dial failed: admit: refused"]

    await full.connections[0].aclose()
    await until(lambda: full.limits.connections == 0)
    assert (await full.dial(address_of(wanted))).remote_peer == wanted.local_peer
