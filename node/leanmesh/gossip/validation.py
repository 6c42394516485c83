"""Messages that wait for a verdict: who sent them, what they hold, and how many may wait."""

from enum import Enum

import attrs

from leanmesh.gossip.observer import ThrottleReason
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.rpc import Message
from leanmesh.identity.peer_id import PeerId


class Verdict(Enum):
    """What an application says of a message."""

    ACCEPT = "accept"
    REJECT = "reject"
    IGNORE = "ignore"


@attrs.define(eq=False)
class Ticket:
    """One message that waits.  The shell hands it back with the verdict; once closed it means nothing."""

    message_id: bytes
    message: Message
    data: bytes
    """What validators see: the data after the transform."""
    peer: PeerId
    received_at_s: float
    senders: dict[PeerId, None]
    """Who else sent it meanwhile: nothing goes back to them, and a rejection is theirs too."""
    is_open: bool = True


def held_bytes(message: Message, data: bytes) -> int:
    """What a message holds while it waits: as it travels, and what a transform made of it besides."""
    size = len(message.field)
    return size if data is message.data else size + len(data)


@attrs.define
class Share:
    """A bound that one peer cannot use up: it may hold at most as much as is left free for the others."""

    limit: int
    used: int = 0
    by_peer: dict[PeerId, int] = attrs.field(factory=dict[PeerId, int])

    def is_full(self, amount: int) -> bool:
        """Whether nobody can be given this much."""
        return self.used + amount > self.limit

    def is_beyond(self, peer: PeerId, amount: int) -> bool:
        """Whether this peer would hold more than is free."""
        return self.by_peer.get(peer, 0) + amount > self.limit - self.used

    def take(self, peer: PeerId, amount: int) -> None:
        """Count an amount towards a peer."""
        self.used += amount
        self.by_peer[peer] = self.by_peer.get(peer, 0) + amount

    def give_back(self, peer: PeerId, amount: int) -> None:
        """Undo one `take`."""
        self.used -= amount
        held = self.by_peer[peer] - amount
        if held:
            self.by_peer[peer] = held
        else:
            del self.by_peer[peer]


@attrs.define
class Validation:
    """The tickets that are open, bounded over all, per topic, in bytes, and fairly per peer.

    An id has one ticket at most: whoever opens one has seen that there is none.
    """

    params: GossipParams
    open_tickets: dict[bytes, Ticket] = attrs.field(factory=dict[bytes, Ticket])
    messages: Share = attrs.field(init=False)
    size_bytes: Share = attrs.field(init=False)
    by_topic: dict[str, Share] = attrs.field(factory=dict[str, Share])

    def __attrs_post_init__(self) -> None:
        self.messages = Share(self.params.validation_limit)
        self.size_bytes = Share(self.params.validation_limit_bytes)

    def refusal(self, peer: PeerId, message: Message, data: bytes) -> ThrottleReason | None:
        """Which bound leaves no room for this message, if one does."""
        size = held_bytes(message, data)
        topic = self.by_topic.get(message.topic)
        if self.messages.is_full(1):
            return ThrottleReason.GLOBAL
        if self.size_bytes.is_full(size):
            return ThrottleReason.BYTES
        if topic is not None and topic.is_full(1):
            return ThrottleReason.TOPIC
        if (
            self.messages.is_beyond(peer, 1)
            or self.size_bytes.is_beyond(peer, size)
            or (topic is not None and topic.is_beyond(peer, 1))
        ):
            return ThrottleReason.PEER
        return None

    def open(self, message_id: bytes, message: Message, data: bytes, peer: PeerId, now_s: float) -> Ticket:
        """Let a message wait.  The caller has asked `refusal`."""
        ticket = Ticket(message_id, message, data, peer, now_s, {})
        self.open_tickets[message_id] = ticket
        self.messages.take(peer, 1)
        self.size_bytes.take(peer, held_bytes(message, data))
        topic = self.by_topic.get(message.topic)
        if topic is None:
            topic = self.by_topic[message.topic] = Share(self.params.validation_topic_limit)
        topic.take(peer, 1)
        return ticket

    def close(self, ticket: Ticket) -> None:
        """A verdict was reached, or nobody waits for one any more."""
        ticket.is_open = False
        topic_name = ticket.message.topic
        del self.open_tickets[ticket.message_id]
        self.messages.give_back(ticket.peer, 1)
        self.size_bytes.give_back(ticket.peer, held_bytes(ticket.message, ticket.data))
        topic = self.by_topic[topic_name]
        topic.give_back(ticket.peer, 1)
        if not topic.used:
            del self.by_topic[topic_name]

    def late(self, now_s: float) -> list[Ticket]:
        """Tickets whose verdict took too long, the oldest first."""
        horizon_s = now_s - self.params.validation_timeout_s
        late: list[Ticket] = []
        for ticket in self.open_tickets.values():
            if ticket.received_at_s > horizon_s:
                break
            late.append(ticket)
        return late
