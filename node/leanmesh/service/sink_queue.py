"""The queue of a sink: bounded, between the gossip core and whoever carries messages away.

Putting never waits: a sink that cannot keep up loses messages, counted, and the
mesh does not notice.  The books close: accepted = what became of messages +
queued + in flight.
"""

from collections import deque
from enum import StrEnum

import attrs
import trio

from leanmesh.errors import LocalError
from leanmesh.service.subscriptions import Overflow, ReceivedMessage


class Outcome(StrEnum):
    """What can become of a message that a sink was given; metrics/catalog_bridge.py explains each."""

    ACKED = "acked"
    DROPPED_OLDEST = "dropped_oldest"
    DROPPED_NEWEST = "dropped_newest"
    TOO_LARGE = "too_large"
    REFUSED = "refused"
    FAILED = "failed"
    STOPPED = "stopped"
    UNSURE = "unsure"


@attrs.define(eq=False)
class SinkBooks:
    """What became of the messages of all sinks of one name, one after the other."""

    accepted: int = 0
    queued: int = 0
    queued_bytes: int = 0
    in_flight: int = 0
    outcomes: dict[Outcome, int] = attrs.field(factory=lambda: dict.fromkeys(Outcome, 0))
    is_connected: bool = False
    republished: int = 0
    duplicates: int = 0

    @property
    def balance(self) -> int:
        """What is not accounted for; 0 when nothing was lost unseen."""
        return self.accepted - self.queued - self.in_flight - sum(self.outcomes.values())


@attrs.define(eq=False)
class SinkQueue:
    """Messages that wait for one sink.  `topics`: those it wants, None for all that the network takes."""

    name: str
    limit: int
    limit_bytes: int
    overflow: Overflow
    topics: frozenset[str] | None
    books: SinkBooks
    closed: trio.Event = attrs.field(factory=trio.Event, init=False)
    _queue: deque[ReceivedMessage] = attrs.field(factory=deque[ReceivedMessage], init=False)
    _consumers: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def __attrs_post_init__(self) -> None:
        if self.limit < 1 or self.limit_bytes < 1:
            raise LocalError(
                f"the sink {self.name!r} needs room: queue_limit = {self.limit}, "
                f"queue_limit_bytes = {self.limit_bytes}; both must be 1 or more"
            )
        if self.overflow is Overflow.WAIT:
            raise LocalError(
                f"the sink {self.name!r} must not make the mesh wait: overflow is drop_oldest or drop_newest"
            )

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more messages."""
        return self.closed.is_set()

    @property
    def is_full(self) -> bool:
        """Whether one message more would be too much."""
        return len(self._queue) >= self.limit or self.books.queued_bytes >= self.limit_bytes

    def put(self, message: ReceivedMessage) -> None:
        """Take one message, by the rule for a full queue.  Never waits; does nothing once closed."""
        if self.is_closed:
            return
        books = self.books
        books.accepted += 1
        if self.is_full:
            if self.overflow is Overflow.DROP_NEWEST:
                books.outcomes[Outcome.DROPPED_NEWEST] += 1
                return
            while self.is_full:
                self._forget(self._queue.popleft(), Outcome.DROPPED_OLDEST)
        self._queue.append(message)
        books.queued += 1
        books.queued_bytes += len(message.data)
        if self._consumers:
            self._consumers.unpark()

    async def take(self, limit: int = 64, limit_bytes: int | None = None) -> list[ReceivedMessage]:
        """Wait for messages and take up to `limit` of them: they are in flight until they are settled.

        A batch ends with the message that brings it to `limit_bytes`.  An empty
        one means that the queue is closed and everything has been taken.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        queue, books = self._queue, self.books
        has_waited = False
        while not queue and not self.is_closed:
            await self._consumers.park()
            has_waited = True
        batch: list[ReceivedMessage] = []
        size_bytes = 0
        while queue and len(batch) < limit and (limit_bytes is None or size_bytes < limit_bytes):
            message = queue.popleft()
            size_bytes += len(message.data)
            batch.append(message)
        books.queued -= len(batch)
        books.queued_bytes -= size_bytes
        books.in_flight += len(batch)
        if not has_waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return batch

    def settle(self, outcome: Outcome, count: int = 1) -> None:
        """Say what became of messages in flight."""
        if not 0 <= count <= self.books.in_flight:
            raise LocalError(
                f"the sink {self.name!r} cannot settle {count} messages: {self.books.in_flight} are in flight"
            )
        self.books.in_flight -= count
        self.books.outcomes[outcome] += count

    def close(self) -> None:
        """Take no more messages.  What is queued can still be carried away."""
        self.closed.set()
        self._consumers.unpark_all()

    def end(self) -> None:
        """Nobody carries anything away any more: what is left is counted."""
        self.close()
        while self._queue:
            self._forget(self._queue.popleft(), Outcome.STOPPED)
        self.lose_sight()

    def lose_sight(self) -> None:
        """Whoever had messages in flight is gone: nobody knows what became of them."""
        self.settle(Outcome.UNSURE, self.books.in_flight)

    def _forget(self, message: ReceivedMessage, outcome: Outcome) -> None:
        self.books.queued -= 1
        self.books.queued_bytes -= len(message.data)
        self.books.outcomes[outcome] += 1
