"""Work is measured on every path of running nodes, and what was produced is on the page to the unit."""

from collections import Counter

import pytest
import trio
from leanmesh.errors import LocalError
from leanmesh.gossip.params import GossipParams
from leanmesh.metrics.params import CollectorParams
from leanmesh.service import metering
from leanmesh.service.node import Node
from leanmesh.service.requests import NoResponse, Responder, request
from leanmesh.transport.errors import StreamRefused, StreamReset
from network.nodes import TOPIC, Nodes, collect, eventually

MESSAGES = 300


def counts(node: Node) -> Counter[tuple[str, ...]]:
    """leanmesh_work_total by (source, topic class, op), as the present snapshot has it."""
    family = node.snapshotter.current.family("leanmesh_work_total")
    return Counter({series.labels: series.value for series in family.series})


def of_requests(node: Node, name: str) -> dict[str, object]:
    """One family of the work, of the source `reqresp`, by operation."""
    series = node.snapshotter.current.family(name).series
    return {op: each.value for each in series for source, _, op in [each.labels] if source == "reqresp"}


async def publish(node: Node, messages: int = MESSAGES) -> None:
    for number in range(messages):
        await node.publish(TOPIC, b"message %d" % number)
        if number % 10 == 0:
            await trio.sleep(0.01)


async def test_gossip_and_publishing_are_counted_to_the_unit_under_the_class_of_their_topic(
    nodes: Nodes, nursery, autojump_clock
):
    one, two, three = await nodes.start_all(3)
    await nodes.wait_for_meshes(2)
    inboxes = [await collect(nursery, node) for node in (two, three)]

    await publish(one)
    for inbox in inboxes:
        await inbox.wait_for(MESSAGES)
    await trio.sleep(2.0)
    for node in (one, two, three):
        await node.refresh_metrics()

    assert counts(one)["publish", TOPIC, "publish"] == MESSAGES
    for node in (one, two, three):
        done = counts(node)
        received = 0 if node is one else MESSAGES
        assert done["gossip", TOPIC, "first"] == received
        duplicates = node.network().duplicates
        assert done["gossip", TOPIC, "duplicate"] == duplicates
        assert done["gossip", "none", "send"] > 0
        assert done["gossip", "none", "control"] > 0
        # Two heartbeats at least have passed since the last message.
        assert done["gossip_recovery", "none", "heartbeat"] >= 2
        seconds = node.snapshotter.current.family("leanmesh_work_seconds_total")
        assert {series.labels for series in seconds.series} == set(done)
        assert all(series.value >= 0 for series in seconds.series)


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_validators_are_measured_however_they_run(nodes: Nodes, nursery, autojump_clock, how):
    await check_validators(nodes, nursery, how)


async def test_validators_in_threads_are_measured_too(real_nodes: Nodes, nursery):
    await check_validators(real_nodes, nursery, "thread")


async def check_validators(nodes: Nodes, nursery: trio.Nursery, how: str) -> None:
    one, two = await nodes.start_all(2)

    def judge(message):
        return message.data != b"message 7"

    async def judge_later(message):
        await trio.sleep(0.001)
        return judge(message)

    two.add_validator(TOPIC, judge_later if how == "async" else judge, in_thread=how == "thread")
    await nodes.wait_for_meshes(1)
    inbox = await collect(nursery, two)

    await publish(one, 40)
    await inbox.wait_for(39)
    # The one that was refused may have been judged last.
    await eventually(lambda: two.network().live.gossip.router.view.pending_validations == 0)
    await two.refresh_metrics()

    done = counts(two)
    assert {key: count for key, count in done.items() if key[0] == "validation"} == {
        ("validation", TOPIC, how): 40
    }
    assert done["gossip", TOPIC, "verdict"] == 40
    assert done["gossip", TOPIC, "first"] == 40


async def test_a_responder_is_measured_also_when_it_raises(nodes: Nodes, autojump_clock):
    one, two = await nodes.start_all(2)
    await nodes.wait_for_meshes(1)

    async def respond(peer, data):
        await trio.lowlevel.checkpoint()
        if data == b"fail":
            raise ValueError
        return data

    nodes.contained["responder:/echo/1"] = 1
    two.add_responder(Responder("/echo/1", respond, two.contained))
    one.contained.counts["responder:/echo/1"] = 1
    connection = await one.connect(nodes.address(2))
    assert await request(connection, "/echo/1", b"hello") == b"hello"
    with pytest.raises(StreamReset):
        await request(connection, "/echo/1", b"fail")
    await two.refresh_metrics()

    assert counts(two)["reqresp", "none", "respond"] == 2


async def test_requests_are_measured_on_both_sides_however_they_end(
    nodes: Nodes, autojump_clock, monkeypatch: pytest.MonkeyPatch
):
    # The clock of the links, so that the times are whole values too.
    monkeypatch.setattr(metering, "perf_counter_ns", lambda: round(trio.current_time() * 1e9))
    one, two = await nodes.start_all(2)
    await nodes.wait_for_meshes(1)

    async def respond(peer, data):
        await trio.sleep(float(data))
        return data

    two.add_responder(Responder("/sleep/1", respond, two.contained))
    connection = await one.connect(nodes.address(2))
    began_s = trio.current_time()
    assert await request(connection, "/sleep/1", b"0.25") == b"0.25"
    with pytest.raises(NoResponse):
        await request(connection, "/sleep/1", b"8", timeout_s=3.0)
    with pytest.raises(StreamRefused):
        await request(connection, "/unheard-of/1", b"")
    with trio.move_on_after(0.5):
        await request(connection, "/sleep/1", b"9")
    asked_s = trio.current_time() - began_s
    await trio.sleep(10)
    for node in (one, two):
        await node.refresh_metrics()

    assert of_requests(one, "leanmesh_work_total") == {"request": 4}
    assert of_requests(two, "leanmesh_work_total") == {"respond": 3}
    assert of_requests(one, "leanmesh_work_seconds_total") == {"request": pytest.approx(asked_s)}
    assert of_requests(two, "leanmesh_work_seconds_total") == {"respond": pytest.approx(0.25 + 8 + 9)}


async def test_what_a_peer_asks_for_is_measured_as_recovery_on_both_sides(
    nodes: Nodes, nursery, autojump_clock
):
    # One peer fills a mesh: the third node stays outside, hears of the messages, and asks for them.
    nodes.gossip = GossipParams(mesh_target=1, mesh_low=1, mesh_high=1, mesh_best=1, mesh_outbound=0)
    one, two = await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    await publish(one, 30)
    three = await nodes.start(3, dials=(1, 2))
    inbox = await collect(nursery, three)

    await inbox.wait_for(30)
    await trio.sleep(2.0)
    for node in (one, two, three):
        await node.refresh_metrics()

    asked, answered = counts(three), counts(one) + counts(two)
    assert asked["gossip_recovery", "none", "ihave"] > 0
    assert answered["gossip_recovery", "none", "iwant"] > 0
    copies = asked["gossip", TOPIC, "first"] + asked["gossip", TOPIC, "duplicate"]
    assert answered["gossip_recovery", TOPIC, "answer"] == copies


async def test_off_no_cell_is_made_and_the_same_is_delivered(nodes: Nodes, nursery, autojump_clock):
    nodes.collector = CollectorParams(is_on=False)
    off, receiver = await nodes.start_all(2)
    inbox = await collect(nursery, receiver)
    await nodes.wait_for_meshes(1)
    await publish(off, 50)

    assert await inbox.wait_for(50) == [b"message %d" % number for number in range(50)]
    for node in (off, receiver):
        assert node.meter is None
        await node.refresh_metrics()
        names = {family.spec.name for family in node.snapshotter.current.families}
        assert not {name for name in names if name.startswith(("leanmesh_work", "leanmesh_collector"))}
        with pytest.raises(LocalError, match="no family"):
            node.metric("leanmesh_work_total", "gossip", TOPIC, "first")


async def test_saturated_and_stopped_in_the_middle_everything_that_was_done_is_on_the_page(
    nodes: Nodes, nursery, autojump_clock
):
    everyone = await nodes.start_all(4)
    await nodes.wait_for_meshes(3)
    inboxes = [await collect(nursery, node) for node in everyone]
    for number, node in enumerate(everyone):
        await node.publish_batch(TOPIC, [b"%d %d" % (number, message) for message in range(500)])
    await inboxes[0].wait_for(300)
    for number in range(1, 5):
        await nodes.stop(number)

    for node in everyone:
        await node.refresh_metrics()
        done = counts(node)
        received = node.metric("gossipsub_topic_msg_recv_counts_unfiltered_total", "0", TOPIC)
        first = node.metric("gossipsub_topic_msg_recv_counts_total", "0", TOPIC)
        assert 300 <= first <= 1500
        assert done["publish", TOPIC, "publish"] == 500
        assert done["gossip", TOPIC, "first"] == first
        assert done["gossip", TOPIC, "duplicate"] == received - first
        assert sum(done.values()) == sum(work.count for work in node.meter.collector.figures().values())


async def test_the_figures_of_a_stopped_node_are_still_there(nodes: Nodes, nursery, autojump_clock):
    one, two = await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    inbox = await collect(nursery, two)
    await publish(one, 50)
    await inbox.wait_for(50)
    await eventually(lambda: not one.network().live.gossip.links[nodes.peer(2)].outbox.count)
    collector = one.meter.collector
    await nodes.stop(1)

    await one.refresh_metrics()
    assert counts(one)["publish", TOPIC, "publish"] == 50
    assert collector.queued == 0
    assert not one.meter.publishing.try_flush()
    assert [one.metric("leanmesh_collector_retained", source) for source in ("publish", "gossip", "api")] == [
        0,
        0,
        0,
    ]
