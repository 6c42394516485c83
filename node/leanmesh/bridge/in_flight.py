"""Messages in flight: sent to the server, or about to be, and not yet acknowledged.

They are kept, in the order in which they were sent, until the server has said what
it did with them.  A lost connection loses none: the next one sends them again.
"""

from collections.abc import Iterator

import attrs
import trio

from leanmesh.service import Outcome, ReceivedMessage, SinkQueue


@attrs.define(eq=False)
class Carried:
    """One message in flight.  `attempts`: how often the server has answered with an error.

    `sent_at_s` is when it was last sent, None when it never was; `pause_s` how long such an answer
    made it wait, and `retry_at_s` until when.
    """

    message: ReceivedMessage
    attempts: int = 0
    sent_at_s: float | None = None
    pause_s: float = 0.0
    retry_at_s: float = 0.0


@attrs.define(eq=False)
class InFlight:
    """All messages of one sink that are in flight, by the number that stands in their reply subject."""

    queue: SinkQueue
    limit: int
    limit_bytes: int
    # Subjects whose messages were given up because no stream takes them, and when that was last said.
    untaken: dict[str, float] = attrs.field(factory=dict[str, float], init=False)
    _carried: dict[int, Carried] = attrs.field(factory=dict[int, Carried], init=False)
    _size_bytes: int = attrs.field(default=0, init=False)
    _next_number: int = attrs.field(default=0, init=False)
    _changes: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def __len__(self) -> int:
        return len(self._carried)

    def __iter__(self) -> Iterator[tuple[int, Carried]]:
        """All, in the order in which they were sent; what is settled meanwhile is left out."""
        for number, carried in tuple(self._carried.items()):
            if number in self._carried:
                yield number, carried

    def get(self, number: int) -> Carried | None:
        """The message of one number; None when it has been settled."""
        return self._carried.get(number)

    @property
    def oldest_sent_at_s(self) -> float:
        """When the message was sent that has been in flight for longest; infinity when none is."""
        for carried in self._carried.values():
            return float("inf") if carried.sent_at_s is None else carried.sent_at_s
        return float("inf")

    @property
    def room(self) -> int:
        """How many messages may follow now."""
        return self.limit - len(self._carried) if self._size_bytes < self.limit_bytes else 0

    @property
    def room_bytes(self) -> int:
        """How many bytes may follow now."""
        return self.limit_bytes - self._size_bytes

    def add(self, message: ReceivedMessage) -> tuple[int, Carried]:
        """Take one message that came out of the queue."""
        number, carried = self._next_number, Carried(message)
        self._next_number += 1
        self._carried[number] = carried
        self._size_bytes += len(message.data)
        return number, carried

    def settle(self, number: int, outcome: Outcome) -> bool:
        """Say what became of a message.  False when that was said before."""
        carried = self._carried.pop(number, None)
        if carried is None:
            return False
        self._size_bytes -= len(carried.message.data)
        self.queue.settle(outcome)
        self._changes.unpark_all()
        return True

    async def wait_for_room(self) -> None:
        """Wait until at least one message may follow."""
        while self.room <= 0:
            await self._changes.park()

    async def wait_until_empty(self) -> None:
        """Wait until the server has answered for every message."""
        while self._carried:
            await self._changes.park()
