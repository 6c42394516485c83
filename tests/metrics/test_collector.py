"""The collector: nothing is lost, nothing is counted twice, and nobody waits who must not."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing
from leanmesh.errors import LocalError
from leanmesh.metrics.accumulator import Figures, Work, WorkKey
from leanmesh.metrics.catalog_work import SOURCES
from leanmesh.metrics.collector import Collector, CollectorStopped
from leanmesh.metrics.params import CollectorParams

FIRST = WorkKey("gossip", "blocks", "first")
AGAIN = WorkKey("gossip", "blocks", "duplicate")


def small(buffer_limit: int = 4, **params) -> CollectorParams:
    return CollectorParams(buffer_limit=buffer_limit, **params)


@asynccontextmanager
async def running(params: CollectorParams | None = None) -> AsyncIterator[Collector]:
    """A collector whose task runs; stopped at the end."""
    collector = Collector(params or CollectorParams())
    async with trio.open_nursery() as nursery:
        await nursery.start(collector.run)
        yield collector
        collector.stop()


def count(figures: Figures, source: str | None = None) -> int:
    return sum(work.count for key, work in figures.items() if source in (None, key.source))


# Handing over.


async def test_without_a_consumer_no_try_waits_and_what_finds_no_room_is_retained(autojump_clock):
    collector = Collector(small())
    producer = collector.producer("gossip")
    answers = []

    for _ in range(3 * 4):
        producer.add("blocks", "first", 1, 10)
        answers.append(producer.try_flush())

    assert answers == [True] * 4 + [False] * 8
    assert (collector.queued, producer.retained_count) == (4, 8)
    assert collector.figures() == {FIRST: Work(12, 120)}
    assert trio.current_time() == 0.0


async def test_a_full_buffer_that_is_emptied_later_has_everything_once():
    collector = Collector(small())
    producer = collector.producer("gossip")
    for _ in range(12):
        producer.add("blocks", "first", 1, 10)
        producer.try_flush()

    async with trio.open_nursery() as nursery:
        await nursery.start(collector.run)
        await trio.testing.wait_all_tasks_blocked()
        assert collector.figures() == {FIRST: Work(12, 120)}
        assert producer.try_flush()
        await trio.testing.wait_all_tasks_blocked()

        assert (collector.queued, producer.retained_count) == (0, 0)
        assert collector.figures() == {FIRST: Work(12, 120)}
        collector.stop()


async def test_a_producer_flushes_by_itself_after_so_many_events_and_again_when_that_failed():
    collector = Collector(small(1, flush_events=10))
    producer = collector.producer("gossip")

    def after(events: int) -> tuple[int, int]:
        for _ in range(events):
            producer.add("blocks", "first", 1, 1)
        return collector.queued, producer.retained_count

    assert after(9) == (0, 9)
    assert after(1) == (10, 0)
    assert after(10) == (10, 10)
    assert after(5) == (10, 15)
    collector._drain()
    # Not at each event once it has failed, but after as many as always.
    assert after(4) == (0, 19)
    assert after(1) == (20, 0)


async def test_what_a_producer_holds_is_fetched_after_the_interval(autojump_clock):
    async with running(CollectorParams(flush_interval_s=0.1)) as collector:
        producer = collector.producer("gossip")
        for number in (1, 2):
            # It waits until somebody holds something.
            await trio.sleep(10)
            producer.add("blocks", "first", 1, 10)
            await trio.sleep(0.09)
            assert producer.retained_count == 1
            await trio.sleep(0.02)

            assert (collector.queued, producer.retained_count) == (0, 0)
            assert collector._folded == {FIRST: Work(number, number * 10)}


async def test_a_flush_waits_for_room_and_is_visible_meanwhile():
    collector = Collector(small(1))
    producer = collector.producer("gossip")
    producer.add("blocks", "first", 1, 10)
    assert producer.try_flush()
    producer.add("blocks", "first", 2, 20)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(producer.flush)
        await trio.testing.wait_all_tasks_blocked()
        assert producer.retained_count == 0
        producer.add("blocks", "duplicate", 3, 30)
        assert collector.figures() == {FIRST: Work(3, 30), AGAIN: Work(3, 30)}

        await nursery.start(collector.run)
        await trio.testing.wait_all_tasks_blocked()
        assert collector.queued == 0
        assert collector.figures() == {FIRST: Work(3, 30), AGAIN: Work(3, 30)}
        collector.stop()


@pytest.mark.parametrize("is_full", [True, False])
async def test_a_cancelled_flush_loses_nothing_and_counts_nothing_twice(is_full):
    collector = Collector(small(1))
    producer = collector.producer("gossip")
    if is_full:
        producer.add("blocks", "first", 1, 10)
        assert producer.try_flush()
    producer.add("blocks", "duplicate", 2, 20)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            if not is_full:
                # Cancelled before it begins.
                scope.cancel()
            nursery.start_soon(producer.flush)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()

    expected = {AGAIN: Work(2, 20)} | ({FIRST: Work(1, 10)} if is_full else {})
    assert scope.cancelled_caught
    assert collector.figures() == expected
    collector.stop()
    assert collector.figures() == expected


async def test_a_flush_that_waits_while_the_collector_stops_is_counted():
    collector = Collector(small(1))
    producer = collector.producer("gossip")
    producer.add("blocks", "first", 1, 10)
    assert producer.try_flush()
    producer.add("blocks", "first", 2, 20)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(producer.flush)
        await trio.testing.wait_all_tasks_blocked()
        collector.stop()

    assert collector.figures() == {FIRST: Work(3, 30)}


# Figures.


async def test_figures_asked_for_right_after_a_hand_over_have_it_though_its_task_had_no_turn():
    async with running() as collector:
        producer = collector.producer("gossip")
        await trio.testing.wait_all_tasks_blocked()
        producer.add("blocks", "first", 1, 10)
        # The folding task waits: the channel hands this to it directly, past any queue.
        assert producer.try_flush()

        assert collector.figures() == {FIRST: Work(1, 10)}
        assert collector.queued == 1
        await trio.testing.wait_all_tasks_blocked()
        assert collector.figures() == {FIRST: Work(1, 10)}
        assert collector.queued == 0


async def test_eight_producers_and_fifty_readers_at_once_agree_on_the_totals():
    seen: list[int] = []

    async def produce(collector: Collector, number: int) -> None:
        producer = collector.producer(SOURCES[number % 2])
        for sample in range(500):
            producer.add("blocks", "first", 1, number)
            if sample % 7 == 0:
                producer.try_flush()
            if sample % 31 == 0:
                await producer.flush()
            await trio.lowlevel.checkpoint()

    async def read(collector: Collector) -> None:
        for _ in range(50):
            seen.append(count(collector.figures()))
            await trio.lowlevel.checkpoint()

    async with running(small()) as collector:
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(produce, collector, number)
            nursery.start_soon(read, collector)
        figures = collector.figures()

    # Producers 0, 2, 4, 6 and 1, 3, 5, 7.
    assert figures == {
        WorkKey("gossip", "blocks", "first"): Work(2000, 500 * 12),
        WorkKey("publish", "blocks", "first"): Work(2000, 500 * 16),
    }
    assert collector.figures() == figures
    assert len(seen) == 50
    assert seen == sorted(seen)
    assert 0 < seen[25] < 4000


async def test_a_producer_that_goes_on_adding_after_true_changes_nothing_of_what_it_handed_over():
    collector = Collector(small(1))
    producer = collector.producer("gossip")
    producer.add("blocks", "first", 1, 10)
    held = producer._held
    assert producer.try_flush()

    held.add("blocks", "first", 5, 50)
    collector._drain()

    assert collector._folded == {FIRST: Work(1, 10)}
    # What was added afterwards is work too, and is there once.
    assert collector.figures() == {FIRST: Work(6, 60)}


async def test_an_unknown_source_has_the_label_unknown():
    async with running() as collector:
        collector.producer("gossip").add("blocks", "first", 1, 10)
        collector.producer("gardening").add("roses", "cut", 2, 20)
        collector.producer("cooking").add("roses", "cut", 3, 30)

        assert collector.figures() == {FIRST: Work(1, 10), WorkKey("unknown", "roses", "cut"): Work(5, 50)}
        assert collector.retained("unknown") == 5


# The end.


async def test_stopping_twice_is_no_error_and_the_final_figures_stay():
    collector = Collector(small())
    producer = collector.producer("gossip")
    thread_producer = collector.thread_producer("gossip")
    for _ in range(6):
        producer.add("blocks", "first", 1, 10)
        producer.try_flush()
    async with trio.open_nursery() as nursery:
        await nursery.start(collector.run)
        collector.stop()
        collector.stop()

    assert collector.figures() == {FIRST: Work(6, 60)}
    assert (collector.queued, producer.retained_count) == (0, 0)
    for kind in (collector.producer, collector.thread_producer, collector.pool_producer):
        with pytest.raises(CollectorStopped, match="no producer for api: the collector has stopped"):
            kind("api")
    # What comes later stays with its producer, who is told so, and is seen all the same.
    producer.add("blocks", "first", 1, 10)
    thread_producer.add("blocks", "first", 1, 10)
    assert not producer.try_flush()
    assert not thread_producer.try_flush()
    assert collector.figures() == {FIRST: Work(7, 70)}
    await producer.flush()
    thread_producer.flush()
    assert collector.figures() == {FIRST: Work(8, 80)}


async def test_stopped_between_a_hand_over_and_the_turn_of_its_task_it_counts_once():
    collector = Collector(small())
    producer = collector.producer("gossip")
    async with trio.open_nursery() as nursery:
        await nursery.start(collector.run)
        await trio.testing.wait_all_tasks_blocked()
        producer.add("blocks", "first", 1, 10)
        assert producer.try_flush()
        collector.stop()

    assert collector.figures() == {FIRST: Work(1, 10)}


async def test_a_collector_whose_task_is_cancelled_stops_with_everything_counted():
    collector = Collector(small())
    producer = collector.producer("gossip")
    async with trio.open_nursery() as nursery:
        await nursery.start(collector.run)
        for _ in range(6):
            producer.add("blocks", "first", 1, 10)
            producer.try_flush()
        nursery.cancel_scope.cancel()

    assert collector.figures() == {FIRST: Work(6, 60)}
    assert not producer.try_flush()


# Threads.


def work_in_a_thread(collector: Collector, number: int, events: int) -> None:
    producer = collector.thread_producer("validation")
    for event in range(events):
        producer.add("blocks", "thread", 1, number)
        if event % 50 == 0:
            producer.try_flush()
    producer.flush()


async def test_four_threads_are_counted_exactly_once_they_rest():
    async with running(small(2, flush_events=16)) as collector:
        seen: list[int] = []

        async def read() -> None:
            while True:
                seen.append(count(collector.figures()))
                await trio.sleep(0)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            async with trio.open_nursery() as threads:
                for number in range(1, 5):
                    threads.start_soon(
                        trio.to_thread.run_sync, partial(work_in_a_thread, collector, number, 20_000)
                    )
            nursery.cancel_scope.cancel()

        assert collector.figures() == {
            WorkKey("validation", "blocks", "thread"): Work(80_000, 20_000 * (1 + 2 + 3 + 4))
        }
        assert seen == sorted(seen)


async def test_threads_of_a_pool_share_a_producer_and_need_not_flush():
    async with running(small(2, flush_events=16)) as collector:
        pool = collector.pool_producer("validation")

        def judge(number: int) -> None:
            for _ in range(5_000):
                pool.add("blocks", "thread", 1, number)

        async with trio.open_nursery() as threads:
            for number in range(1, 5):
                threads.start_soon(trio.to_thread.run_sync, judge, number)

        assert collector.figures() == {WorkKey("validation", "blocks", "thread"): Work(20_000, 5_000 * 10)}


async def test_a_thread_that_trio_does_not_know_hands_over_and_finds_no_room_like_any_other():
    collector = Collector(small(2))
    producer = collector.thread_producer("validation")
    answers: list[bool] = []

    def work() -> None:
        for _ in range(4):
            producer.add("blocks", "thread", 1, 10)
            answers.append(producer.try_flush())
        producer.flush()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert answers == [True, True, False, False]
    assert collector.figures() == {WorkKey("validation", "blocks", "thread"): Work(4, 40)}


async def test_a_thread_that_goes_on_after_the_stop_is_never_told_that_it_was_taken():
    collector = Collector(small())
    stopped = threading.Event()
    answers: list[bool] = []

    def work() -> None:
        producer = collector.thread_producer("validation")
        producer.add("blocks", "thread", 1, 10)
        answers.append(producer.try_flush())
        stopped.wait()
        producer.add("blocks", "thread", 2, 20)
        answers.append(producer.try_flush())
        producer.flush()

    thread = threading.Thread(target=work)
    thread.start()
    while not answers:
        await trio.sleep(0)
    collector.stop()
    stopped.set()
    thread.join()

    assert answers == [True, False]
    assert collector.figures() == {WorkKey("validation", "blocks", "thread"): Work(3, 30)}


# Settings.


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"flush_events": 0}, "flush_events must be 1 or more, not 0"),
        ({"buffer_limit": 0}, "buffer_limit must be 1 or more, not 0"),
        ({"topic_class_limit": 0}, "topic_class_limit must be 1 or more, not 0"),
        ({"flush_interval_s": 0.0}, "flush_interval_s must be more than 0 seconds, not 0.0"),
        ({"log_interval_s": -1.0}, "log_interval_s must be 0 or more seconds, not -1.0"),
        ({"topic_classes": ("blocks",)}, "topic_classes: 'blocks' is not CLASS=PATTERN"),
    ],
)
def test_settings_that_cannot_be_are_refused(params, message):
    with pytest.raises(LocalError, match=message):
        CollectorParams(**params)
