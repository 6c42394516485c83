"""Meshes of whole nodes: they form, heal, and take in who comes late or comes back."""

import trio
from network.nodes import TOPIC, Nodes, collect, eventually, mesh_peers


async def test_the_mesh_forms_and_every_message_reaches_every_node_once(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await nodes.start_all(8)
    await nodes.wait_for_meshes(5)
    inboxes = [await collect(nursery, node) for node in nodes]

    sent = [b"message %d" % number for number in range(24)]
    for number, data in enumerate(sent):
        await nodes[1 + number % 8].publish(TOPIC, data)
    await trio.sleep(5)

    for number, inbox in enumerate(inboxes):
        assert sorted(inbox.data) == sorted(data for index, data in enumerate(sent) if index % 8 != number)


async def test_signed_messages_name_their_author(autojump_clock, nodes: Nodes):
    await nodes.start_all(3, signing="strict")
    await nodes.wait_for_meshes(2)

    async with nodes[3].subscribe(TOPIC) as messages:
        receipt = await nodes[1].publish(TOPIC, b"who wrote this?", written_by=2)
        message = await messages.receive()

    assert (message.data, message.author, message.message_id) == (
        b"who wrote this?",
        bytes(nodes.peer(1)),
        receipt.message_id,
    )
    assert (receipt.recipients, receipt.queued, receipt.dropped, receipt.written) == (2, 2, {}, 2)


async def test_a_late_joiner_gets_a_place_in_the_mesh_and_what_was_said_just_before(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await nodes.start_all(4)
    await nodes.wait_for_meshes(3)
    await nodes[1].publish(TOPIC, b"said before it came")

    late = await nodes.start(5, dials=(1,))
    inbox = await collect(nursery, late)
    await late.wait_for_mesh(TOPIC, 1, 5)
    await nodes[2].publish(TOPIC, b"said after")

    await inbox.wait_for(1)
    assert b"said after" in inbox.data


async def test_the_mesh_heals_after_a_partition_and_messages_of_both_sides_cross(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await nodes.start_all(6)
    await nodes.wait_for_meshes(5)
    inboxes = [await collect(nursery, node) for node in nodes]
    left, right = [nodes.ip(n) for n in (1, 2, 3)], [nodes.ip(n) for n in (4, 5, 6)]

    nodes.memory.partition(left, right)
    # Longer than keep-alives last: every connection across is given up.
    await trio.sleep(60)
    for number in range(1, 7):
        assert len(nodes[number].peers()) == 2
        assert len(nodes[number].mesh(TOPIC)) == 2
    await nodes[1].publish(TOPIC, b"left")
    await nodes[6].publish(TOPIC, b"right")
    await trio.sleep(5)
    assert [sorted(inbox.data) for inbox in inboxes] == [[], [b"left"], [b"left"], [b"right"], [b"right"], []]

    nodes.memory.heal()
    await nodes.wait_for_meshes(5, timeout_s=120)
    await nodes[3].publish(TOPIC, b"together again")
    await trio.sleep(2)
    assert [b"together again" in inbox.data for inbox in inboxes] == [True, True, False, True, True, True]


async def test_a_short_partition_costs_neither_connections_nor_messages(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await nodes.start_all(4)
    await nodes.wait_for_meshes(3)
    inbox = await collect(nursery, nodes[4])
    opened = [len(node.peers()) for node in nodes]

    nodes.memory.partition([nodes.ip(1), nodes.ip(2)], [nodes.ip(3), nodes.ip(4)])
    await nodes[1].publish(TOPIC, b"under way")
    await trio.sleep(5)
    assert inbox.data == []
    nodes.memory.heal()

    assert await inbox.wait_for(1) == [b"under way"]
    assert [len(node.peers()) for node in nodes] == opened


async def test_the_mesh_outlives_churn(autojump_clock, nodes: Nodes, nursery: trio.Nursery):
    await nodes.start_all(6)
    for number in (2, 5, 3, 6, 2, 4):
        await nodes.wait_for_meshes(4)
        await nodes.kill(number)
        await trio.sleep(0.5)
        others = [other for other in range(1, 7) if other != number]
        await nodes.start(number, dials=others)
    await nodes.wait_for_meshes(4, timeout_s=90)

    inboxes = [await collect(nursery, nodes[number]) for number in range(2, 7)]
    await nodes[1].publish(TOPIC, b"still here")
    for inbox in inboxes:
        assert await inbox.wait_for(1) == [b"still here"]


async def test_a_node_stopped_and_started_under_its_key_is_back_in_every_mesh_within_two_heartbeats(
    autojump_clock,
    nodes: Nodes,
):
    await nodes.start_all(4)
    await nodes.wait_for_meshes(3)

    await nodes.stop(4)
    # No PRUNE was said: nobody keeps a back-off against it.
    for number in (1, 2, 3):
        assert nodes.peer(4) not in nodes[number].mesh(TOPIC)
        topic = nodes[number].network().live.gossip.router.view.topic(TOPIC)
        assert topic is not None
        assert topic.backoff_until_s == {}
    await nodes.start(4, dials=(1, 2, 3))

    await trio.sleep(2 * nodes.gossip.heartbeat_interval_s)
    assert set(nodes[4].mesh(TOPIC)) == {nodes.peer(number) for number in (1, 2, 3)}
    for number in (1, 2, 3):
        assert nodes.peer(4) in nodes[number].mesh(TOPIC)


async def test_a_node_whose_machine_fell_silent_is_back_before_its_old_connections_are_given_up(
    autojump_clock, nodes: Nodes
):
    await nodes.start_all(4)
    await nodes.wait_for_meshes(3)

    await nodes.kill(4, is_silent=True)
    await nodes.start(4, dials=(1, 2, 3))

    await trio.sleep(2 * nodes.gossip.heartbeat_interval_s)
    assert set(nodes[4].mesh(TOPIC)) == {nodes.peer(number) for number in (1, 2, 3)}
    async with nodes[4].subscribe(TOPIC) as messages:
        for number in (1, 2, 3):
            assert nodes.peer(4) in nodes[number].mesh(TOPIC)
            await nodes[number].publish(TOPIC, b"from %d" % number)
        with trio.fail_after(1):
            assert {(await messages.receive()).data for _ in range(3)} == {b"from 1", b"from 2", b"from 3"}


async def test_nodes_that_dial_each_other_at_once_end_with_one_link_each(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    async with trio.open_nursery() as starting:
        for number in (1, 2, 3):
            others = [other for other in (1, 2, 3) if other != number]
            starting.start_soon(lambda number=number, others=others: nodes.start(number, dials=others))
    await nodes.wait_for_meshes(2)
    # Redundant connections go after `duplicate_linger_s` without a stream.
    await trio.sleep(60)

    for node in nodes:
        assert len(node.network().live.gossip.links) == 2
        assert len(mesh_peers(node)) == 2
    inboxes = [await collect(nursery, nodes[number]) for number in (2, 3)]
    await nodes[1].publish(TOPIC, b"once")
    await trio.sleep(2)
    assert [inbox.data for inbox in inboxes] == [[b"once"], [b"once"]]


async def test_two_connections_to_a_peer_carry_one_link_and_the_second_takes_over(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    (first,) = nodes[1].network().live.switch.connections
    await nodes.connect_again(1, 2)
    await trio.sleep(1)
    assert len(nodes[1].network().live.switch.connections_to(nodes.peer(2))) == 2
    assert len(mesh_peers(nodes[1])) == 1

    await first.aclose()
    await trio.sleep(5)

    inboxes = [await collect(nursery, node) for node in nodes]
    await nodes[1].publish(TOPIC, b"there")
    await nodes[2].publish(TOPIC, b"and back")
    assert await inboxes[1].wait_for(1) == [b"there"]
    assert await inboxes[0].wait_for(1) == [b"and back"]


async def test_leaving_a_topic_is_seen_in_every_mesh_and_coming_back_too(autojump_clock, nodes: Nodes):
    await nodes.start_all(3, topics=())
    subscriptions = [node.subscribe(TOPIC) for node in nodes]
    async with subscriptions[0], subscriptions[1]:
        async with subscriptions[2]:
            await nodes.wait_for_meshes(2)
        await eventually(lambda: nodes.peer(3) not in nodes[1].mesh(TOPIC), timeout_s=1)
        assert nodes[3].mesh(TOPIC) == []
        async with nodes[3].subscribe(TOPIC):
            # Back-offs after leaving last 10 s, and a second of slack.
            await nodes[3].wait_for_mesh(TOPIC, 2, 15)
