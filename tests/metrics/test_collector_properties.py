"""The collector's invariants over random orders of everything that can happen to it."""

from collections import Counter

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from leanmesh.metrics.accumulator import Figures, Work, WorkKey
from leanmesh.metrics.catalog_work import SOURCES
from leanmesh.metrics.collector import Collector
from leanmesh.metrics.params import CollectorParams

PRODUCERS = 3

number = st.integers(0, PRODUCERS - 1)
op = st.sampled_from(["first", "duplicate"])
STEP = st.one_of(
    st.tuples(st.just("add"), number, op, st.integers(1, 9)),
    st.tuples(st.just("add_in_thread"), number, op, st.integers(1, 9)),
    st.tuples(st.just("try_flush"), number),
    st.tuples(st.just("try_flush_thread"), number),
    st.tuples(st.just("flush_thread"), number),
    st.tuples(st.just("flush"), number),
    st.tuples(st.just("cancel_flushes")),
    st.tuples(st.just("start")),
    st.tuples(st.just("turn")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("cancel_collector")),
    st.tuples(st.just("stop")),
)


class Schedule:
    """One run: the collector, and a plain count of what was produced."""

    def __init__(self, params: CollectorParams, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.collector = Collector(params)
        self.producers = [self.collector.producer(SOURCES[i]) for i in range(PRODUCERS)]
        # Used here in one thread; what is tested is who owns what, and when.
        self.threads = [self.collector.thread_producer(SOURCES[i]) for i in range(PRODUCERS)]
        self.produced: Counter[WorkKey] = Counter()
        self.in_threads = [Counter[WorkKey]() for _ in range(PRODUCERS)]
        self.flushes: list[trio.CancelScope] = []
        self.life = trio.CancelScope()
        self.has_stopped = False
        self.has_started = False

    def add(self, index: int, op: str, count: int) -> None:
        self.producers[index].add("blocks", op, count, 7 * count)
        self.produced[WorkKey(SOURCES[index], "blocks", op)] += count

    def add_in_thread(self, index: int, op: str, count: int) -> None:
        self.in_threads[index][WorkKey(SOURCES[index], "blocks", op)] += count
        self.threads[index].add("blocks", op, count, 7 * count)
        if not self.threads[index]._held:
            # It flushed by itself.
            self._landed(index)

    def try_flush(self, index: int) -> None:
        held = self.producers[index].retained_count
        is_taken = self.producers[index].try_flush()
        assert self.producers[index].retained_count == (0 if is_taken else held)
        assert not (is_taken and self.has_stopped)

    def try_flush_thread(self, index: int) -> None:
        is_taken = self.threads[index].try_flush()
        assert not (is_taken and self.has_stopped)
        if is_taken:
            self._landed(index)

    def flush_thread(self, index: int) -> None:
        self.threads[index].flush()
        self._landed(index)

    def _landed(self, index: int) -> None:
        self.produced += self.in_threads[index]
        self.in_threads[index].clear()

    def flush(self, index: int) -> None:
        self.nursery.start_soon(self._flush, index)

    async def _flush(self, index: int) -> None:
        with trio.CancelScope() as scope:
            self.flushes.append(scope)
            await self.producers[index].flush()

    async def cancel_flushes(self) -> None:
        for scope in self.flushes:
            scope.cancel()
        await trio.testing.wait_all_tasks_blocked()

    async def start(self) -> None:
        if not self.has_started:
            self.has_started = True
            self.nursery.start_soon(self._run)

    async def _run(self) -> None:
        with self.life:
            await self.collector.run()
        assert self.has_stopped or self.life.cancel_called

    async def turn(self) -> None:
        await trio.lowlevel.checkpoint()

    async def settle(self) -> None:
        await trio.testing.wait_all_tasks_blocked()

    async def cancel_collector(self) -> None:
        if self.has_started:
            self.life.cancel()
            await trio.testing.wait_all_tasks_blocked()
            self.has_stopped = True

    def stop(self) -> None:
        self.collector.stop()
        self.has_stopped = True

    def expected(self) -> Figures:
        return {key: Work(count, 7 * count) for key, count in self.produced.items()}

    async def do(self, step: tuple) -> None:
        name, *arguments = step
        pending = getattr(self, name)(*arguments)
        if pending is not None:
            await pending


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(STEP, max_size=40), buffer_limit=st.integers(1, 3), flush_events=st.integers(1, 40))
def test_whatever_happens_folded_and_queued_and_retained_are_what_was_produced(
    steps, buffer_limit, flush_events
):
    params = CollectorParams(buffer_limit=buffer_limit, flush_events=flush_events, flush_interval_s=1000.0)

    async def run() -> None:
        before: Figures = {}
        async with trio.open_nursery() as nursery:
            schedule = Schedule(params, nursery)
            for step in steps:
                await schedule.do(step)
                figures = schedule.collector.figures()
                assert figures == schedule.expected()
                assert all(figures[key].count >= work.count for key, work in before.items())
                before = figures
            for index in range(PRODUCERS):
                schedule.flush_thread(index)
            schedule.stop()
            # At rest, exactly what was produced has been folded.
            assert schedule.collector._folded == schedule.expected()
            assert schedule.collector.queued == 0
        assert schedule.collector.figures() == schedule.expected()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
