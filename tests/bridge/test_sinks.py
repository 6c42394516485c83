"""Sinks of one's own: callables of Trio and of asyncio behind `add_sink`, bounded, with closed books."""

import asyncio
from collections.abc import Sequence

import pytest
import trio
import trio.testing
from leanmesh.errors import LocalError
from leanmesh.metrics import catalog_bridge
from leanmesh.run import open_node
from leanmesh.service import Node, Outcome, Overflow, ReceivedMessage, Sink
from leanmesh.service.params import NetworkParams, ServiceParams
from leanmesh.settings import Settings

SETTINGS = Settings(
    network=(NetworkParams(listen=(), topics=("news",)),), service=ServiceParams(stop_timeout_s=1.0)
)


def put(sink: Sink, *data: bytes, topic: str = "news") -> None:
    for each in data:
        sink.queue.put(ReceivedMessage(topic, each, each, None, None, trio.current_time()))


def said(sink: Sink) -> dict[str, int]:
    """What became of its messages; the books close."""
    assert sink.books.balance == 0
    return {str(outcome): count for outcome, count in sink.books.outcomes.items() if count}


async def settled(sink: Sink) -> None:
    while sink.books.queued or sink.books.in_flight:
        await trio.sleep(0.01)


async def test_a_callable_gets_batches_one_after_the_other(autojump_clock):
    batches: list[list[bytes]] = []

    async def deliver(batch: Sequence[ReceivedMessage]) -> None:
        batches.append([message.data for message in batch])
        await trio.sleep(1)

    async with open_node(SETTINGS) as node:
        sink = node.add_sink("engine", deliver, batch_limit=3)
        put(sink, b"a", b"b", b"c", b"d")
        await trio.sleep(0.5)
        put(sink, b"e")
        await settled(sink)
    assert batches == [[b"a", b"b", b"c"], [b"d", b"e"]]
    assert said(sink) == {"acked": 5}


@pytest.mark.parametrize(
    ("overflow", "outcome", "left"),
    [
        (Overflow.DROP_OLDEST, "dropped_oldest", [b"c", b"d"]),
        (Overflow.DROP_NEWEST, "dropped_newest", [b"a", b"b"]),
    ],
)
async def test_a_full_queue_loses_by_its_policy_and_counts(
    autojump_clock, overflow: Overflow, outcome: str, left: list
):
    seen: list[bytes] = []

    async def deliver(batch: Sequence[ReceivedMessage]) -> None:
        seen.extend(message.data for message in batch)

    async with open_node(SETTINGS) as node:
        sink = node.add_sink("engine", deliver, 2, overflow=overflow)
        put(sink, b"a", b"b", b"c", b"d")
        await settled(sink)
        await node.refresh_metrics()
        assert node.metric("leanmesh_sink_messages_total", "engine", outcome) == 2
    assert seen == left
    assert said(sink) == {"acked": 2, outcome: 2}


async def test_bytes_are_bounded_too(autojump_clock):
    async with open_node(SETTINGS) as node:
        sink = node.add_sink("engine", stall, queue_limit_bytes=100, batch_limit=1)
        put(sink, b"in flight")
        await trio.testing.wait_all_tasks_blocked()
        put(sink, bytes(90), bytes(90), bytes(90))
        assert (sink.books.queued, sink.books.queued_bytes) == (2, 180)
        assert said(sink) == {"dropped_oldest": 1}


async def stall(batch: Sequence[ReceivedMessage]) -> None:
    await trio.sleep_forever()


async def test_what_the_engine_refuses_and_what_a_callable_raises_over_is_counted(autojump_clock, caplog):
    async def deliver(batch: Sequence[ReceivedMessage]) -> dict[Outcome, int] | None:
        if batch[0].data == b"raise":
            raise RuntimeError("the engine is out of order")
        return {Outcome.REFUSED: 1} if batch[0].data == b"refuse" else None

    async with open_node(SETTINGS) as node:
        sink = node.add_sink("engine", deliver, batch_limit=2)
        put(sink, b"raise", b"x", b"refuse", b"x", b"take", b"x")
        await settled(sink)
        assert node.contained.counts == {"sink:engine": 1}
    assert said(sink) == {"failed": 2, "refused": 1, "acked": 3}


async def test_an_answer_that_does_not_add_up_costs_the_batch(autojump_clock, caplog):
    async def deliver(batch: Sequence[ReceivedMessage]) -> dict[Outcome, int]:
        return {Outcome.REFUSED: len(batch) + 1}

    async with open_node(SETTINGS) as node:
        sink = node.add_sink("engine", deliver)
        put(sink, b"a")
        await settled(sink)
    assert said(sink) == {"failed": 1}


async def test_a_callable_of_asyncio_runs_in_asyncio():
    loops: set[object] = set()
    seen: list[bytes] = []

    async def deliver_aio(batch: Sequence[ReceivedMessage]) -> None:
        await asyncio.sleep(0)
        loops.add(asyncio.get_running_loop())
        seen.extend(message.data for message in batch)

    async with open_node(SETTINGS) as node:
        sink = node.add_sink("engine", deliver_aio, library="asyncio", batch_limit=1)
        put(sink, b"a", b"b")
        with trio.fail_after(10):
            await settled(sink)
    assert seen == [b"a", b"b"]
    assert len(loops) == 1
    assert said(sink) == {"acked": 2}


class Engine:
    """A callable that is a context manager too, for either library."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def __aenter__(self) -> None:
        self.events.append("entered")

    async def __aexit__(self, *error: object) -> None:
        self.events.append("left")

    async def __call__(self, batch: Sequence[ReceivedMessage]) -> None:
        self.events.append(f"{len(batch)} messages")


@pytest.mark.parametrize("library", ["trio", "asyncio"])
async def test_a_callable_that_is_a_context_manager_is_entered_first_and_left_last(library: str):
    engine = Engine()
    async with open_node(SETTINGS) as node:
        sink = node.add_sink("engine", engine, library=library)
        put(sink, b"a", b"b")
        with trio.fail_after(10):
            await settled(sink)
        put(sink, b"c")
    assert engine.events == ["entered", "2 messages", "1 messages", "left"]
    assert said(sink) == {"acked": 3}


@pytest.mark.parametrize("library", ["trio", "asyncio"])
async def test_an_engine_that_cannot_be_entered_is_tried_again(library: str, caplog):
    class LateEngine(Engine):
        async def __aenter__(self) -> None:
            await super().__aenter__()
            if len(self.events) < 3:
                raise OSError("not yet")

    engine = LateEngine()
    settings = Settings(network=SETTINGS.network, service=ServiceParams(restart_first_s=0.01))
    async with open_node(settings) as node:
        sink = node.add_sink("engine", engine, library=library)
        put(sink, b"a")
        with trio.fail_after(10):
            await settled(sink)
        assert node.contained.counts == {"sink:engine": 2}
    assert engine.events == ["entered", "entered", "entered", "1 messages", "left"]
    assert said(sink) == {"acked": 1}


async def test_a_callable_of_asyncio_that_cancels_itself_costs_its_batch(caplog):
    async def deliver_aio(batch: Sequence[ReceivedMessage]) -> None:
        if batch[0].data == b"a":
            raise asyncio.CancelledError

    async with open_node(SETTINGS) as node:
        sink = node.add_sink("engine", deliver_aio, library="asyncio", batch_limit=1)
        put(sink, b"a", b"b")
        with trio.fail_after(10):
            await settled(sink)
        assert node.contained.counts == {"sink:engine": 1}
    assert said(sink) == {"failed": 1, "acked": 1}


async def test_a_callable_of_asyncio_that_hangs_is_ended_with_its_node():
    async def deliver_aio(batch: Sequence[ReceivedMessage]) -> None:
        await asyncio.sleep(3600)

    settings = Settings(network=SETTINGS.network, service=ServiceParams(stop_timeout_s=0.1))
    with trio.fail_after(10):
        async with open_node(settings) as node:
            sink = node.add_sink("engine", deliver_aio, library="asyncio", batch_limit=2)
            put(sink, b"a", b"b", b"c")
            while not sink.books.in_flight:
                await trio.sleep(0.01)
    assert said(sink) == {"unsure": 2, "stopped": 1}


async def test_a_node_that_stops_carries_away_what_is_queued(autojump_clock):
    async def deliver(batch: Sequence[ReceivedMessage]) -> None:
        await trio.sleep(0.2)

    async with open_node(SETTINGS) as node:
        sink = node.add_sink("engine", deliver, batch_limit=1)
        put(sink, b"a", b"b", b"c")
    assert said(sink) == {"acked": 3}


async def test_a_network_that_is_stopped_ends_its_sinks_once_they_are_empty(autojump_clock):
    async def deliver(batch: Sequence[ReceivedMessage]) -> None:
        await trio.sleep(0.2)

    async with open_node(SETTINGS) as node:
        sink = node.add_sink("engine", deliver, batch_limit=1)
        put(sink, b"a", b"b")
        await node.stop_network(0)
        await sink.ended.wait()
        assert said(sink) == {"acked": 2}
        assert list(node.sinks) == []


async def test_a_node_that_stops_waits_for_no_engine_longer_than_it_is_told(autojump_clock):
    async with open_node(SETTINGS) as node:
        sink = node.add_sink("engine", stall, batch_limit=2)
        put(sink, b"a", b"b", b"c")
        await trio.testing.wait_all_tasks_blocked()
        began_s = trio.current_time()
    assert trio.current_time() - began_s == 1.0
    assert said(sink) == {"unsure": 2, "stopped": 1}


async def test_a_sink_that_fails_begins_again_and_what_it_held_is_called_unsure(autojump_clock, caplog):
    lives = 0

    async def drain(queue, *, task_status) -> None:
        nonlocal lives
        lives += 1
        task_status.started()
        while batch := await queue.take(2):
            if lives == 1:
                raise RuntimeError("a bug")
            queue.settle(Outcome.ACKED, len(batch))

    async with open_node(SETTINGS) as node:
        sink = await node.start_sink("engine", drain)
        put(sink, b"a", b"b", b"c")
        await settled(sink)
    assert lives == 2
    assert said(sink) == {"unsure": 2, "acked": 1}


async def test_a_sink_of_the_same_name_continues_the_books_of_the_one_before(autojump_clock):
    async def deliver(batch: Sequence[ReceivedMessage]) -> None:
        pass

    async with open_node(SETTINGS) as node:
        first = node.add_sink("engine", deliver)
        with pytest.raises(LocalError, match="a sink named 'engine' already"):
            node.add_sink("engine", deliver)
        put(first, b"a")
        await first.aclose()
        put(first, b"nobody takes it any more")
        second = node.add_sink("engine", deliver)
        put(second, b"b")
        await settled(second)
        await node.refresh_metrics()
        assert node.metric("leanmesh_sink_messages_total", "engine", "acked") == 2
        assert node.metric("leanmesh_sink_queue", "engine") == 0


async def test_topics_are_taken_for_a_sink_and_others_do_not_reach_it(autojump_clock):
    async def deliver(batch: Sequence[ReceivedMessage]) -> None:
        pass

    async with open_node(SETTINGS) as node:
        sink = node.add_sink("engine", deliver, topics=["blocks"])
        assert list(node.network().topics) == ["news", "blocks"]
        await sink.aclose()
        assert list(node.network().topics) == ["news"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"queue_limit": 0}, "queue_limit = 0"),
        ({"overflow": Overflow.WAIT}, "must not make the mesh wait"),
        ({"batch_limit": 0}, "batch_limit = 0"),
        ({"library": "curio"}, "'curio'"),
    ],
)
async def test_what_cannot_be_is_said(autojump_clock, given: dict, message: str):
    async with open_node(SETTINGS) as node:
        with pytest.raises(LocalError, match=message):
            add(node, **given)
        assert list(node.sinks) == []


def add(node: Node, **given) -> Sink:
    return node.add_sink("engine", stall, **given)


def test_the_catalog_knows_every_outcome():
    assert tuple(Outcome) == catalog_bridge.SINK_OUTCOMES
