"""Links between nodes and peers: streams that break, stall, come twice, or come from strangers."""

import logging
from contextlib import suppress
from itertools import pairwise

import pytest
import trio
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.router import Router
from leanmesh.metrics.catalog_node import SILENCE_REASONS
from leanmesh.service.params import ServiceParams
from leanmesh.transport.errors import CloseReason, StreamClosed
from leanmesh.transport.interface import Stream
from leanmesh.transport.switch import Switch
from leanmesh.wire.multiaddr import Multiaddr
from network.nodes import TOPIC, Nodes, collect, eventually

GOSSIPSUB = "/meshsub/1.2.0"
IDENTIFY = "/ipfs/id/1.0.0"
# SUBSCRIBE to "news", as one RPC with its length.
HELLO = bytes((10, 0x0A, 8, 0x08, 1, 0x12, 4)) + TOPIC.encode()


async def read_to_the_end(stream: Stream) -> None:
    while await stream.receive_some():
        pass


async def silent(stream: Stream) -> None:
    await trio.sleep_forever()


async def dial(stranger: Switch, nodes: Nodes, number: int):
    return await stranger.dial(Multiaddr.from_text(nodes.address(number)))


def gossip_streams(stranger: Switch) -> int:
    return sum(
        stream.protocol == GOSSIPSUB for connection in stranger.connections for stream in connection.streams
    )


async def test_connections_that_break_while_something_is_sent_end_alone(autojump_clock, nodes: Nodes):
    await nodes.start_all(6)
    await nodes.wait_for_meshes(5)
    for attempt in range(3):
        for connection in nodes[1].network().live.switch.connections:
            connection.abort(CloseReason.ERROR, "a test broke it")
        # In the same turn: the links do not know yet.
        await nodes[1].publish(TOPIC, b"into the void %d" % attempt)
        await nodes.wait_for_meshes(5, timeout_s=30)

    assert nodes[1].restarts == {0: 0}


async def test_a_gossip_stream_that_was_reset_is_opened_again_and_both_sides_say_their_topics(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    nodes[1].network().live.gossip.links[nodes.peer(2)].stream.reset()
    await eventually(lambda: not nodes[1].mesh(TOPIC), timeout_s=1)

    # The links are there again after a second; back-offs there are none.
    await trio.sleep(4)
    for node in nodes:
        assert len(node.mesh(TOPIC)) == 1
        assert len(node.peers()) == 1
    inboxes = [await collect(nursery, node) for node in nodes]
    await nodes[1].publish(TOPIC, b"one")
    await nodes[2].publish(TOPIC, b"two")
    assert await inboxes[0].wait_for(1) == [b"two"]
    assert await inboxes[1].wait_for(1) == [b"one"]


async def test_a_peer_that_opens_a_stream_again_is_linked_again_soon_however_often(
    autojump_clock, nodes: Nodes
):
    node = await nodes.start(1)
    ours: list[Stream] = []

    async def hear(stream: Stream) -> None:
        ours.append(stream)
        with suppress(StreamClosed):
            await read_to_the_end(stream)

    stranger = await nodes.stranger(2, {GOSSIPSUB: hear})
    connection = await dial(stranger, nodes, 1)
    theirs = await connection.open_stream([GOSSIPSUB])
    for _ in range(6):
        await theirs.send_all(HELLO)
        await node.wait_for_mesh(TOPIC, 1, 3)
        await trio.sleep(5)
        theirs.reset()
        ours.pop().reset()
        await trio.sleep(0.1)
        theirs = await connection.open_stream([GOSSIPSUB])
    assert not theirs.is_closed


async def test_a_link_that_lived_long_is_opened_again_after_the_first_pause(autojump_clock, nodes: Nodes):
    node = await nodes.start(1)
    opened_s: list[float] = []
    lives_s = [0.0, 0.0, 0.0, 100.0, 0.0, 0.0]

    async def hear(stream: Stream) -> None:
        opened_s.append(trio.current_time())
        await trio.sleep(lives_s[len(opened_s) - 1])
        stream.reset()

    stranger = await nodes.stranger(2, {GOSSIPSUB: hear})
    await dial(stranger, nodes, 1)
    await eventually(lambda: len(opened_s) == len(lives_s), timeout_s=120)
    pauses_s = [
        round(later - earlier - lived_s)
        for (earlier, later), lived_s in zip(pairwise(opened_s), lives_s, strict=False)
    ]
    assert pauses_s == [1, 2, 4, 1, 2]
    assert node.restarts == {0: 0}


async def test_an_outbox_emptied_by_a_withdrawal_fills_again(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    inbox = await collect(nursery, nodes[2])
    gossip = nodes[1].network().live.gossip
    message_id = gossip.router.publish(TOPIC, b"withdrawn", trio.current_time()).message_id
    assert gossip.links[nodes.peer(2)].outbox.withdraw(message_id)
    await trio.sleep(0.5)

    await nodes[1].publish(TOPIC, b"sent")
    assert await inbox.wait_for(1, timeout_s=0.2) == [b"sent"]


async def test_a_second_gossip_stream_of_a_peer_replaces_the_first(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    node = await nodes.start(1)
    stranger = await nodes.stranger(2, {GOSSIPSUB: read_to_the_end})
    connection = await dial(stranger, nodes, 1)
    first = await connection.open_stream([GOSSIPSUB])
    await first.send_all(HELLO)
    await node.wait_for_mesh(TOPIC, 1, 5)

    second = await connection.open_stream([GOSSIPSUB])
    await second.send_all(HELLO)
    await trio.sleep(1)

    assert (first.is_closed, second.is_closed) == (True, False)
    assert node.mesh(TOPIC) == [nodes.peer(2)]


async def test_a_peer_that_ends_its_stream_is_still_heard_on_the_next(autojump_clock, nodes: Nodes):
    node = await nodes.start(1)
    stranger = await nodes.stranger(2, {GOSSIPSUB: read_to_the_end})
    connection = await dial(stranger, nodes, 1)
    first = await connection.open_stream([GOSSIPSUB])
    await first.send_all(HELLO)
    await node.wait_for_mesh(TOPIC, 1, 5)
    await first.aclose()

    second = await connection.open_stream([GOSSIPSUB])
    # UNSUBSCRIBE.
    await second.send_all(HELLO.replace(b"\x08\x01", b"\x08\x00"))
    await eventually(lambda: node.mesh(TOPIC) == [], timeout_s=1)


async def test_empty_frames_are_skipped_and_counted_as_they_come(autojump_clock, nodes: Nodes):
    node = await nodes.start(1)
    stranger = await nodes.stranger(2, {GOSSIPSUB: read_to_the_end})
    connection = await dial(stranger, nodes, 1)
    stream = await connection.open_stream([GOSSIPSUB])
    await node.refresh_metrics()
    assert node.metric("gossipsub_empty_frames_total", "0") == 0

    await stream.send_all(b"\x00\x00" + HELLO + b"\x00")
    await node.wait_for_mesh(TOPIC, 1, 5)
    await node.refresh_metrics()
    assert (node.metric("gossipsub_empty_frames_total", "0"), stream.is_closed) == (3, False)

    await stream.send_all(b"\x00\x00\x02\xff\xff")
    await connection.wait_closed()
    await node.refresh_metrics()
    assert node.metric("gossipsub_empty_frames_total", "0") == 5


async def test_what_was_said_before_a_broken_frame_counts_and_the_connection_ends(
    autojump_clock, nodes: Nodes
):
    node = await nodes.start(1)
    stranger = await nodes.stranger(2, {GOSSIPSUB: read_to_the_end})
    connection = await dial(stranger, nodes, 1)
    stream = await connection.open_stream([GOSSIPSUB])
    await trio.sleep(1)

    await stream.send_all(HELLO + b"\x02\xff\xff")
    await connection.wait_closed()

    await node.refresh_metrics()
    assert node.peers() == []
    # The mesh takes the peer in at the next heartbeat; who subscribes is not grafted at once.
    assert node.metric("gossipsub_rpcs_total", "0", "inbound") == 1
    assert node.restarts == {0: 0}


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        (b"\xff\xff\xff\xff\x0f", "frame"),
        (b"\xff" * 11, "frame"),
        (b"\x05\x0a\xff\xff\xff\xff", "malformed"),
    ],
    ids=["a frame of 4 GiB", "a length without end", "a field beyond its frame"],
)
async def test_a_peer_that_breaks_the_protocol_loses_its_connection_and_no_one_else_does(
    autojump_clock, nodes: Nodes, said: bytes, counted: str
):
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    stranger = await nodes.stranger(3, {GOSSIPSUB: read_to_the_end})
    connection = await dial(stranger, nodes, 1)
    stream = await connection.open_stream([GOSSIPSUB])
    await stream.send_all(said)

    with trio.fail_after(2):
        await connection.wait_closed()
    assert nodes[1].mesh(TOPIC) == [nodes.peer(2)]
    await nodes[1].refresh_metrics()
    assert nodes[1].metric("gossipsub_rpcs_refused_total", "0", counted) == 1
    assert nodes[1].metric("lean_peer_disconnection_events_total", "inbound", "error") == 1


async def test_a_peer_that_writes_to_our_stream_loses_its_connection(autojump_clock, nodes: Nodes):
    await nodes.start(1)

    async def talk_back(stream: Stream) -> None:
        await stream.send_all(b"!")
        await read_to_the_end(stream)

    stranger = await nodes.stranger(2, {GOSSIPSUB: talk_back})
    connection = await dial(stranger, nodes, 1)
    with trio.fail_after(2):
        await connection.wait_closed()


async def test_a_frame_that_is_begun_and_not_finished_is_waited_for_and_then_not(
    autojump_clock, nodes: Nodes
):
    nodes.service = ServiceParams(frame_timeout_s=7.0)
    await nodes.start(1)
    stranger = await nodes.stranger(2, {GOSSIPSUB: read_to_the_end})
    connection = await dial(stranger, nodes, 1)
    stream = await connection.open_stream([GOSSIPSUB])
    await trio.sleep(1)
    begun_s = trio.current_time()
    await stream.send_all(HELLO[:-1])
    await connection.wait_closed()
    # The sweep is the heartbeat, once a second.
    assert 7.0 < trio.current_time() - begun_s < 8.5


async def test_a_peer_that_takes_no_gossip_from_us_is_not_listened_to(autojump_clock, nodes: Nodes):
    node = await nodes.start(1)
    stranger = await nodes.stranger(2)
    connection = await dial(stranger, nodes, 1)
    stream = await connection.open_stream([GOSSIPSUB])
    await stream.send_all(HELLO)
    await trio.sleep(node.params.stream_timeout_s + 1)

    assert stream.is_closed
    (info,) = node.peers()
    assert (info.peer, info.protocol, info.topics) == (nodes.peer(2), None, ())
    assert not connection.is_closed


@pytest.mark.parametrize(
    ("answer", "reason", "why"),
    [
        ("reset", "refused", "was reset by"),
        ("silence", "timeout", "no answer within 5 s"),
        ("no such protocol", "refused", "it speaks none of them"),
        ("no message", "empty", "its answer is empty"),
        ("an empty message", "empty", "its answer is empty"),
    ],
)
async def test_a_peer_that_does_not_say_who_it_is_gossips_all_the_same(
    autojump_clock, nodes: Nodes, caplog: pytest.LogCaptureFixture, answer: str, reason: str, why: str
):
    node = await nodes.start(1)

    async def identify(stream: Stream) -> None:
        if answer == "reset":
            stream.reset()
        elif answer == "silence":
            await trio.sleep_forever()
        elif answer == "an empty message":
            await stream.send_all(b"\0")
        await stream.aclose()

    handlers = {GOSSIPSUB: read_to_the_end}
    if answer != "no such protocol":
        handlers[IDENTIFY] = identify
    stranger = await nodes.stranger(2, handlers)
    with caplog.at_level(logging.INFO, "leanmesh.service.identify_service"):
        connection = await dial(stranger, nodes, 1)
        await eventually(lambda: nodes.peer(2) in node.network().live.gossip.links, timeout_s=6)

    assert not connection.is_closed
    assert [info.agent for info in node.peers()] == [""]
    (said,) = caplog.messages
    assert said.startswith(f"{nodes.peer(2).short} does not say who it is: ")
    assert why in said
    await node.refresh_metrics()
    counts = {each: node.metric("leanmesh_identify_silent_total", each) for each in SILENCE_REASONS}
    assert counts == {**dict.fromkeys(SILENCE_REASONS, 0), reason: 1}


async def test_a_peer_that_reads_nothing_is_slow_and_harms_no_one(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    nodes.gossip = GossipParams(is_flood_publishing=False)
    await nodes.start_all(4)
    await nodes.wait_for_meshes(3)
    inbox = await collect(nursery, nodes[4], limit=10_000)
    stranger = await nodes.stranger(5, {GOSSIPSUB: silent})
    connection = await dial(stranger, nodes, 1)
    stream = await connection.open_stream([GOSSIPSUB])
    await stream.send_all(HELLO)
    await nodes[1].wait_for_mesh(TOPIC, 4, 5)

    dropped = 0
    for number in range(3000):
        receipt = await nodes[1].publish(TOPIC, number.to_bytes(4, "big") + bytes(10_000))
        dropped += receipt.dropped.get("full", 0)
        if number % 100 == 0:
            await trio.sleep(0.05)
    # Longer than `slow_after_s`, shorter than what waits lives.
    await trio.sleep(7)

    assert len(await inbox.wait_for(3000)) == 3000
    by_peer = {info.peer: info for info in nodes[1].peers()}
    slow = by_peer.pop(nodes.peer(5))
    assert slow.slow_reason is not None
    assert 0 < slow.outbox_bytes <= 16 * 1024 * 1024 + 20_000
    assert [info.slow_reason for info in by_peer.values()] == [None, None, None]
    await nodes[1].refresh_metrics()
    assert dropped > 0
    assert nodes[1].metric("leanmesh_outbox_dropped_total", "full") == dropped
    for number in (1, 2, 3, 4):
        assert len(nodes[number].mesh(TOPIC)) >= 3


class Steps(trio.abc.Instrument):
    """Counts how often the tasks of connections take a step."""

    taken = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.taken += task.name.endswith("_serve_connection")


async def test_connections_that_stand_by_are_not_woken_by_what_is_written_to_others(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await nodes.start_all(3)
    await nodes.wait_for_meshes(2)
    for _ in range(3):
        await nodes.connect_again(2, 1)
    await trio.sleep(2)
    inbox = await collect(nursery, nodes[3])
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    for number in range(100):
        await nodes[1].publish(TOPIC, b"%d" % number)
        await trio.sleep(0.01)
    await inbox.wait_for(100)
    trio.lowlevel.remove_instrument(steps)
    assert steps.taken == 0


@pytest.mark.parametrize("at_once", [False, True])
async def test_links_that_end_on_both_sides_settle_and_do_not_end_each_other_for_ever(
    autojump_clock, nodes: Nodes, monkeypatch: pytest.MonkeyPatch, at_once: bool
):
    added: list[bytes] = []
    add_peer = Router.add_peer

    def counting(router: Router, peer, *args, **kwargs) -> None:
        added.append(peer)
        add_peer(router, peer, *args, **kwargs)

    monkeypatch.setattr(Router, "add_peer", counting)
    await nodes.start_all(2)
    await nodes.wait_for_meshes(1)
    added.clear()
    nodes[1].network().live.gossip.links[nodes.peer(2)].stream.reset()
    if not at_once:
        await trio.sleep(0.5)
    if nodes.peer(1) in nodes[2].network().live.gossip.links:
        nodes[2].network().live.gossip.links[nodes.peer(1)].stream.reset()

    await trio.sleep(60)
    assert len(added) <= 4
    for node in nodes:
        assert len(node.mesh(TOPIC)) == 1
        assert len(node.network().live.switch.connections) == 1
