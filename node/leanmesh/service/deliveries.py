"""Deliveries: from the router's accepted messages to the subscriptions that want them."""

from collections.abc import Callable

import attrs
import trio

from leanmesh.gossip.rpc import Message
from leanmesh.identity.peer_id import PeerId
from leanmesh.service.params import ServiceParams
from leanmesh.service.subscriptions import DeliveryBooks, Overflow, ReceivedMessage, Subscription


@attrs.define(eq=False)
class Deliveries:
    """All subscriptions of one network, and whether one of them makes the readers wait."""

    params: ServiceParams
    on_taken: Callable[[str], None]
    """A subscription to this topic has begun."""
    on_released: Callable[[str], None]
    """A subscription to this topic has ended."""
    books: DeliveryBooks
    _by_topic: dict[str, list[Subscription]] = attrs.field(factory=dict[str, list[Subscription]], init=False)
    _full: dict[Subscription, None] = attrs.field(factory=dict[Subscription, None], init=False)
    _room: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def subscribe(
        self, topic: str, overflow: Overflow, limit: int | None = None, limit_bytes: int | None = None
    ) -> Subscription:
        """A subscription, to be entered; limits that are not given are the service's."""
        return Subscription(
            topic,
            limit or self.params.subscription_limit,
            limit_bytes or self.params.subscription_limit_bytes,
            overflow,
            self.books,
            self._on_open,
            self._on_room,
            self._on_close,
        )

    def is_taken(self, topic: str) -> bool:
        """Whether anybody consumes a topic."""
        return topic in self._by_topic

    def deliver(
        self, message: Message, message_id: bytes, data: bytes, peer: PeerId | None, now_s: float
    ) -> None:
        """Hand one message to all who take its topic.  The router calls this; it must not wait."""
        subscriptions = self._by_topic.get(message.topic)
        if subscriptions is None:
            return
        received = ReceivedMessage(message.topic, data, message_id, message.source, peer, now_s)
        for subscription in subscriptions:
            subscription.put(received)
            if subscription.overflow is Overflow.WAIT and subscription.is_full:
                self._full[subscription] = None

    @property
    def must_wait(self) -> bool:
        """Whether a subscription that does not drop is full."""
        return bool(self._full)

    async def wait_for_room(self) -> None:
        """Wait until no such subscription is full."""
        while self._full:
            await self._room.park()

    def close(self) -> None:
        """The network ends: consumers take what is queued and are told."""
        for subscriptions in tuple(self._by_topic.values()):
            for subscription in tuple(subscriptions):
                subscription.close()

    def _on_open(self, subscription: Subscription) -> None:
        self.on_taken(subscription.topic)
        self._by_topic.setdefault(subscription.topic, []).append(subscription)

    def _on_room(self, subscription: Subscription) -> None:
        if self._full.pop(subscription, self) is None and not self._full:
            self._room.unpark_all()

    def _on_close(self, subscription: Subscription) -> None:
        subscriptions = self._by_topic[subscription.topic]
        subscriptions.remove(subscription)
        if not subscriptions:
            del self._by_topic[subscription.topic]
        self._on_room(subscription)
        self.on_released(subscription.topic)
