"""Subscriptions of whole nodes: what a consumer chose holds, and every loss is counted."""

import pytest
import trio
from leanmesh.errors import LocalError
from leanmesh.gossip.params import GossipParams
from leanmesh.service.params import ServiceParams
from leanmesh.service.subscriptions import Overflow, SubscriptionClosed
from network.nodes import TOPIC, Nodes, check_books, collect, eventually


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [(Overflow.DROP_OLDEST, range(15, 20)), (Overflow.DROP_NEWEST, range(5))],
)
async def test_a_full_subscription_drops_what_its_consumer_chose(
    autojump_clock, nodes: Nodes, overflow: Overflow, kept: range
):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    async with nodes[2].subscribe(TOPIC, overflow=overflow, limit=5) as messages:
        for number in range(20):
            await nodes[1].publish(TOPIC, b"%d" % number)
        await trio.sleep(1)
        await check_books(nodes[2])
        assert nodes[2].metric("leanmesh_subscription_dropped_total", TOPIC, str(overflow)) == 15

        assert [int(message.data) for message in await messages.receive_batch()] == list(kept)
        assert messages.dropped == 15
    await check_books(nodes[2])
    assert nodes[2].metric("leanmesh_messages_total", "delivery", "consumed") == 5
    assert nodes[2].metric("leanmesh_messages_total", "delivery", "dropped") == 15


async def test_what_is_not_consumed_when_a_subscription_ends_counts_as_dropped(autojump_clock, nodes: Nodes):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    async with nodes[2].subscribe(TOPIC) as messages:
        for number in range(3):
            await nodes[1].publish(TOPIC, b"%d" % number)
        await trio.sleep(1)
        assert (await messages.receive()).data == b"0"
    await check_books(nodes[2])
    assert nodes[2].metric("leanmesh_messages_total", "delivery", "dropped") == 2
    assert (messages.dropped, len(messages)) == (2, 0)


async def test_a_consumer_that_waits_loses_nothing_however_slow_it_is(autojump_clock, nodes: Nodes):
    # Flow control has to reach the publisher: what does not fit between the two waits there.
    nodes.gossip = GossipParams(idontwant_threshold_bytes=1 << 30)
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    size, count = 20_000, 300
    async with nodes[2].subscribe(TOPIC, overflow=Overflow.WAIT, limit=4) as messages:
        for number in range(count):
            receipt = await nodes[1].publish(TOPIC, number.to_bytes(4, "big") + bytes(size))
            assert receipt.dropped == {}
        await trio.sleep(2)
        # A chunk of 64 KiB and what it began beyond the four; the rest waits at the publisher.
        assert 4 <= len(messages) <= 4 + 65536 // size + 1
        (info,) = nodes[1].peers()
        assert info.outbox_messages > count / 2
        for number in range(count):
            assert int.from_bytes((await messages.receive()).data[:4], "big") == number
            await trio.sleep(0.02)
    assert messages.dropped == 0


async def test_a_consumer_that_holds_up_a_frame_for_long_does_not_cost_its_peer_the_connection(
    autojump_clock, nodes: Nodes
):
    nodes.service = ServiceParams(frame_timeout_s=3.0)
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    async with nodes[2].subscribe(TOPIC, overflow=Overflow.WAIT, limit=1) as messages:
        for number in range(40):
            await nodes[1].publish(TOPIC, number.to_bytes(4, "big") + bytes(50_000))
        await trio.sleep(8)
        received = 0
        with trio.move_on_after(20):
            while received < 40:
                await messages.receive()
                received += 1
    await nodes[2].refresh_metrics()
    assert received == 40
    assert nodes[2].restarts == nodes[1].restarts == {0: 0}
    assert nodes[2].network().live.switch.connections[0].opened_at_s < 5


async def test_all_subscriptions_to_a_topic_get_every_message_and_the_last_leaves_it(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await nodes.start_all(2, topics=())
    async with nodes[1].subscribe(TOPIC):
        async with nodes[2].subscribe(TOPIC) as one:
            async with nodes[2].subscribe(TOPIC) as other:
                await nodes.wait_for_meshes(1)
                await nodes[1].publish(TOPIC, b"for both")
                assert (await one.receive()).data == (await other.receive()).data == b"for both"
            await nodes[1].publish(TOPIC, b"for one")
            assert (await one.receive()).data == b"for one"
            assert nodes[2].mesh(TOPIC) == [nodes.peer(1)]
        assert nodes[2].network().topics == {}
        await eventually(lambda: nodes[1].mesh(TOPIC) == [], timeout_s=1)


async def test_a_consumer_learns_of_the_networks_end_after_all_that_was_queued(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    async with nodes[2].subscribe(TOPIC) as messages:
        for number in range(3):
            await nodes[1].publish(TOPIC, b"%d" % number)
        await trio.sleep(1)
        await nodes[2].stop_network(0)
        assert [message.data async for message in messages] == [b"0", b"1", b"2"]
        with pytest.raises(SubscriptionClosed):
            await messages.receive()


async def test_a_consumer_that_waits_when_the_network_ends_is_told(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await nodes.start_all(1)
    inbox = await collect(nursery, nodes[1])
    assert len(nursery.child_tasks) == 1
    await nodes.stop(1)
    await trio.sleep(1)
    assert inbox.data == []
    assert len(nursery.child_tasks) == 0


async def test_a_subscription_that_makes_no_sense_is_refused(autojump_clock, nodes: Nodes):
    (node,) = await nodes.start_all(1)
    with pytest.raises(LocalError, match="needs room: limit = 0"):
        node.subscribe(TOPIC, limit=0)
    subscription = node.subscribe(TOPIC)
    async with subscription:
        with pytest.raises(LocalError, match="has begun before"):
            await subscription.__aenter__()
    with pytest.raises(LocalError, match="has begun before"):
        await subscription.__aenter__()
    late = node.subscribe(TOPIC)
    await node.stop_network(0)
    with pytest.raises(SubscriptionClosed, match="has stopped"):
        await late.__aenter__()
    with pytest.raises(LocalError, match="no network"):
        node.subscribe(TOPIC)


async def test_a_cancelled_consumer_loses_no_message(autojump_clock, nodes: Nodes):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    received: list[bytes] = []
    async with nodes[2].subscribe(TOPIC) as messages:
        for number in range(50):
            await nodes[1].publish(TOPIC, b"%d" % number)
            # Gives up again and again, at the moment at which messages come.
            for wait_s in (0.0, 0.005, 0.01, 0.02):
                with trio.move_on_after(wait_s):
                    received.append((await messages.receive()).data)
        with trio.move_on_after(1):
            while True:
                received.append((await messages.receive()).data)
    assert received == [b"%d" % number for number in range(50)]


async def test_a_subscription_bounded_in_bytes_gives_up_as_many_old_ones_as_a_large_one_needs(
    autojump_clock, nodes: Nodes
):
    nodes.service = ServiceParams(subscription_limit_bytes=10_000)
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    async with nodes[2].subscribe(TOPIC) as messages:
        for number in range(30):
            size = 100 if number < 20 else 9_000
            await nodes[1].publish(TOPIC, number.to_bytes(4, "big") + bytes(size))
        await trio.sleep(1)
        assert messages.size_bytes <= 10_000 + 9_004
        assert [int.from_bytes(message.data[:4], "big") for message in await messages.receive_batch()] == [
            28,
            29,
        ]
    assert messages.dropped == 28
