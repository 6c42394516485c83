"""The gauge of mesh peers tells the truth, at no cost per message."""

import pytest
import trio
from leanmesh.gossip.views import View
from leanmesh.metrics.cells import NetworkHandle, NetworkSlots
from network.nodes import TOPIC, Nodes, check_books, eventually, mesh_peers

GAUGE = "lean_gossip_mesh_peers"


async def gauge(node) -> int:
    await node.refresh_metrics()
    return node.metric(GAUGE)


@pytest.fixture
def recounts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done to bring the gauge up to date."""
    done: list[str] = []
    count, store = View.count_mesh_peers, NetworkSlots.store

    def counting(view: View) -> int:
        done.append("recount")
        return count(view)

    def storing(slots: NetworkSlots, handle: NetworkHandle, value: int) -> bool:
        done.append("store")
        return store(slots, handle, value)

    monkeypatch.setattr(View, "count_mesh_peers", counting)
    monkeypatch.setattr(NetworkSlots, "store", storing)
    return done


async def test_a_peer_in_three_topics_counts_once(autojump_clock, nodes: Nodes):
    await nodes.start_all(2, topics=("a", "b", "c"))
    for topic in "abc":
        await nodes[1].wait_for_mesh(topic, 1, 5)

    assert await gauge(nodes[1]) == 1
    assert [nodes[1].metric("gossipsub_mesh_peer_counts", "0", topic) for topic in "abc"] == [1, 1, 1]


async def test_ten_thousand_messages_recount_nothing(autojump_clock, nodes: Nodes, recounts: list[str]):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    await trio.sleep(5)
    recounts.clear()

    for number in range(10_000):
        await nodes[1].publish(TOPIC, b"%d" % number)
    await trio.sleep(5)

    await nodes[2].refresh_metrics()
    assert nodes[2].metric("gossipsub_accepted_messages_total", "0", TOPIC) == 10_000
    assert recounts == []


async def test_a_change_that_nobody_reported_is_seen_within_a_second_and_a_fifth(
    autojump_clock, nodes: Nodes, recounts: list[str]
):
    await nodes.start_all(3)
    await nodes.wait_for_meshes(2)
    await trio.sleep(5.05)
    assert await gauge(nodes[1]) == 2
    recounts.clear()
    await trio.sleep(5)
    # Nothing is dirty: the ticks have counted nothing.
    assert recounts == []

    # Behind the service's back: no pass of its own follows.
    gossip = nodes[1].network().live.gossip
    gossip.router.unsubscribe(TOPIC, trio.current_time())
    changed_s = trio.current_time()
    while nodes[1].metric(GAUGE) != 0:
        await trio.sleep(0.05)
        # As a scrape asks: the present snapshot when it is young enough.
        await nodes[1].snapshotter.fresh()

    assert trio.current_time() - changed_s <= 1.2
    assert recounts.count("recount") == 1


async def test_whoever_refreshes_sees_also_what_nobody_reported(autojump_clock, nodes: Nodes):
    await nodes.start_all(3)
    await nodes.wait_for_meshes(2)
    await trio.sleep(1.05)

    nodes[1].network().live.gossip.router.unsubscribe(TOPIC, trio.current_time())
    assert await gauge(nodes[1]) == 0


async def test_a_scrape_right_after_a_change_of_the_mesh_shows_it(autojump_clock, nodes: Nodes):
    await nodes.start_all(3)
    await nodes.wait_for_meshes(2)
    await trio.sleep(2)
    assert (await nodes[1].snapshotter.fresh()).generation > 0
    await nodes[1].refresh_metrics()

    # The snapshot is younger than scrapes ask for, and wrong.
    nodes[1].network().live.gossip.leave(TOPIC)
    page = await nodes[1].snapshotter.page()
    assert f"\n{GAUGE} 0\n".encode() in page.body


async def test_the_gauge_follows_grafts_prunes_leaving_and_disconnects(autojump_clock, nodes: Nodes):
    await nodes.start_all(4)
    await nodes.wait_for_meshes(3)
    assert await gauge(nodes[1]) == 3

    await nodes.stop(2)
    await trio.sleep(0.2)
    assert await gauge(nodes[1]) == 2
    await nodes.kill(3)
    await trio.sleep(0.2)
    assert await gauge(nodes[1]) == 1

    # Leaving: our own mesh is empty at once, the other one's after the PRUNE has come.
    gossip = nodes[4].network().live.gossip
    gossip.leave(TOPIC)
    assert await gauge(nodes[4]) == 0
    await trio.sleep(0.2)
    assert await gauge(nodes[1]) == 0
    gossip.join(TOPIC)
    await nodes[4].wait_for_mesh(TOPIC, 1, 15)
    await trio.sleep(0.1)
    assert (await gauge(nodes[4]), await gauge(nodes[1])) == (1, 1)


async def test_the_gauge_equals_the_meshes_whenever_it_is_looked_at(autojump_clock, nodes: Nodes):
    await nodes.start_all(6)
    looked = 0
    with trio.move_on_after(30):
        for number in (2, 3, 4, 5, 6):
            await nodes.kill(number)
            await trio.sleep(0.7)
            await nodes.start(number, dials=[other for other in range(1, 7) if other != number])
            for node in nodes:
                await check_books(node)
                looked += 1
    assert looked >= 25


async def test_the_gauge_agrees_with_what_the_peers_say(autojump_clock, nodes: Nodes):
    await nodes.start_all(8)
    # Three quiet heartbeats.
    await trio.sleep(4)
    for number in range(1, 9):
        said = sum(nodes.peer(number) in nodes[other].mesh(TOPIC) for other in range(1, 9) if other != number)
        assert await gauge(nodes[number]) == said == len(mesh_peers(nodes[number]))


async def test_a_stopped_network_counts_nothing_and_says_that_it_does_not_run(autojump_clock, nodes: Nodes):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    node = nodes[1]
    params = node.network().params
    await node.stop_network(0)
    assert await gauge(node) == 0
    assert node.metric("leanmesh_network_running", "0") == 0
    assert node.metric("gossipsub_topic_subscription_status", "0", TOPIC) == 0

    await node.start_network(params)
    await node.wait_for_mesh(TOPIC, 1, 15)
    await eventually(lambda: nodes[2].mesh(TOPIC))
    assert await gauge(node) == 1
    assert node.metric("leanmesh_network_running", "0") == 1
    assert node.metric("gossipsub_topic_subscription_status", "0", TOPIC) == 1
