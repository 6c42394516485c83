"""Deliveries: from the router's accepted messages to the subscriptions and sinks that want them."""

from collections.abc import Callable

import attrs
import trio

from leanmesh.errors import LocalError
from leanmesh.gossip.rpc import Message
from leanmesh.identity.peer_id import PeerId
from leanmesh.service.params import ServiceParams
from leanmesh.service.sink_queue import SinkQueue
from leanmesh.service.subscriptions import (
    DeliveryBooks,
    Overflow,
    ReceivedMessage,
    Subscription,
    SubscriptionClosed,
)


@attrs.define(eq=False)
class Deliveries:
    """All subscriptions and sinks of one network, and whether one of the former makes the readers wait."""

    params: ServiceParams
    on_taken: Callable[[str], None]
    """A subscription to this topic has begun."""
    on_released: Callable[[str], None]
    """A subscription to this topic has ended."""
    books: DeliveryBooks
    _by_topic: dict[str, list[Subscription]] = attrs.field(factory=dict[str, list[Subscription]], init=False)
    _sinks: list[SinkQueue] = attrs.field(factory=list[SinkQueue], init=False)
    _is_closed: bool = attrs.field(default=False, init=False)
    _full: dict[Subscription, None] = attrs.field(factory=dict[Subscription, None], init=False)
    _room: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def subscribe(
        self, topic: str, overflow: Overflow, limit: int | None = None, limit_bytes: int | None = None
    ) -> Subscription:
        """A subscription, to be entered; limits that are not given are the service's."""
        limit = self.params.subscription_limit if limit is None else limit
        limit_bytes = self.params.subscription_limit_bytes if limit_bytes is None else limit_bytes
        if limit < 1 or limit_bytes < 1:
            raise LocalError(
                f"a subscription to {topic} needs room: limit = {limit}, limit_bytes = {limit_bytes}"
            )
        return Subscription(
            topic,
            limit,
            limit_bytes,
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
        subscriptions = self._by_topic.get(message.topic, ())
        if not subscriptions and not self._sinks:
            return
        received = ReceivedMessage(message.topic, data, message_id, message.source, peer, now_s)
        for sink in self._sinks:
            if sink.topics is None or message.topic in sink.topics:
                sink.put(received)
        for subscription in subscriptions:
            subscription.put(received)
            if subscription.overflow is Overflow.WAIT and subscription.is_full:
                self._full[subscription] = None

    def attach(self, sink: SinkQueue) -> None:
        """Give a sink what it wants from now on; topics that it names are taken for it."""
        if self._is_closed:
            raise SubscriptionClosed(f"the network has stopped: nothing is left for the sink {sink.name!r}")
        taken: list[str] = []
        try:
            for topic in sorted(sink.topics or ()):
                self.on_taken(topic)
                taken.append(topic)
        except LocalError:
            for topic in taken:
                self.on_released(topic)
            raise
        self._sinks.append(sink)

    def detach(self, sink: SinkQueue) -> None:
        """Give a sink nothing more."""
        self._sinks.remove(sink)
        for topic in sorted(sink.topics or ()):
            self.on_released(topic)

    @property
    def must_wait(self) -> bool:
        """Whether a subscription that does not drop is full, or nobody will take anything any more."""
        return self._is_closed or bool(self._full)

    async def wait_for_room(self) -> None:
        """Wait until no such subscription is full.  For ever once `close` was called."""
        while self.must_wait:
            await self._room.park()

    def close(self) -> None:
        """The network ends: consumers take what is queued and are told, and nothing more is read."""
        self._is_closed = True
        for sink in self._sinks:
            sink.close()
        for subscriptions in tuple(self._by_topic.values()):
            for subscription in tuple(subscriptions):
                subscription.close()

    def _on_open(self, subscription: Subscription) -> None:
        if self._is_closed:
            raise SubscriptionClosed(
                f"the network has stopped: there is no subscription to {subscription.topic}"
            )
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
