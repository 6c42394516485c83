"""Publishing: the receipt says what became of a message, and silence is an error."""

import pytest
import trio
from leanmesh.errors import LocalError
from leanmesh.gossip.router import PublishRefused
from leanmesh.service.node import MeshTooSmall, NobodyTakesTopic
from leanmesh.transport.memory_pipe import Link
from network.nodes import TOPIC, Nodes, check_books, collect


async def test_publishing_to_a_topic_that_nobody_takes_is_an_error_after_the_stated_time(
    autojump_clock, nodes: Nodes
):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    asked_s = trio.current_time()
    with pytest.raises(NobodyTakesTopic, match=r"took lonely within 5 s \(1 peers are connected\)"):
        await nodes[1].publish("lonely", b"hello?")
    assert trio.current_time() - asked_s == 5.0
    with pytest.raises(NobodyTakesTopic):
        await nodes[1].publish("lonely", b"hello?", timeout_s=0)


async def test_publishing_waits_for_the_first_who_takes_the_topic(autojump_clock, nodes: Nodes):
    await nodes.start(1, topics=())
    async with trio.open_nursery() as nursery:

        async def come_late() -> None:
            await trio.sleep(3)
            await nodes.start(2, dials=(1,))

        nursery.start_soon(come_late)
        receipt = await nodes[1].publish(TOPIC, b"is anybody there?")
    assert (receipt.recipients, receipt.queued, receipt.dropped) == (1, 1, {})


async def test_a_receipt_waits_until_enough_peers_have_it_written(autojump_clock, nodes: Nodes):
    await nodes.start_all(4)
    await nodes.wait_for_meshes(3)
    receipt = await nodes[1].publish(TOPIC, b"for all", written_by=3)
    assert (receipt.recipients, receipt.queued, receipt.written) == (3, 3, 3)
    # More than there are: it ends when no more can come.
    asked_s = trio.current_time()
    receipt = await nodes[1].publish(TOPIC, b"for more than all", written_by=10)
    assert receipt.written == 3
    assert trio.current_time() - asked_s < 0.1


async def test_a_receipt_does_not_wait_longer_than_it_may(autojump_clock, nodes: Nodes):
    nodes.memory.set_link(nodes.ip(1), nodes.ip(2), Link(bandwidth_bytes_per_s=100_000, capacity_bytes=65536))
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    for number in range(3):
        await nodes[1].publish(TOPIC, bytes([number]) * 900_000)
    asked_s = trio.current_time()
    receipt = await nodes[1].publish(TOPIC, b"behind all that", written_by=1, timeout_s=1.5)
    assert (receipt.queued, receipt.written) == (1, 0)
    assert trio.current_time() - asked_s == 1.5


async def test_a_receipt_waits_for_a_message_that_takes_longer_to_write_than_a_heartbeat(
    autojump_clock, nodes: Nodes
):
    nodes.memory.set_link(nodes.ip(1), nodes.ip(2), Link(bandwidth_bytes_per_s=100_000, capacity_bytes=65536))
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    asked_s = trio.current_time()
    receipt = await nodes[1].publish(TOPIC, bytes(900_000), written_by=1, timeout_s=60)
    assert (receipt.queued, receipt.written) == (1, 1)
    assert 7 < trio.current_time() - asked_s < 10


async def test_a_receipt_gives_up_a_peer_that_goes_and_a_copy_that_expires(autojump_clock, nodes: Nodes):
    nodes.memory.set_link(nodes.ip(1), nodes.ip(2), Link(bandwidth_bytes_per_s=10_000, capacity_bytes=65536))
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    for number in range(3):
        await nodes[1].publish(TOPIC, bytes([number]) * 900_000)
    async with trio.open_nursery() as nursery:

        async def leave() -> None:
            await trio.sleep(2)
            await nodes.kill(2)

        nursery.start_soon(leave)
        asked_s = trio.current_time()
        receipt = await nodes[1].publish(TOPIC, b"never", written_by=1, timeout_s=60)
    assert receipt.written == 0
    assert trio.current_time() - asked_s < 2.1
    await check_books(nodes[1])
    assert nodes[1].metric("leanmesh_outbox_dropped_total", "peer_gone") >= 1


async def test_copies_that_waited_too_long_expire_and_the_receipt_says_so(autojump_clock, nodes: Nodes):
    nodes.memory.set_link(nodes.ip(1), nodes.ip(2), Link(bandwidth_bytes_per_s=20_000, capacity_bytes=65536))
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    for number in range(4):
        await nodes[1].publish(TOPIC, bytes([number]) * 900_000)
    receipt = await nodes[1].publish(TOPIC, b"too late", written_by=1, timeout_s=60)
    assert receipt.written == 0
    await check_books(nodes[1])
    assert nodes[1].metric("leanmesh_outbox_dropped_total", "expired") >= 1


async def test_what_cannot_be_published_is_refused_and_says_why(autojump_clock, nodes: Nodes):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    with pytest.raises(PublishRefused, match=r"1048577 bytes; the limit is \d+, so that an RPC of 1048576"):
        await nodes[1].publish(TOPIC, bytes(1024 * 1024 + 1))
    await nodes[1].publish(TOPIC, b"same")
    with pytest.raises(PublishRefused, match="known already"):
        await nodes[1].publish(TOPIC, b"same")
    with pytest.raises(LocalError, match="no network 7"):
        await nodes[1].publish(TOPIC, b"where?", network_id=7)


async def test_the_largest_message_arrives(autojump_clock, nodes: Nodes, nursery: trio.Nursery):
    await nodes.start_all(2, signing="strict")
    await nodes.wait_for_meshes(1)
    inbox = await collect(nursery, nodes[2])
    with pytest.raises(PublishRefused, match="the limit is") as refused:
        await nodes[1].publish(TOPIC, bytes(1024 * 1024))
    largest_bytes = int(str(refused.value).split("the limit is ")[1].split(",")[0])
    data = (bytes(range(256)) * 4096)[:largest_bytes]
    await nodes[1].publish(TOPIC, data)
    assert await inbox.wait_for(1) == [data]


async def test_waiting_for_a_mesh_that_does_not_come_says_what_there_is(autojump_clock, nodes: Nodes):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    asked_s = trio.current_time()
    with pytest.raises(
        MeshTooSmall, match=r"news has 1 of 2 peers after 3 s; 1 of 1 connected peers take the topic"
    ):
        await nodes[1].wait_for_mesh(TOPIC, 2, 3)
    assert trio.current_time() - asked_s == 3.0
    assert await nodes[1].wait_for_mesh(TOPIC, 1, 0) == [nodes.peer(2)]


async def test_a_burst_of_a_thousand_arrives_whole(autojump_clock, nodes: Nodes, nursery: trio.Nursery):
    await nodes.start_all(3)
    await nodes.wait_for_meshes(2)
    inboxes = [await collect(nursery, nodes[number], limit=2000) for number in (2, 3)]
    sent = [number.to_bytes(4, "big") + bytes(1020) for number in range(1000)]
    for data in sent:
        receipt = await nodes[1].publish(TOPIC, data)
        assert (receipt.queued, receipt.dropped) == (2, {})
    for inbox in inboxes:
        assert sorted(await inbox.wait_for(1000)) == sent


async def test_a_publisher_faster_than_its_peer_is_told_of_every_loss_and_the_mesh_survives(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    nodes.memory.set_link(nodes.ip(1), nodes.ip(2), Link(bandwidth_bytes_per_s=5e6, latency_s=0.005))
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    inbox = await collect(nursery, nodes[2], limit=20_000)

    queued = dropped = most_bytes = 0
    for number in range(6000):
        receipt = await nodes[1].publish(TOPIC, number.to_bytes(4, "big") + bytes(10_000))
        queued += receipt.queued
        dropped += receipt.dropped.get("full", 0)
        assert receipt.queued + sum(receipt.dropped.values()) == receipt.recipients == 1
        most_bytes = max(most_bytes, nodes[1].peers()[0].outbox_bytes)
    await trio.sleep(10)

    await check_books(nodes[1])
    assert (queued + dropped, dropped > 0) == (6000, True)
    assert most_bytes <= 16 * 1024 * 1024
    assert nodes[1].metric("leanmesh_outbox_dropped_total", "full") == dropped
    # What was lost in the outbox may have come by gossip; nothing else may be missing.
    lost = sum(nodes[1].metric("leanmesh_outbox_dropped_total", reason) for reason in ("full", "expired"))
    assert 6000 - lost <= len(inbox.data) == len(set(inbox.data)) <= 6000
    for node in nodes:
        assert len(node.mesh(TOPIC)) == 1


async def test_a_batch_has_a_receipt_for_each_message_and_waits_for_the_last(autojump_clock, nodes: Nodes):
    await nodes.start_all(3)
    await nodes.wait_for_meshes(2)
    receipts = await nodes[1].publish_batch(TOPIC, [b"one", b"two", b"three"], written_by=2)
    assert [(each.recipients, each.queued, each.written) for each in receipts] == [
        (2, 2, 0),
        (2, 2, 0),
        (2, 2, 2),
    ]
    assert len({each.message_id for each in receipts}) == 3
    assert await nodes[1].publish_batch(TOPIC, []) == []


async def test_a_batch_with_a_refused_message_publishes_those_before_it_and_says_so(
    autojump_clock, nodes: Nodes
):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    async with nodes[2].subscribe(TOPIC) as messages:
        with pytest.raises(PublishRefused) as refused:
            await nodes[1].publish_batch(TOPIC, [b"one", b"two", bytes(2 << 20), b"four"], written_by=1)
        assert refused.value.__notes__ == ["the 2 messages before it were published"]
        assert [(await messages.receive()).data for _ in range(2)] == [b"one", b"two"]
    # Nobody waits for the second of them.
    assert not nodes[1].network().live.gossip._awaited._messages


async def test_what_was_written_to_a_peer_counts_also_when_it_has_left(autojump_clock, nodes: Nodes):
    await nodes.start_all(3)
    await nodes.wait_for_meshes(2)
    for number in range(10):
        await nodes[1].publish(TOPIC, b"%d" % number, written_by=2)
    await nodes.stop(2)
    await nodes.kill(3)
    await trio.sleep(1)
    await check_books(nodes[1])
    assert nodes[1].peers() == []
    assert nodes[1].metric("leanmesh_messages_total", "outbound", "written") == 20
    assert nodes[1].metric("gossipsub_topic_msg_sent_counts_total", "0", TOPIC) == 20


async def test_a_cancelled_publish_has_sent_nothing_and_one_that_sent_is_not_cancelled(
    autojump_clock, nodes: Nodes
):
    """A caller that counts what it published counts right, whatever moment it is cancelled at."""
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)

    with trio.CancelScope() as before:
        before.cancel()
        await nodes[1].publish(TOPIC, b"never sent")
    assert before.cancelled_caught

    receipts = []
    with trio.CancelScope() as during:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def publisher() -> None:
                receipts.append(await nodes[1].publish(TOPIC, b"sent"))

            # The publisher gives way once, after it has published.
            while not nodes[1].network().live.gossip.router.view.history_messages:
                await trio.lowlevel.checkpoint()
            during.cancel()
    assert [receipt.queued for receipt in receipts] == [1]
    await nodes[1].refresh_metrics()
    assert nodes[1].metric("gossipsub_topic_msg_published_total", "0", TOPIC) == 1


async def test_a_batch_that_cannot_be_read_to_its_end_is_not_published_in_part(autojump_clock, nodes: Nodes):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)

    def half():
        yield b"first"
        raise ValueError("no second")

    with pytest.raises(ValueError, match="no second"):
        await nodes[1].publish_batch(TOPIC, half())
    assert nodes[1].network().live.gossip.router.view.history_messages == 0
