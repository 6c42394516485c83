"""Subscriptions: bounded queues between the gossip core and those who consume messages.

The consumer chooses what a full queue does.  With `wait` the network reads
nothing more from its peers until there is room: back-pressure reaches the
senders, and the mesh pays for a slow consumer.  With `drop_oldest` and
`drop_newest` the queue loses messages, each counted.  The books of each
subscription close: accepted = consumed + dropped + queued.
"""

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType

import attrs
import trio

from leanmesh.errors import LocalError
from leanmesh.identity.peer_id import PeerId


class Overflow(StrEnum):
    """What a full subscription does with one message more."""

    WAIT = "wait"
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"


@attrs.define(eq=False)
class ReceivedMessage:
    """One accepted message, as an application sees it.

    `data` is what the data transform made of the payload.  `author` is the
    peer id it claims, proved when messages are signed.  `peer` delivered it
    first; None for messages published here.  `received_at_s` is on Trio's clock.
    """

    topic: str
    data: bytes
    message_id: bytes
    author: bytes | None
    peer: PeerId | None
    received_at_s: float


@attrs.define
class DeliveryBooks:
    """What became of the messages put into all subscriptions of one network, closed ones included."""

    accepted: int = 0
    consumed: int = 0
    queued: int = 0
    dropped: dict[tuple[str, Overflow], int] = attrs.field(factory=dict[tuple[str, Overflow], int])

    @property
    def balance(self) -> int:
        """What is not accounted for; 0 when nothing was lost unseen."""
        return self.accepted - self.consumed - self.queued - sum(self.dropped.values())

    def drop(self, topic: str, overflow: Overflow, count: int) -> None:
        """Count messages that were accepted and will not be consumed."""
        self.dropped[topic, overflow] = self.dropped.get((topic, overflow), 0) + count


class SubscriptionClosed(LocalError):
    """The subscription or its network has ended; what was queued has been consumed."""


@attrs.define(eq=False)
class Subscription:
    """Messages of one topic: an async context manager and an async iterator.

    Entering the context begins it.  Leaving ends it, and what was not consumed
    counts as dropped.
    When the network ends instead, iteration gives what is still queued first.
    """

    topic: str
    limit: int
    limit_bytes: int
    overflow: Overflow
    _books: DeliveryBooks
    _on_open: Callable[["Subscription"], None]
    _on_room: Callable[["Subscription"], None]
    _on_close: Callable[["Subscription"], None]
    size_bytes: int = attrs.field(default=0, init=False)
    dropped: int = attrs.field(default=0, init=False)
    is_closed: bool = attrs.field(default=False, init=False)
    _is_open: bool = attrs.field(default=False, init=False)
    _queue: deque[ReceivedMessage] = attrs.field(factory=deque[ReceivedMessage], init=False)
    _consumers: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_full(self) -> bool:
        """Whether one message more would be too much."""
        return len(self._queue) >= self.limit or self.size_bytes >= self.limit_bytes

    def put(self, message: ReceivedMessage) -> None:
        """Take one message, by the rule for a full queue.  Never waits.

        Under `wait` the message is taken all the same: whoever reads from the
        peers stops at the end of its chunk, so the overrun is bounded.
        """
        books = self._books
        books.accepted += 1
        if self.overflow is not Overflow.WAIT and self.is_full:
            if self.overflow is Overflow.DROP_NEWEST:
                self._drop(1)
                return
            # A large message may cost several small ones, or the bytes had no limit.
            while self.is_full:
                self._drop(1)
                self.size_bytes -= len(self._queue.popleft().data)
                books.queued -= 1
        self._queue.append(message)
        self.size_bytes += len(message.data)
        books.queued += 1
        if self._consumers:
            self._consumers.unpark()

    async def receive(self) -> ReceivedMessage:
        """The next message.  SubscriptionClosed when there will be none."""
        (message,) = await self.receive_batch(1)
        return message

    async def receive_batch(self, limit: int = 256) -> list[ReceivedMessage]:
        """Wait for at least one message and take up to `limit` of those that are there.

        One checkpoint for the whole batch, where `receive` has one for each message.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        queue = self._queue
        has_waited = not queue
        while not queue:
            if self.is_closed:
                raise SubscriptionClosed(f"the subscription to {self.topic} is closed")
            await self._consumers.park()
        was_full = self.is_full
        batch = [queue.popleft() for _ in range(min(limit, len(queue)))]
        self.size_bytes -= sum(len(message.data) for message in batch)
        self._books.queued -= len(batch)
        self._books.consumed += len(batch)
        if queue and self._consumers:
            self._consumers.unpark()
        if was_full and not self.is_full:
            self._on_room(self)
        if not has_waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return batch

    def close(self) -> None:
        """Take no more messages.  What is queued can still be consumed."""
        if self.is_closed:
            return
        self.is_closed = True
        self._consumers.unpark_all()
        if self._is_open:
            self._on_close(self)

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._books.drop(self.topic, self.overflow, count)

    async def __aenter__(self) -> "Subscription":
        await trio.lowlevel.checkpoint()
        if self._is_open or self.is_closed:
            raise LocalError(f"this subscription to {self.topic} has begun before; subscribe once more")
        self._on_open(self)
        self._is_open = True
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if self._queue:
            self._books.queued -= len(self._queue)
            self._drop(len(self._queue))
            self._queue.clear()
            self.size_bytes = 0
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> ReceivedMessage:
        try:
            return await self.receive()
        except SubscriptionClosed:
            raise StopAsyncIteration from None
