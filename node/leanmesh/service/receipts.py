"""Receipts: what became of a message that was published here, and the wait for those who were to get it."""

from collections.abc import Mapping
from typing import Protocol

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


class Way(Protocol):
    """Where the copies for one peer wait; a Link is one."""

    @property
    def outbox(self) -> Outbox:
        """Those that have not been taken out yet."""
        ...

    @property
    def is_blocked(self) -> bool:
        """Whether something that was taken out may not be written yet."""
        ...


@attrs.define(eq=False)
class Awaited:
    """One message whose way out somebody watches."""

    message_id: bytes
    waiting: dict[PeerId, Way]
    written: int = 0
    _watchers: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def look(self, peer: PeerId) -> None:
        """What was taken out of a peer's outbox is written: the copy may have been in it."""
        if peer in self.waiting and not self.is_queued(peer):
            del self.waiting[peer]
            self.written += 1
            self._watchers.unpark_all()

    def give_up(self, peer: PeerId) -> None:
        """A peer's copy is lost."""
        if self.waiting.pop(peer, None) is not None:
            self._watchers.unpark_all()

    def is_queued(self, peer: PeerId) -> bool:
        """Whether a peer's copy is in its outbox."""
        return self.waiting[peer].outbox.holds(self.message_id)

    async def wait(self, count: int) -> None:
        """Wait until `count` peers have it written, or no more can."""
        await trio.lowlevel.checkpoint()
        while self.written < count and self.waiting:
            await self._watchers.park()


@attrs.define(eq=False)
class AwaitedMessages:
    """All messages of one network that are watched; nearly always none."""

    _messages: dict[bytes, Awaited] = attrs.field(factory=dict[bytes, Awaited], init=False)

    def watch(self, message_id: bytes, ways: Mapping[PeerId, Way]) -> Awaited:
        """Watch a message that was just queued."""
        waiting = {peer: way for peer, way in ways.items() if way.outbox.holds(message_id)}
        awaited = self._messages[message_id] = Awaited(message_id, waiting)
        return awaited

    def forget(self, awaited: Awaited) -> None:
        """Nobody watches it any more."""
        self._messages.pop(awaited.message_id, None)

    def on_written(self, peer: PeerId) -> None:
        """All that was taken out of a peer's outbox is written."""
        for awaited in self._messages.values():
            awaited.look(peer)

    def on_gone(self, peer: PeerId) -> None:
        """A peer is gone, and its copies with it."""
        for awaited in self._messages.values():
            awaited.give_up(peer)

    def queued(self) -> list[tuple[Awaited, PeerId]]:
        """The copies that are in their outboxes: what the heartbeat takes out of those has expired.

        A copy that is in none, and not on its way to the stream either, was withdrawn: the peer has it.
        """
        for awaited in self._messages.values():
            for peer in [peer for peer, way in awaited.waiting.items() if not way.is_blocked]:
                awaited.look(peer)
        return [
            (awaited, peer)
            for awaited in self._messages.values()
            for peer in awaited.waiting
            if awaited.is_queued(peer)
        ]

    def give_up_expired(self, queued: list[tuple[Awaited, PeerId]]) -> None:
        """The heartbeat is over; `queued` was in the outboxes before it."""
        for awaited, peer in queued:
            if not awaited.is_queued(peer):
                awaited.give_up(peer)
