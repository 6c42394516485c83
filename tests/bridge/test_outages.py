"""Servers that are killed, stay away, hang or forget: nothing is lost unseen, and nothing is stored twice."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from bridge.feed import Feed, eventually, feeding
from bridge.reader import count_stored, make_stream, read_ids, with_jetstream
from leanmesh.bridge.params import NatsParams
from leanmesh.run import open_node
from leanmesh.service import Outcome
from leanmesh.service.params import NetworkParams, ServiceParams
from leanmesh.settings import Settings
from nats.js.api import DiscardPolicy, StreamConfig
from nats_server import NatsServer

COUNT = 100_000


def params(server: NatsServer, **more) -> NatsParams:
    return NatsParams(url=server.url, **{"reconnect_first_s": 0.05, "reconnect_limit_s": 0.2, **more})


async def test_100_000_messages_are_stored_once_though_the_server_is_killed_in_the_middle(server: NatsServer):
    await make_stream(server.url)
    async with feeding(params(server, queue_limit=20_000)) as feed, trio.open_nursery() as nursery:
        nursery.start_soon(feed.put_all, COUNT)
        await feed.wait_for(COUNT // 2)
        await server.kill()
        assert feed.books.in_flight
        await trio.sleep(0.5)
        await server.start()
    feed.check(acked=COUNT)
    assert feed.books.republished > 0
    assert await count_stored(server.url) == COUNT
    assert sorted(await read_ids(server.url, COUNT)) == sorted(feed.ids)


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
async def test_a_server_that_stays_away_costs_what_the_queue_cannot_hold_and_no_more(
    server: NatsServer, overflow: str
):
    await make_stream(server.url)
    limits = params(server, queue_limit=300, in_flight_limit=50, overflow=overflow)
    async with feeding(limits) as feed:
        await feed.put_all(100)
        await feed.wait_for(100)
        await server.kill()
        await eventually(lambda: not feed.books.is_connected)
        for number in range(1000):
            feed.put(b"while away %d" % number)
            assert len(feed.queue) <= 300
        held = 300 + feed.books.in_flight
        assert sum(feed.books.outcomes.values()) == 100 + 1000 - held
        assert feed.books.balance == 0
        await server.start()
        await eventually(lambda: feed.books.is_connected)
        feed.put(b"after")
    feed.check(acked=100 + held + 1, **{f"dropped_{overflow.removeprefix('drop_')}": 1000 - held})
    kept = feed.ids[:100] + (
        feed.ids[-held - 1 :] if overflow == "drop_oldest" else feed.ids[100 : 100 + held]
    )
    if overflow == "drop_newest":
        kept.append(feed.ids[-1])
    assert await read_ids(server.url, len(kept)) == kept


async def test_a_sink_may_start_before_its_server(make_server: Callable[..., NatsServer]):
    server = make_server()
    async with feeding(params(server, starts_without_server=True, create_stream=True)) as feed:
        await feed.put_all(10)
        await trio.sleep(0.1)
        assert feed.books.queued == 10
        await server.start()
    feed.check(acked=10)


async def test_a_server_that_hangs_is_given_up_and_what_it_took_is_stored_once(server: NatsServer):
    await make_stream(server.url)
    async with feeding(params(server, ack_timeout_s=0.5, connect_timeout_s=0.5)) as feed:
        await feed.put_all(50)
        await feed.wait_for(50)
        server.pause()
        await feed.put_all(200)
        await eventually(lambda: not feed.books.is_connected)
        server.go_on()
    # The first 50 were put twice: these are known by their ids.
    feed.check(acked=250)
    assert feed.books.duplicates >= 50
    assert await read_ids(server.url, await count_stored(server.url)) == feed.ids[50:]


async def test_a_stream_that_vanishes_is_waited_for(server: NatsServer):
    await make_stream(server.url)
    async with feeding(params(server, attempts_limit=1000)) as feed:
        await feed.put_all(10)
        await feed.wait_for(10)
        await with_jetstream(server.url, lambda js: js.delete_stream("leanmesh"))
        await feed.put_all(30)
        await eventually(lambda: not feed.books.is_connected)
        await make_stream(server.url)
    feed.check(acked=40)
    assert await read_ids(server.url, 30) == feed.ids[10:]


async def test_messages_that_the_stream_refuses_again_and_again_are_given_up(server: NatsServer):
    await make_stream(server.url, max_msgs=5, discard=DiscardPolicy.NEW)
    async with feeding(params(server, attempts_limit=3)) as feed:
        await feed.put_all(8)
    feed.check(acked=5, refused=3)
    assert await read_ids(server.url, 5) == feed.ids[:5]


async def test_a_topic_that_no_stream_takes_holds_up_nobody_else(server: NatsServer):
    await make_stream(server.url, subjects="leanmesh.good")
    async with feeding(params(server, attempts_limit=3, in_flight_limit=20)) as feed:
        for number in range(200):
            feed.put(b"good %d" % number, topic="good")
            feed.put(b"bad %d" % number, topic="bad")
        await feed.wait_for(200)
        await eventually(lambda: not feed.books.in_flight and not feed.books.queued)
        # Only what was declined went again, and of that only what was asked about while nobody knew.
        assert feed.books.republished < 2 * 40
        # It is taken as soon as there is a stream for it.
        await with_jetstream(
            server.url,
            lambda js: js.update_stream(StreamConfig(name="leanmesh", subjects=["leanmesh.>"])),
        )
        feed.put(b"late", topic="bad")
    feed.check(acked=201, refused=200)
    assert await count_stored(server.url) == 201


async def test_a_node_that_is_stopped_while_the_server_is_away_stops_and_says_what_it_leaves(
    server: NatsServer,
):
    await make_stream(server.url)
    settings = Settings(
        network=(NetworkParams(listen=("/ip4/127.0.0.1/tcp/0",), topics=("news",)),),
        service=ServiceParams(stop_timeout_s=0.3),
        nats=(params(server),),
    )
    with trio.fail_after(10):
        async with open_node(settings) as node:
            (queue,) = [sink.queue for sink in node.sinks]
            feed = Feed(queue)
            await feed.put_all(5)
            await feed.wait_for(5)
            server.pause()
            await feed.put_all(2000)
            await eventually(lambda: feed.books.in_flight == 1024)
    feed.check(acked=5, unsure=1024, stopped=2000 - 1024)


async def test_a_node_that_is_cancelled_in_the_middle_of_a_batch_loses_nothing_acknowledged(
    server: NatsServer,
):
    await make_stream(server.url)
    settings = Settings(
        network=(NetworkParams(listen=("/ip4/127.0.0.1/tcp/0",), topics=("news",)),),
        service=ServiceParams(stop_timeout_s=0.0),
        nats=(params(server),),
    )
    threads = threading.active_count()
    tasks = trio.lowlevel.current_statistics().tasks_living
    for number in range(5):
        with trio.fail_after(10), trio.CancelScope() as scope:
            async with open_node(settings) as node, trio.open_nursery() as nursery:
                (queue,) = [sink.queue for sink in node.sinks]
                feed = Feed(queue)
                nursery.start_soon(feed.put_all, 20_000)
                await feed.wait_for(100 + 37 * number)
                scope.cancel()
        assert scope.cancelled_caught
        assert feed.books.balance == feed.books.queued == feed.books.in_flight == 0
        assert feed.books.outcomes[Outcome.UNSURE] + feed.books.outcomes[Outcome.STOPPED] > 0
        acked = feed.books.outcomes[Outcome.ACKED]
        stored = await count_stored(server.url)
        assert acked <= stored
        assert set(feed.ids[:acked]) <= set(await read_ids(server.url, stored))
    await trio.testing.wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    # Trio keeps idle threads for a while; none of ours may be at work.
    assert threading.active_count() <= threads + 1


async def test_answers_that_are_no_acknowledgements_settle_nothing(server: NatsServer):
    await make_stream(server.url)
    answers = [
        b"+OK",
        b"",
        b"[]",
        b"{}",
        b'{"stream": 1, "seq": 1}',
        b'{"error": "no"}',
        b"[" * 100_000,
        b"\xff",
    ]

    async def chatter(js: Any) -> None:
        """Somebody else who takes the subject too, and answers all of this before the stream can."""
        took = asyncio.Event()

        async def on_message(message: Any) -> None:
            for answer in answers:
                await message.respond(answer)
            took.set()

        await js._nc.subscribe("leanmesh.>", cb=on_message)
        await js._nc.flush()
        listens.set()
        await took.wait()
        await js._nc.flush()

    listens = threading.Event()
    async with feeding(params(server)) as feed, trio.open_nursery() as nursery:
        nursery.start_soon(with_jetstream, server.url, chatter)
        # Abandoned when the other fails: it would never be told.
        await trio.to_thread.run_sync(listens.wait, abandon_on_cancel=True)
        feed.put(b"hello")
    feed.check(acked=1)
    assert await count_stored(server.url) == 1
