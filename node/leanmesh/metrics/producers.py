"""Producers: each fills an accumulator of its own and hands it over now and then.

A loop producer is used in Trio's thread only.  A thread producer is used by
one thread, whichever; it never touches the loop, only the inbox, which has a
lock.  A pool of them serves threads that come and go.
"""

import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable

import attrs
import trio

from leanmesh.metrics.accumulator import Accumulator, Batch, Figures, Work, WorkKey
from leanmesh.metrics.params import CollectorParams

OpenProducer = Callable[[], "ThreadProducer"]


@attrs.define(eq=False)
class Producer:
    """Measures the work of one source in Trio's thread."""

    source: str
    _params: CollectorParams
    _offer: Callable[[Batch], bool]
    """Takes a batch at once, or answers False."""
    _hand_over: Callable[[Batch], Awaitable[None]]
    """Takes a batch, whatever happens."""
    _on_begun: Callable[[], None]
    """It holds something, after it held nothing."""
    _held: Accumulator = attrs.field(init=False)
    _due: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._held = Accumulator(self.source)
        self._due = self._params.flush_events

    @property
    def retained(self) -> Batch:
        """What has not been handed over, as it is now."""
        return self._held.batch()

    @property
    def retained_count(self) -> int:
        """How many things done that is."""
        return self._held.count

    def add(self, topic_class: str, op: str, count: int, duration_ns: int) -> None:
        """So many things were done, in this time together.  Never waits."""
        if not self._held.count:
            self._on_begun()
        self._held.add(topic_class, op, count, duration_ns)
        if self._held.count >= self._due:
            self.try_flush()

    def try_flush(self) -> bool:
        """Hand over what is held, if there is room for it.  Never waits.

        False: there is none, or the collector has stopped; then all of it is
        still held here, and the next try has it and what came since.
        """
        is_taken = self._offer(self._held.batch())
        if is_taken:
            self._held.clear()
        self._due = self._held.count + self._params.flush_events
        return is_taken

    async def flush(self) -> None:
        """Hand over what is held, waiting for room.  Loses nothing, also when it is cancelled."""
        if not self._held:
            await trio.lowlevel.checkpoint()
            return
        await self._hand_over(self.take())

    def take(self) -> Batch:
        """Give away what is held."""
        batch = self._held.batch()
        self._held.clear()
        self._due = self._params.flush_events
        return batch


@attrs.define(eq=False)
class ThreadInbox:
    """Where threads put their batches: at most `limit`, unless they may not keep them."""

    limit: int
    _batches: deque[Batch] = attrs.field(factory=deque[Batch], init=False)
    # What was put here without room.  One figure per series, so it is bounded too.
    _adopted: Figures = attrs.field(factory=dict[WorkKey, Work], init=False)
    _is_closed: bool = attrs.field(default=False, init=False)
    # The bound and the end hold in one step with what is put.
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def offer(self, batch: Batch) -> bool:
        """Take a batch, or answer False when there is no room, or will be none any more."""
        with self._lock:
            if self._is_closed or len(self._batches) >= self.limit:
                return False
            self._batches.append(batch)
            return True

    def adopt(self, batch: Batch) -> None:
        """Take a batch whose producer ends."""
        with self._lock:
            batch.add_to(self._adopted)

    def take(self) -> Batch:
        """Everything that was put here since the last call."""
        with self._lock:
            batches, self._batches = self._batches, deque[Batch]()
            figures, self._adopted = self._adopted, {}
        for batch in batches:
            batch.add_to(figures)
        return Batch(sum(work.count for work in figures.values()), tuple(figures.items()))

    def close(self) -> None:
        """Offers are refused from now on."""
        with self._lock:
            self._is_closed = True


@attrs.define(eq=False)
class ThreadProducer:
    """Measures the work of one source in one thread.

    What it holds is seen by nobody before it is handed over: to read it
    while its thread fills it would tear it.
    """

    source: str
    _params: CollectorParams
    _inbox: ThreadInbox
    _held: Accumulator = attrs.field(init=False)
    _due: int = attrs.field(init=False)
    _due_s: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._held = Accumulator(self.source)
        self._plan()

    def add(self, topic_class: str, op: str, count: int, duration_ns: int) -> None:
        """So many things were done, in this time together.  Never waits."""
        self._held.add(topic_class, op, count, duration_ns)
        if self._held.count >= self._due or time.monotonic() >= self._due_s:
            self.try_flush()

    def try_flush(self) -> bool:
        """As a loop producer's."""
        is_taken = self._inbox.offer(self._held.batch())
        if is_taken:
            self._held.clear()
        self._plan()
        return is_taken

    def flush(self) -> None:
        """Hand over what is held, room or not, also when the collector has stopped.  For the thread's end."""
        if self._held:
            self._inbox.adopt(self._held.batch())
            self._held.clear()
        self._plan()

    def _plan(self) -> None:
        self._due = self._held.count + self._params.flush_events
        self._due_s = time.monotonic() + self._params.flush_interval_s


@attrs.define(eq=False)
class PoolProducer:
    """Measures work in threads that come and go, such as Trio's workers.

    Each call borrows a thread producer that nobody else has just then; an idle
    one belongs to whoever takes it out, also to the loop that empties it.
    There are as many as there were ever calls at once.
    """

    _open: OpenProducer
    _idle: deque[ThreadProducer] = attrs.field(factory=deque[ThreadProducer], init=False)

    def add(self, topic_class: str, op: str, count: int, duration_ns: int) -> None:
        """So many things were done, in this time together.  From any thread; never waits."""
        try:
            producer = self._idle.pop()
        except IndexError:
            producer = self._open()
        producer.add(topic_class, op, count, duration_ns)
        self._idle.append(producer)

    def flush_idle(self) -> None:
        """Hand over what is held wherever no thread is at work."""
        for _ in range(len(self._idle)):
            try:
                producer = self._idle.popleft()
            except IndexError:
                return
            producer.flush()
            self._idle.append(producer)
