"""The networks of one node: side by side, stopped, started, and started again after a failure."""

import logging
from itertools import pairwise

import pytest
import trio
from leanmesh.errors import LocalError
from leanmesh.gossip.router import Router
from leanmesh.run import open_node
from leanmesh.service.node import Node
from leanmesh.service.params import NetworkParams, ServiceParams
from leanmesh.settings import Settings
from leanmesh.transport.errors import ListenFailed
from leanmesh.transport.interface import Stream
from leanmesh.transport.memory import MemoryNetwork
from leanmesh.wire.identify import Identify
from leanmesh.wire.multiaddr import Multiaddr
from network.nodes import TOPIC, Nodes, cancel_after, check_books, collect, eventually


def params(network_id: int, *peers: str, **more) -> NetworkParams:
    return NetworkParams(
        network_id=network_id,
        listen=(f"/ip4/10.0.0.{network_id + 1}/tcp/9000",),
        peers=peers,
        topics=(TOPIC,),
        signing="none",
        **more,
    )


def hosts(count: int) -> dict:
    memory = MemoryNetwork()
    return {number: memory.host(f"10.0.0.{number + 1}") for number in range(count)}


async def test_networks_of_one_process_mesh_with_each_other_and_each_has_its_gauge(
    autojump_clock, nursery: trio.Nursery
):
    async with open_node(Settings(network=()), hosts=hosts(5), seed=1) as node:
        for number in range(5):
            known = [str(network.listen_addresses[0]) for network in node.networks.values()]
            await node.start_network(params(number, *known))
        for number in range(5):
            await node.wait_for_mesh(TOPIC, 4, 10, network_id=number)
        inboxes = [await collect(nursery, node, network_id=number) for number in range(1, 5)]
        await node.publish(TOPIC, b"to all the others", network_id=0)
        for inbox in inboxes:
            assert await inbox.wait_for(1) == [b"to all the others"]
        await check_books(node)
        assert node.metric("lean_gossip_mesh_peers") == 20

        again = node.network(3).params
        await node.stop_network(3)
        await trio.sleep(0.1)
        await check_books(node)
        assert list(node.networks) == [0, 1, 2, 4]
        assert node.metric("lean_gossip_mesh_peers") == 12
        assert [node.metric("leanmesh_network_running", str(n)) for n in range(5)] == [1, 1, 1, 0, 1]

        await node.start_network(again)
        await node.wait_for_mesh(TOPIC, 4, 10, network_id=3)
        await trio.sleep(1)
        await check_books(node)
        assert node.metric("lean_gossip_mesh_peers") == 20
        await node.stop()
        await check_books(node)


async def test_a_network_that_cannot_be_started_says_why_and_takes_no_place(autojump_clock):
    async with open_node(Settings(network=(params(0),)), hosts=hosts(2)) as node:
        with pytest.raises(LocalError, match="network 0 is running already"):
            await node.start_network(params(0))
        with pytest.raises(ListenFailed, match=r"the host's address is 10\.0\.0\.2"):
            await node.start_network(NetworkParams(network_id=1, listen=("/ip4/10.0.0.9/tcp/9000",)))
        assert list(node.networks) == [0]
        await node.start_network(params(1))
        with pytest.raises(LocalError, match=r"no network 9 here; there are \[0, 1\]"):
            await node.stop_network(9)
    with pytest.raises(LocalError, match="the node is not running"):
        await node.start_network(params(1))


async def test_a_node_that_cannot_start_raises_one_error_and_not_a_tree(autojump_clock):
    with pytest.raises(ListenFailed):
        async with open_node(
            Settings(network=(NetworkParams(listen=("/ip4/10.0.0.9/tcp/1",)),)), hosts=hosts(1)
        ):
            pytest.fail("it started")


async def test_an_error_of_the_application_leaves_the_node_as_itself(autojump_clock):
    with pytest.raises(ZeroDivisionError):
        async with open_node(Settings(network=(params(0),)), hosts=hosts(1)):
            raise ZeroDivisionError


@pytest.fixture
def failing_heartbeats(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """A bug of ours: by peer id, how many heartbeats raise from now on."""
    failures: dict = {}
    beat = Router.heartbeat

    def heartbeat(router: Router, now_s: float) -> None:
        if failures.get(router.local_peer, 0):
            failures[router.local_peer] -= 1
            raise ZeroDivisionError("a bug of ours")
        beat(router, now_s)

    monkeypatch.setattr(Router, "heartbeat", heartbeat)
    return failures


async def test_a_network_whose_task_fails_is_started_again_loudly(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery, failing_heartbeats, caplog: pytest.LogCaptureFixture
):
    await nodes.start_all(3)
    await nodes.wait_for_meshes(2)
    inbox = await collect(nursery, nodes[2])
    failing_heartbeats[nodes.peer(2)] = 1
    with caplog.at_level(logging.ERROR):
        await eventually(lambda: nodes[2].restarts == {0: 1})

    # It dials its peers anew, and they know of no back-off.
    await trio.sleep(4)
    for node in nodes:
        assert len(node.mesh(TOPIC)) == 2
    # A subscription outlives the failure.
    await nodes[1].publish(TOPIC, b"are you well?")
    assert await inbox.wait_for(1) == [b"are you well?"]
    assert [record.message for record in caplog.records] == [
        "network:0 raised; the node goes on",
        "network 0 failed: ZeroDivisionError: a bug of ours; it is started again in 1 s",
    ]
    await nodes[2].refresh_metrics()
    assert nodes[2].metric("leanmesh_contained_errors_total", "network:0") == 1
    nodes[2].contained.counts.clear()


@pytest.mark.parametrize("step", ["close", "remove_peer"])
async def test_a_network_whose_core_breaks_once_more_while_it_is_cleared_away_comes_back_and_keeps_its_counts(
    autojump_clock, nodes: Nodes, failing_heartbeats, monkeypatch: pytest.MonkeyPatch, step: str
):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    for number in range(50):
        await nodes[1].publish(TOPIC, b"%d" % number, written_by=1)
    broken, done = [nodes.peer(1)], getattr(Router, step)

    def break_once(router: Router, *args) -> None:
        if router.local_peer in broken:
            # One copy waits that nobody will write.
            router.publish(TOPIC, b"too late", trio.current_time())
            broken.clear()
            raise KeyError("a bug of ours, once more")
        done(router, *args)

    monkeypatch.setattr(Router, step, break_once)
    failing_heartbeats[nodes.peer(1)] = 1
    await eventually(lambda: not broken)
    await eventually(lambda: nodes[1].network().life)
    await nodes.wait_for_meshes(1)

    assert nodes[1].restarts == {0: 1}
    await check_books(nodes[1])
    assert nodes[1].metric("leanmesh_messages_total", "outbound", "written") == 50
    nodes[1].contained.counts.clear()


async def test_a_network_that_fails_again_and_again_waits_longer_each_time_and_can_be_stopped(
    autojump_clock, failing_heartbeats
):
    service = ServiceParams(restart_first_s=1.0, restart_limit_s=4.0)
    async with open_node(Settings(network=(params(0),), service=service), hosts=hosts(1)) as node:
        failing_heartbeats[node.network().key.peer_id] = 1000
        failed_s: list[float] = []
        while len(failed_s) < 5:
            await trio.sleep(0.05)
            if node.restarts[0] > len(failed_s):
                failed_s.append(trio.current_time())
        pauses = [round(later - earlier, 1) for earlier, later in pairwise(failed_s)]
        # And a tenth of a second each until the first heartbeat.
        assert pauses == [1.1, 2.1, 4.1, 4.1]
        assert node.network().life is None
        with pytest.raises(LocalError, match="network 0 is not running"):
            node.peers()
        await node.stop_network(0)
        failing_heartbeats.clear()
        await node.start_network(params(0))
        assert node.peers() == []


async def test_a_network_that_ran_well_before_it_failed_is_back_after_the_first_pause(
    autojump_clock, nodes: Nodes, failing_heartbeats
):
    node = await nodes.start(1)
    downs_s = []
    for ran_s in (600, 600, 5, 600):
        await trio.sleep(ran_s)
        failing_heartbeats[nodes.peer(1)] = 1
        await eventually(lambda: node.network().life is None)
        failed_s = trio.current_time()
        await eventually(lambda: node.network().life is not None)
        downs_s.append(round(trio.current_time() - failed_s, 1))
    assert downs_s == [1.0, 1.0, 2.0, 1.0]
    node.contained.counts.clear()


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.015, 0.03, 0.05, 0.1, 0.3, 1.0, 1.7])
async def test_a_node_stops_in_the_middle_of_everything(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery, after_s: float
):
    """Dials, handshakes, identify, links, subscriptions, publishing and requests are all under way."""
    await nodes.start_all(3)
    await nodes.start(4, dials=(1, 2, 3, 9))
    async with trio.open_nursery() as busy:

        async def publish_for_ever() -> None:
            number = 0
            while True:
                number += 1
                try:
                    await nodes[4].publish(TOPIC, number.to_bytes(4, "big") + bytes(2000), written_by=3)
                except (LocalError, KeyError):
                    return
                await trio.sleep(0.001)

        busy.start_soon(publish_for_ever)
        await collect(nursery, nodes[4])
        await trio.sleep(after_s)
        stopping_s = trio.current_time()
        await nodes.stop(4)
        assert trio.current_time() - stopping_s <= nodes.service.stop_timeout_s
        busy.cancel_scope.cancel()
    await trio.sleep(2)
    for number in (1, 2, 3):
        assert nodes.peer(4) not in {info.peer for info in nodes[number].peers()}


# Trio runs ready tasks in random order, and one order in three once lost what came last.
@pytest.mark.parametrize("attempt", range(8))
async def test_a_node_that_is_cancelled_says_goodbye_and_sends_what_is_queued(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery, attempt: int
):
    await nodes.start_all(1)
    inbox = await collect(nursery, nodes[1])
    settings = Settings(
        network=(
            NetworkParams(
                listen=(), peers=(nodes.address(1),), topics=(TOPIC,), signing="none", message_id="sha256"
            ),
        )
    )
    with trio.CancelScope() as scope:
        async with open_node(settings, hosts={0: nodes.memory.host("10.0.0.9")}) as node:
            await node.wait_for_mesh(TOPIC, 1, 5)
            for number in range(100):
                await node.publish(TOPIC, number.to_bytes(4, "big") + bytes(60_000))
            scope.cancel()
            await trio.sleep_forever()

    assert len(await inbox.wait_for(100)) == 100
    await eventually(lambda: nodes[1].peers() == [], timeout_s=1)
    await nodes[1].refresh_metrics()
    assert nodes[1].metric("lean_peer_disconnection_events_total", "inbound", "remote_close") == 1
    topic = nodes[1].network().live.gossip.router.view.topic(TOPIC)
    assert topic is not None
    assert topic.backoff_until_s == {}


async def test_a_node_may_be_stopped_by_many_at_once_whatever_moment_each_comes(autojump_clock):
    async with (
        open_node(Settings(network=tuple(params(number) for number in range(3))), hosts=hosts(3)) as node,
        trio.open_nursery() as nursery,
    ):
        for _ in range(60):
            nursery.start_soon(node.stop)
            await trio.lowlevel.checkpoint()
    assert list(node.networks) == []


async def test_a_node_whose_stop_breaks_ends_all_the_same(autojump_clock, monkeypatch: pytest.MonkeyPatch):
    async def broken(_: Node) -> None:
        raise ZeroDivisionError("a bug of ours")

    async def end_it_too_late(node: Node) -> None:
        await trio.sleep(1000)
        node.close()

    monkeypatch.setattr(Node, "stop", broken)
    async with trio.open_nursery() as nursery:
        with pytest.raises(ZeroDivisionError):
            async with open_node(Settings(network=(params(0),)), hosts=hosts(1)) as node:
                nursery.start_soon(end_it_too_late, node)
        assert trio.current_time() < 1000
        nursery.cancel_scope.cancel()


async def test_a_stop_waits_for_a_stuck_peer_no_longer_than_stated(autojump_clock, nodes: Nodes):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    nodes.memory.partition([nodes.ip(1)], [nodes.ip(2)])
    for number in range(10):
        await nodes[1].publish(TOPIC, bytes([number]) * 900_000)
    stopping_s = trio.current_time()
    await nodes.stop(1)
    assert 0 < trio.current_time() - stopping_s <= nodes.service.stop_timeout_s + 0.1
    nodes.memory.heal()


async def test_a_relay_under_traffic_stops_as_soon_as_its_outboxes_are_written(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await nodes.start(1)
    await nodes.start(2, dials=(1,))
    await nodes.start(3, dials=(2,))
    await nodes[2].wait_for_mesh(TOPIC, 2, 5)

    async def publish_for_ever() -> None:
        number = 0
        while True:
            number += 1
            await nodes[1].publish(TOPIC, number.to_bytes(4, "big") + bytes(500), timeout_s=60)
            await trio.sleep(0.002)

    nursery.start_soon(publish_for_ever)
    await trio.sleep(2)
    stopping_s = trio.current_time()
    await nodes.stop(2)
    assert trio.current_time() - stopping_s < 0.5
    nursery.cancel_scope.cancel()


async def test_too_few_descriptors_are_said_at_start(
    autojump_clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("resource.getrlimit", lambda _: (100, 4096))
    tcp = NetworkParams(listen=("/ip4/127.0.0.1/tcp/0",))
    with caplog.at_level(logging.WARNING, "leanmesh.events"):
        async with open_node(Settings(network=(tcp,))):
            pass
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "this process may open 100 files, and 512 connections need 576: raise the limit (`ulimit -n 576`"
    )
    assert (record.event, record.levelno) == ("descriptors", logging.WARNING)


async def test_networks_in_memory_need_no_descriptors(
    autojump_clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("resource.getrlimit", lambda _: (100, 4096))
    with caplog.at_level(logging.WARNING, "leanmesh.events"):
        async with open_node(Settings(network=(params(0),)), hosts=hosts(1)):
            pass
    assert caplog.records == []


async def test_a_leaf_keeps_a_small_mesh_and_gets_every_message(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await nodes.start_all(5)
    leaf = await nodes.start(6, dials=range(1, 6), role="leaf")
    await nodes.wait_for_meshes(1)
    inbox = await collect(nursery, leaf)
    await trio.sleep(5)
    assert 1 <= len(leaf.mesh(TOPIC)) <= 3

    for number in range(1, 6):
        await nodes[number].publish(TOPIC, b"from %d" % number)
    assert sorted(await inbox.wait_for(5)) == [b"from %d" % number for number in range(1, 6)]


async def test_what_is_announced_is_what_others_are_told(autojump_clock, nodes: Nodes):
    await nodes.start(1, announce=("/dns4/example.org/tcp/4001",))
    node = await nodes.start(2)
    told = await node.identify(await node.connect(nodes.address(1)))
    assert [str(address) for address in told.listen_addresses] == ["/dns4/example.org/tcp/4001"]
    assert [str(address) for address in nodes[1].network().listen_addresses] == [
        f"/dns4/example.org/tcp/4001/p2p/{nodes.peer(1)}"
    ]


async def test_connections_and_meshes_are_told_as_events(
    autojump_clock, nodes: Nodes, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO, "leanmesh.events"):
        await nodes.start(1)
        await nodes.start(2, dials=(1,))
        await nodes.wait_for_meshes(1)
        await trio.sleep(1)
        await nodes.kill(2)
        await trio.sleep(1)
    other = str(nodes.peer(2))
    told = [record.event for record in caplog.records if record.fields["peer"] == other]
    assert told == ["connected", "graft", "prune", "disconnected"] or told == [
        "connected",
        "graft",
        "disconnected",
        "prune",
    ]


async def test_a_peer_that_says_who_it_is_and_leaves_at_once_is_not_met_after_it_has_parted(
    autojump_clock, nodes: Nodes, caplog: pytest.LogCaptureFixture
):
    async def answer_and_leave(stream: Stream) -> None:
        await stream.send_all(Identify(agent_version="brief").encode())
        await stream.aclose()
        await stream.connection.aclose()

    await nodes.start(1)
    stranger = await nodes.stranger(2, {"/ipfs/id/1.0.0": answer_and_leave})
    with caplog.at_level(logging.INFO, "leanmesh.events"):
        connection = await stranger.dial(Multiaddr.from_text(nodes.address(1)))
        await connection.wait_closed()
        await trio.sleep(1)
    assert [record.event for record in caplog.records] == ["disconnected"]


@pytest.mark.parametrize("turns", range(0, 48, 3))
async def test_a_node_can_be_cancelled_at_any_moment_of_its_start(autojump_clock, nodes: Nodes, turns: int):
    await nodes.start(1)
    tasks = trio.lowlevel.current_statistics().tasks_living
    settings = Settings(
        network=(
            NetworkParams(listen=("/ip4/10.0.0.9/tcp/9000",), peers=(nodes.address(1),), topics=(TOPIC,)),
        )
    )

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_after, turns, scope)
            async with (
                open_node(settings, hosts={0: nodes.memory.host("10.0.0.9")}) as node,
                node.subscribe(TOPIC) as messages,
            ):
                await messages.receive()
    assert scope.cancelled_caught
    # What it began at the other node has ended too.
    await trio.sleep(30)
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert nodes[1].peers() == []
