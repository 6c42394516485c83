"""Beyond one machine: consumers share a stream, nodes feed one, and the mesh pays for neither."""

from collections import Counter

import trio
from bridge.feed import eventually
from bridge.reader import count_stored, make_stream, read_all, read_ids
from leanmesh.bridge.params import NatsParams
from leanmesh.run import open_node
from leanmesh.service import Node, Overflow
from leanmesh.service.params import NetworkParams
from leanmesh.settings import Settings
from nats_server import NatsServer

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
COUNT = 500


def settings(*peers: Node, nats: NatsParams | None = None, **more) -> Settings:
    addresses = tuple(str(peer.network().listen_addresses[0]) for peer in peers)
    network = NetworkParams(listen=LOOPBACK, topics=("news",), peers=addresses, signing="none", **more)
    return Settings(network=(network,), nats=() if nats is None else (nats,))


async def publish(node: Node, count: int, prefix: str = "") -> list[str]:
    """Publish messages, at a pace that every mesh keeps; gives their ids."""
    ids: list[str] = []
    for number in range(count):
        receipt = await node.publish("news", f"{prefix}{number}".encode().ljust(1024))
        ids.append(receipt.message_id.hex())
        if number % 20 == 0:
            await trio.sleep(0.005)
    return ids


async def test_two_consumers_share_the_stream_of_one_node(server: NatsServer):
    nats = NatsParams(url=server.url, create_stream=True)
    async with open_node(settings()) as publisher, open_node(settings(publisher, nats=nats)) as node:
        await publisher.wait_for_mesh("news", 1, 10)
        ids = await publish(publisher, COUNT)
        await eventually(lambda: node.sinks.books["nats"].outcomes["acked"] == COUNT)
    shares: list[list[str]] = [[], []]

    async def consume(share: list[str]) -> None:
        for _ in range(5):
            stored = await read_all(server.url, COUNT // 10, durable="shared")
            share += [message.headers["Nats-Msg-Id"] for message in stored]

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for share in shares:
                nursery.start_soon(consume, share)
    assert [len(share) for share in shares] == [COUNT // 2, COUNT // 2]
    assert Counter(shares[0] + shares[1]) == Counter(ids)


async def test_two_nodes_of_one_mesh_feed_one_stream_that_holds_each_message_once(server: NatsServer):
    await make_stream(server.url)
    nats = NatsParams(url=server.url)
    async with (
        open_node(settings()) as publisher,
        open_node(settings(publisher, nats=nats)) as one,
        open_node(settings(publisher, one, nats=nats)) as two,
    ):
        await publisher.wait_for_mesh("news", 2, 10)
        ids = await publish(publisher, COUNT)
        # What a node publishes itself its sink does not carry; another one's does.
        ids += await publish(one, 10, "of one ")
        for node, count in ((one, COUNT), (two, COUNT + 10)):
            await eventually(lambda n=node, c=count: n.sinks.books["nats"].outcomes["acked"] == c)
            await node.refresh_metrics()
            assert node.metric("leanmesh_sink_balance", "nats") == 0
        duplicates = sum(node.sinks.books["nats"].duplicates for node in (one, two))
    assert duplicates == COUNT
    assert await count_stored(server.url) == COUNT + 10
    assert Counter(await read_ids(server.url, COUNT + 10)) == Counter(ids)


async def test_the_mesh_of_a_node_whose_server_is_away_delivers_as_that_of_one_without_a_sink(
    server: NatsServer,
):
    await make_stream(server.url)
    nats = NatsParams(url=server.url, queue_limit=50, in_flight_limit=10, reconnect_first_s=0.05)
    async with (
        open_node(settings()) as publisher,
        open_node(settings(publisher, nats=nats)) as with_sink,
        open_node(settings(publisher)) as without,
        with_sink.subscribe("news", overflow=Overflow.DROP_NEWEST, limit=2 * COUNT) as beside_sink,
        without.subscribe("news", overflow=Overflow.DROP_NEWEST, limit=2 * COUNT) as alone,
    ):
        await publisher.wait_for_mesh("news", 2, 10)
        books = with_sink.sinks.books["nats"]
        await server.kill()
        await eventually(lambda: not books.is_connected)
        ids = await publish(publisher, COUNT)
        for subscription in (beside_sink, alone):
            await eventually(lambda s=subscription: len(s) == COUNT)
            assert [each.message_id.hex() for each in await subscription.receive_batch(COUNT)] == ids
        assert (books.accepted, books.queued, books.balance) == (COUNT, 50, 0)
        assert books.outcomes["dropped_oldest"] == COUNT - 50 - books.in_flight
        await server.start()
        await eventually(lambda: not books.queued and not books.in_flight)
        assert await read_ids(server.url, 50) == ids[-50:]
        await with_sink.refresh_metrics()
        assert with_sink.metric("leanmesh_sink_messages_total", "nats", "dropped_oldest") == COUNT - 50
        assert with_sink.metric("leanmesh_messages_balance", "delivery") == 0
