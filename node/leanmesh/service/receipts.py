"""Receipts: what became of a message that was published here, and the wait for those who were to get it."""

from collections.abc import Mapping

import attrs
import trio

from leanmesh.gossip.outbox import Outbox
from leanmesh.identity.peer_id import PeerId


@attrs.define
class Receipt:
    """What became of one published message.

    `recipients` peers were to get it: it was `queued` for some and `dropped`
    for others, counted by reason (full, withdrawn).  `written`: to how many of
    them it had been written, or who said that they have it, when the wait
    ended; 0 when nobody waited.
    """

    topic: str
    message_id: bytes
    recipients: int
    queued: int
    dropped: Mapping[str, int]
    written: int = 0


@attrs.define(eq=False)
class Awaited:
    """One message whose way out somebody watches."""

    message_id: bytes
    waiting: dict[PeerId, Outbox]
    written: int = 0
    _watchers: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def look(self, peer: PeerId) -> None:
        """A peer's outbox was written from: the copy may have been in what went out."""
        outbox = self.waiting.get(peer)
        if outbox is not None and not outbox.holds(self.message_id):
            del self.waiting[peer]
            self.written += 1
            self._watchers.unpark_all()

    def give_up(self, peer: PeerId) -> None:
        """A peer is gone, and its copy with it."""
        if self.waiting.pop(peer, None) is not None:
            self._watchers.unpark_all()

    def give_up_lost(self) -> None:
        """What no outbox holds any more, though nothing was written, has expired."""
        for peer in [peer for peer, outbox in self.waiting.items() if not outbox.holds(self.message_id)]:
            self.give_up(peer)

    async def wait(self, count: int) -> None:
        """Wait until `count` peers have it written, or no more can."""
        await trio.lowlevel.checkpoint()
        while self.written < count and self.waiting:
            await self._watchers.park()


@attrs.define(eq=False)
class AwaitedMessages:
    """All messages of one network that are watched; nearly always none."""

    _messages: dict[bytes, Awaited] = attrs.field(factory=dict[bytes, Awaited], init=False)

    def watch(self, message_id: bytes, outboxes: Mapping[PeerId, Outbox]) -> Awaited:
        """Watch a message that was just queued."""
        waiting = {peer: outbox for peer, outbox in outboxes.items() if outbox.holds(message_id)}
        awaited = self._messages[message_id] = Awaited(message_id, waiting)
        return awaited

    def forget(self, awaited: Awaited) -> None:
        """Nobody watches it any more."""
        self._messages.pop(awaited.message_id, None)

    def on_written(self, peer: PeerId) -> None:
        """A peer's outbox was written from."""
        for awaited in self._messages.values():
            awaited.look(peer)

    def on_gone(self, peer: PeerId) -> None:
        """A peer is gone."""
        for awaited in self._messages.values():
            awaited.give_up(peer)

    def on_heartbeat(self) -> None:
        """Outboxes have dropped what was too old."""
        for awaited in self._messages.values():
            awaited.give_up_lost()
