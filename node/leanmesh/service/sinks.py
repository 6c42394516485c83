"""Sinks: the ways by which messages leave a node for an engine beyond it.

A sink is a bounded queue and a task that drains it.  Whatever that task does,
the mesh does not wait for it: see sink_queue.py.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Literal, Protocol, cast

import attrs
import trio

from leanmesh.contain import ContainedErrors
from leanmesh.errors import LocalError, ungrouped
from leanmesh.service.deliveries import Deliveries
from leanmesh.service.events import tell
from leanmesh.service.params import ServiceParams
from leanmesh.service.sink_queue import Outcome, SinkBooks, SinkQueue
from leanmesh.service.subscriptions import ReceivedMessage

Library = Literal["trio", "asyncio"]

Deliver = Callable[[Sequence[ReceivedMessage]], Awaitable[Mapping[Outcome, int] | None]]
"""Takes a batch to an engine.  Returning means that the engine has all of it, but for those messages
that a returned mapping says were refused or too large.  Raising means that the batch is lost.
A callable that is an async context manager too is entered before the first batch and left after the last."""

InAsyncio = Callable[[Deliver], AbstractAsyncContextManager[Deliver]]
"""Makes a callable that needs asyncio one that needs Trio, for as long as the context lasts."""


class Drain(Protocol):
    """Carries messages away until the queue is closed and empty.

    It says `started` when it can; what it raises before that is raised where the
    sink was asked for.  Every message that it takes it settles.
    """

    async def __call__(self, queue: SinkQueue, *, task_status: trio.TaskStatus[None]) -> None:
        """Run until `take` gives an empty batch, or cancelled."""
        ...


@attrs.define(eq=False)
class Sink:
    """One sink of a node."""

    queue: SinkQueue
    ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def name(self) -> str:
        """Its name, on the metrics page and in the log."""
        return self.queue.name

    @property
    def books(self) -> SinkBooks:
        """What became of the messages of all sinks of this name."""
        return self.queue.books

    async def aclose(self) -> None:
        """Take no more messages, and wait until those queued are carried away.

        Cancelled, it waits no longer; the sink goes on.
        """
        self.queue.close()
        await self.ended.wait()


@attrs.define(eq=False)
class Sinks:
    """All sinks of a node, by name."""

    params: ServiceParams
    contained: ContainedErrors
    in_asyncio: InAsyncio | None = None
    books: dict[str, SinkBooks] = attrs.field(factory=dict[str, SinkBooks], init=False)
    """By name, ended ones included: totals must not go down when a sink begins again."""
    _running: dict[str, Sink] = attrs.field(factory=dict[str, Sink], init=False)

    def drain(self, deliver: Deliver, library: Library, batch_limit: int) -> Drain:
        """A drain that hands batches to a callable."""
        if batch_limit < 1:
            raise LocalError(f"batch_limit = {batch_limit}: a batch holds 1 message or more")
        if library == "trio":
            return partial(deliver_all, deliver, self.contained, batch_limit)
        if library == "asyncio" and self.in_asyncio is not None:
            return partial(
                _deliver_all_within, partial(self.in_asyncio, deliver), self.contained, batch_limit
            )
        raise LocalError(f"a sink's callable runs on trio or asyncio; this node cannot run it on {library!r}")

    def open(self, queue: SinkQueue, deliveries: Deliveries) -> Sink:
        """A sink whose queue takes messages from now on; somebody must `run` it."""
        if queue.name in self._running:
            raise LocalError(f"there is a sink named {queue.name!r} already")
        deliveries.attach(queue)
        sink = self._running[queue.name] = Sink(queue)
        return sink

    def __iter__(self) -> Iterator[Sink]:
        """Those that run."""
        return iter(tuple(self._running.values()))

    def books_of(self, name: str) -> SinkBooks:
        """The books of one name."""
        return self.books.setdefault(name, SinkBooks())

    async def run(
        self,
        sink: Sink,
        deliveries: Deliveries,
        drain: Drain,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Drain a sink until it is closed and empty, and again when its drain fails, each time loudly."""
        pauses = self.params.restart_pauses()
        status = _Started(task_status)
        try:
            while True:
                began_s = trio.current_time()
                with self.contained.contain(f"sink:{sink.name}", unless=lambda: not status.is_started):
                    with ungrouped():
                        await drain(sink.queue, task_status=status)
                    return
                sink.queue.lose_sight()
                pause_s = pauses.next_s(trio.current_time() - began_s)
                tell(
                    "sink_failed",
                    f"sink {sink.name} failed; it is started again in {pause_s:g} s",
                    level=logging.ERROR,
                    sink=sink.name,
                )
                await trio.sleep(pause_s)
        finally:
            deliveries.detach(sink.queue)
            sink.queue.end()
            sink.books.is_connected = False
            del self._running[sink.name]
            sink.ended.set()

    async def stop(self) -> None:
        """Carry away what is queued, within `stop_timeout_s`."""
        sinks = tuple(self._running.values())
        for sink in sinks:
            sink.queue.close()
        with trio.move_on_after(self.params.stop_timeout_s):
            for sink in sinks:
                await sink.ended.wait()


@attrs.define(eq=False)
class _Started:
    """Passes `started` on, once: a drain says it each time it is started again."""

    task_status: trio.TaskStatus[None]
    is_started: bool = False

    def started(self, value: None = None) -> None:
        """The drain runs."""
        if not self.is_started:
            self.is_started = True
            self.task_status.started()


async def deliver_all(
    deliver: Deliver,
    contained: ContainedErrors,
    batch_limit: int,
    queue: SinkQueue,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Hand batches to a callable, one at a time, until the queue is closed and empty.

    Started at once: the engine may be away.  A callable that is a context manager too is used within it.
    """
    task_status.started()
    async with _context_of(deliver):
        queue.books.is_connected = True
        await _deliver_batches(deliver, contained, batch_limit, queue)


def _context_of(deliver: object) -> AbstractAsyncContextManager[object]:
    if isinstance(deliver, AbstractAsyncContextManager):
        return cast("AbstractAsyncContextManager[object]", deliver)
    return nullcontext()


async def _deliver_batches(
    deliver: Deliver, contained: ContainedErrors, batch_limit: int, queue: SinkQueue
) -> None:
    while batch := await queue.take(batch_limit):
        with contained.contain(f"sink:{queue.name}"):
            for outcome, count in _checked(await deliver(batch), len(batch)).items():
                queue.settle(outcome, count)
        # What is still in flight of the only batch: the callable raised, and the batch is lost.
        queue.settle(Outcome.FAILED, queue.books.in_flight)


async def _deliver_all_within(
    opened: Callable[[], AbstractAsyncContextManager[Deliver]],
    contained: ContainedErrors,
    batch_limit: int,
    queue: SinkQueue,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    task_status.started()
    async with opened() as deliver:
        await deliver_all(deliver, contained, batch_limit, queue)


def _checked(answer: Mapping[Outcome, int] | None, count: int) -> dict[Outcome, int]:
    """What a callable says became of its batch, made complete."""
    said = {Outcome(outcome): int(number) for outcome, number in (answer or {}).items()}
    taken = count - sum(said.values())
    if taken < 0 or any(number < 0 for number in said.values()):
        raise LocalError(f"a batch of {count} messages cannot have become {said}")
    said[Outcome.ACKED] = said.get(Outcome.ACKED, 0) + taken
    return said
