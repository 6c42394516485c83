"""The collector: owns the figures of all work that the node measures.

Producers hand batches over through a bounded channel; one task folds them.  No
batch is ever out of sight: from the moment it leaves its producer until it
is folded it stands in `_handed`, also while a sender waits for room with it,
and while the folding task has it and has not had its turn.  So at any
instant, for every series, folded + queued + retained = produced.
"""

import contextlib

import attrs
import trio

from leanmesh.errors import LocalError
from leanmesh.metrics.accumulator import Batch, Figures, Work, WorkKey
from leanmesh.metrics.catalog_work import SOURCES, UNKNOWN
from leanmesh.metrics.params import CollectorParams
from leanmesh.metrics.producers import PoolProducer, Producer, ThreadInbox, ThreadProducer


class CollectorStopped(LocalError):
    """A producer was asked for, and the collector takes none any more."""


def known_source(source: str) -> str:
    """The label of a source."""
    return source if source in SOURCES else UNKNOWN


@attrs.define(eq=False)
class Collector:
    """Folds what producers hand over.  To be used in Trio's thread, but for what threads were given."""

    params: CollectorParams = attrs.field(factory=CollectorParams)
    _folded: Figures = attrs.field(factory=dict[WorkKey, Work], init=False)
    # Handed over and not folded, in the order of the channel.
    _handed: dict[Batch, None] = attrs.field(factory=dict[Batch, None], init=False)
    _producers: list[Producer] = attrs.field(factory=list[Producer], init=False)
    _pools: list[PoolProducer] = attrs.field(factory=list[PoolProducer], init=False)
    _inbox: ThreadInbox = attrs.field(init=False)
    _sender: trio.MemorySendChannel[Batch] = attrs.field(init=False)
    _receiver: trio.MemoryReceiveChannel[Batch] = attrs.field(init=False)
    # Where the tick waits while nobody holds anything: an idle node is not woken ten times a second.
    _begun: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _is_refusing: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._inbox = ThreadInbox(self.params.buffer_limit)
        self._sender, self._receiver = trio.open_memory_channel[Batch](self.params.buffer_limit)

    # Producers.

    def producer(self, source: str) -> Producer:
        """A producer for Trio's thread.  CollectorStopped when it is too late for one."""
        self._check(source)
        producer = Producer(known_source(source), self.params, self._offer, self._hand_over, self._wake)
        self._producers.append(producer)
        return producer

    def thread_producer(self, source: str) -> ThreadProducer:
        """A producer for one other thread, which flushes it before it ends.  As producer()."""
        self._check(source)
        return ThreadProducer(known_source(source), self.params, self._inbox)

    def pool_producer(self, source: str) -> PoolProducer:
        """A producer for threads that come and go.  As producer()."""
        self._check(source)
        label = known_source(source)
        pool = PoolProducer(lambda: ThreadProducer(label, self.params, self._inbox))
        self._pools.append(pool)
        return pool

    def _check(self, source: str) -> None:
        if self._is_refusing:
            raise CollectorStopped(f"no producer for {source}: the collector has stopped")

    def _wake(self) -> None:
        if self._begun:
            self._begun.unpark_all()

    # Figures.

    def figures(self) -> Figures:
        """All work until now: what is folded, what is queued, and what the loop's producers retain.

        Of threads: what they have handed over, and what idle ones of a pool hold.
        """
        self._take_from_threads()
        figures = dict(self._folded)
        for batch in self._handed:
            batch.add_to(figures)
        for producer in self._producers:
            producer.retained.add_to(figures)
        return figures

    def retained(self, source: str) -> int:
        """How many things done the loop's producers of one source hold."""
        return sum(producer.retained_count for producer in self._producers if producer.source == source)

    @property
    def queued(self) -> int:
        """How many things done are handed over and not folded."""
        return sum(batch.count for batch in self._handed)

    # Life.

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fold what comes, and fetch what producers hold for too long, until `stop`."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick)
                task_status.started()
                # Closed: stopped while a batch was on its way here.
                with contextlib.suppress(trio.ClosedResourceError):
                    async for batch in self._receiver:
                        self._fold(batch)
                nursery.cancel_scope.cancel()
        finally:
            self.stop()

    async def _tick(self) -> None:
        while True:
            if not any(producer.retained_count for producer in self._producers):
                await self._begun.park()
            await trio.sleep(self.params.flush_interval_s)
            for producer in self._producers:
                if producer.retained_count:
                    producer.try_flush()
            self._take_from_threads()

    def stop(self) -> None:
        """Take no more: no new producers; flush all; close the sender; drain; close the receiver.

        Twice is once.  Never waits, so nothing can cut it short.  The figures
        stay; what a producer adds later stays with it and is in them too.
        """
        self._is_refusing = True
        for producer in self._producers:
            if producer.retained_count and not producer.try_flush():
                self._adopt(producer.take())
        self._inbox.close()
        self._sender.close()
        self._drain()
        self._receiver.close()
        self._take_from_threads()

    def _drain(self) -> None:
        try:
            while True:
                self._fold(self._receiver.receive_nowait())
        except (trio.EndOfChannel, trio.WouldBlock, trio.ClosedResourceError):
            # What is left is on its way to a task, or came back from the channel.
            for batch in tuple(self._handed):
                self._fold(batch)

    # Handing over.

    def _offer(self, batch: Batch) -> bool:
        try:
            self._sender.send_nowait(batch)
        except (trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            return False
        self._handed[batch] = None
        return True

    async def _hand_over(self, batch: Batch) -> None:
        self._handed[batch] = None
        try:
            await self._sender.send(batch)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            self._fold(batch)
        except BaseException:
            # A send that is cancelled did not deliver.
            self._fold(batch)
            raise

    def _fold(self, batch: Batch) -> None:
        """Count a batch, once: whoever comes second finds it gone."""
        if batch in self._handed:
            del self._handed[batch]
            batch.add_to(self._folded)

    def _adopt(self, batch: Batch) -> None:
        batch.add_to(self._folded)

    def _take_from_threads(self) -> None:
        for pool in self._pools:
            pool.flush_idle()
        self._adopt(self._inbox.take())
