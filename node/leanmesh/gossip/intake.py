"""What becomes of a received copy: from its receipt to its outcome.

This is the common path of the node.  A copy is checked in the order of what the
checks cost: topic, size, seen before, room to wait, signature.  Only
then is the id marked as seen, so that a forged or throttled copy cannot keep
the true one out.  The transform comes before the id, which may be made of what
it makes; what it refuses is rejected when the signature was found right.
"""

import hashlib
from collections.abc import Callable, Sequence

import attrs

from leanmesh.gossip.authors import Authors
from leanmesh.gossip.exchange import Exchange
from leanmesh.gossip.forward import Forward
from leanmesh.gossip.message_id import NoMessageId
from leanmesh.gossip.observer import IgnoreReason, Misbehaviour, RejectReason, Table
from leanmesh.gossip.oldest import make_room
from leanmesh.gossip.outbox import Drop
from leanmesh.gossip.rpc import Message
from leanmesh.gossip.rules import KnownCopies, TopicRules
from leanmesh.gossip.signing import Invalid, SignaturePolicy, Verifier, check
from leanmesh.gossip.state import PeerState, State, Topic
from leanmesh.gossip.validation import Ticket, Validation, Verdict
from leanmesh.identity.peer_id import PeerId

# The message, its id, its data after the transform, the peer it came through, and when.
# Must not call the router.
Deliver = Callable[[Message, bytes, bytes, PeerId, float], None]


@attrs.define(eq=False)
class Intake:
    """The rules for received messages, and the messages that wait for a verdict."""

    local_peer: PeerId
    state: State
    exchange: Exchange
    forward: Forward
    validation: Validation
    authors: Authors
    policy: SignaturePolicy
    verifier: Verifier
    deliver: Deliver
    known_copies: KnownCopies
    takes_plain: bool = attrs.field(init=False)
    limit_bytes: int = attrs.field(init=False)
    # Tickets the shell has not taken yet.
    tickets: list[Ticket] = attrs.field(factory=list[Ticket])
    # Ids whose verdict was to reject: who sends them again is known.
    rejected: dict[bytes, None] = attrs.field(factory=dict[bytes, None])
    # Hashes of whole copies that are of no use though rightly signed: repeated ones are not checked again.
    useless: dict[bytes, None] = attrs.field(factory=dict[bytes, None])

    def __attrs_post_init__(self) -> None:
        self.takes_plain = self.policy is SignaturePolicy.STRICT_NO_SIGN
        self.limit_bytes = self.state.params.message_limit_bytes

    # One copy.

    def on_message(self, peer: PeerState, message: Message, now_s: float) -> None:
        """Decide one received copy, or let it wait for its verdict."""
        state = self.state
        observer = state.observer
        peer_id, name, size = peer.peer, message.topic, len(message.field)
        observer.message_received(peer_id, name, size, now_s)
        topic = state.topics.get(name)
        if topic is None or (rules := topic.rules) is None:
            observer.not_subscribed(peer_id, name, size, now_s)
            return
        data = message.data
        if size > self.limit_bytes:
            observer.oversized(peer_id, name, size, now_s)
            return
        copy_key = None
        try:
            if rules.transform is None:
                message_id = rules.message_id(message, data)
            else:
                copy_key, message_id, data = self._transform(rules, message)
        except NoMessageId:
            observer.ignored(peer_id, name, None, size, IgnoreReason.NO_ID, now_s)
            return
        exchange = self.exchange
        if message_id in exchange.seen.first_seen_s:
            self._on_duplicate(peer, name, message_id, size, now_s)
            return
        if not (
            # Common and cheap; everything else is looked at one by one.
            (self.takes_plain and data is not None and not rules.is_validated and message.is_plain)
            or self._is_admitted(topic, peer, message, message_id, data, now_s)
        ):
            return
        if copy_key is not None:
            # Only now: what is not admitted, perhaps with an author of any length, leaves nothing behind.
            self.known_copies.add(copy_key, message_id)
        if data is None:
            self._reject_undecodable(peer, message, message_id, now_s)
            return
        if self.rejected:
            # Forgotten and judged anew: who sends it too is not charged for the verdict of old.
            self.rejected.pop(message_id, None)
        if evicted := exchange.seen.add(message_id, now_s):
            observer.turned_away(Table.SEEN, evicted, now_s)
        observer.first_seen(peer_id, name, message_id, size, now_s)
        asked: Sequence[PeerId] = ()
        if message_id in exchange.promises.deadlines_s:
            asked = exchange.keep_promises(peer, message_id, now_s)
        if len(message.data) >= state.params.idontwant_threshold_bytes:
            exchange.large[name].append(message_id)
            if asked:
                exchange.tell_asked(topic, message_id, asked, now_s)
        if rules.is_validated:
            self.tickets.append(self.validation.open(message_id, message, data, peer_id, now_s))
            self._report_pending(now_s)
            return
        self._accept(topic, message, message_id, data, peer_id, now_s, None)

    def _on_duplicate(self, peer: PeerState, name: str, message_id: bytes, size: int, now_s: float) -> None:
        observer = self.state.observer
        peer_id = peer.peer
        observer.duplicate(peer_id, name, message_id, size, now_s)
        if peer.outbox.count and peer.outbox.withdraw(message_id):
            # It has the message: what waits for it is spared.
            observer.copies_dropped(peer_id, Drop.WITHDRAWN, 1, now_s)
        told = self.exchange.told
        if message_id in told and peer_id in told[message_id][1]:
            observer.crossed_idontwant(peer_id, name, message_id, now_s)
        waiting = self.validation.open_tickets
        if message_id in waiting and waiting[message_id].peer != peer_id:
            waiting[message_id].senders[peer_id] = None
        if message_id in self.rejected:
            observer.invalid_again(peer_id, name, message_id, now_s)
            self.state.misbehaved(peer, Misbehaviour.INVALID_MESSAGE, now_s)

    # Checks.

    def _transform(self, rules: TopicRules, message: Message) -> tuple[bytes, bytes, bytes | None]:
        """The key among the known copies, the id, and the data the application sees.

        No data when it is invalid, or a duplicate anyway.
        """
        assert rules.transform is not None, "asked for only where there is one"
        key = self.known_copies.key(message)
        known_id = self.known_copies.ids.get(key)
        if known_id is not None and known_id in self.exchange.seen:
            return key, known_id, None
        data = rules.transform.decompress(message.data, self.limit_bytes)
        return key, rules.message_id(message, data), data

    def _is_admitted(
        self,
        topic: Topic,
        peer: PeerState,
        message: Message,
        message_id: bytes,
        data: bytes | None,
        now_s: float,
    ) -> bool:
        """Everything but its content that can keep a copy out."""
        is_validated = topic.rules is not None and topic.rules.is_validated
        if is_validated and message_id in self.validation.open_tickets:
            # Not seen for so long, or so many ids ago, that it was forgotten: yet no first copy.
            self._on_duplicate(peer, message.topic, message_id, len(message.field), now_s)
            self.exchange.keep_promises(peer, message_id, now_s)
            return False
        throttle = None
        if is_validated and data is not None:
            throttle = self.validation.refusal(peer.peer, message, data)
        if self.takes_plain:
            is_checked = not message.is_plain
        else:
            # Without room a signature is not worth its check, but where a forged copy would keep a promise.
            is_checked = throttle is None or message_id in self.exchange.promises.deadlines_s
        if is_checked and not self._is_welcome(topic, peer, message, message_id, now_s):
            return False
        if throttle is not None:
            # It came, as promised; that we have no room for it is not the peer's fault.
            self.exchange.keep_promises(peer, message_id, now_s)
            self.state.observer.throttled(
                peer.peer, message.topic, message_id, len(message.field), throttle, now_s
            )
            return False
        return True

    def _is_welcome(
        self, topic: Topic, peer: PeerState, message: Message, message_id: bytes, now_s: float
    ) -> bool:
        """Whether a copy is what the policy demands, and of use.

        If not, its id is not marked as seen: a forged copy must not keep the true one out.
        """
        reason = self._uselessness(topic, message)
        if reason is None:
            return self._is_authentic(peer, message, message_id, now_s)
        copy = hashlib.sha256(message.field).digest()
        if copy not in self.useless:
            if not self._is_authentic(peer, message, message_id, now_s):
                return False
            make_room(self.useless, self.state.params.rejected_limit)
            self.useless[copy] = None
        self.exchange.keep_promises(peer, message_id, now_s)
        self.state.observer.ignored(peer.peer, message.topic, message_id, len(message.field), reason, now_s)
        return False

    def _is_authentic(self, peer: PeerState, message: Message, message_id: bytes, now_s: float) -> bool:
        invalid = check(message, self.policy, self.verifier)
        if invalid is None:
            return True
        reason = RejectReason.SIGNATURE if invalid is Invalid.SIGNATURE_WRONG else RejectReason.POLICY
        self._reject(peer, message, message_id, reason, now_s)
        return False

    def _uselessness(self, topic: Topic, message: Message) -> IgnoreReason | None:
        """Of no use even if it is rightly signed: our own from before a restart, or a replay."""
        if message.source == self.local_peer:
            return IgnoreReason.OWN
        if (
            topic.rules is None
            or not topic.rules.is_replay_checked
            or not message.source
            or not message.seqno
        ):
            return None
        return IgnoreReason.REPLAY if self.authors.is_replay(message.source, message.seqno) else None

    # Outcomes.

    def on_verdict(self, ticket: Ticket, verdict: Verdict, now_s: float) -> None:
        """The application has decided.  A ticket that is closed already means nothing."""
        if not ticket.is_open:
            return
        self._close(ticket, now_s)
        message, message_id = ticket.message, ticket.message_id
        topic = self.state.topics.get(message.topic)
        if topic is None or not topic.is_joined:
            self._ignore(ticket, IgnoreReason.LEFT, now_s)
        elif verdict is Verdict.ACCEPT:
            for sender in ticket.senders:
                self.state.observer.sent_meanwhile(sender, message.topic, message_id, now_s)
            self._accept(topic, message, message_id, ticket.data, ticket.peer, now_s, ticket.senders)
        elif verdict is Verdict.REJECT:
            self._reject_ticket(ticket, now_s)
        else:
            self._ignore(ticket, IgnoreReason.VERDICT, now_s)

    def give_up_late(self, now_s: float) -> None:
        """Close tickets whose verdict takes too long."""
        for ticket in self.validation.late(now_s):
            self._close(ticket, now_s)
            self._ignore(ticket, IgnoreReason.TIMEOUT, now_s)

    def on_left(self, topic: str, now_s: float) -> None:
        """We no longer take a topic: nobody waits for the verdicts on its messages."""
        for ticket in [each for each in self.validation.open_tickets.values() if each.message.topic == topic]:
            self._close(ticket, now_s)
            self._ignore(ticket, IgnoreReason.LEFT, now_s)

    def _accept(
        self,
        topic: Topic,
        message: Message,
        message_id: bytes,
        data: bytes,
        peer: PeerId,
        now_s: float,
        senders: dict[PeerId, None] | None,
    ) -> None:
        rules = topic.rules
        if rules is not None and rules.is_replay_checked and message.source and message.seqno:
            evicted = self.authors.evicted
            self.authors.advance(message.source, message.seqno)
            if evicted := self.authors.evicted - evicted:
                self.state.observer.turned_away(Table.AUTHORS, evicted, now_s)
        self.state.observer.accepted(peer, message.topic, message_id, len(message.field), now_s)
        self.forward.forward(topic, message, message_id, peer, senders, now_s)
        self.deliver(message, message_id, data, peer, now_s)

    def _reject(
        self, peer: PeerState, message: Message, message_id: bytes, reason: RejectReason, now_s: float
    ) -> None:
        self.state.observer.rejected(peer.peer, message.topic, message_id, len(message.field), reason, now_s)
        self.state.misbehaved(peer, Misbehaviour.INVALID_MESSAGE, now_s)

    def _reject_undecodable(self, peer: PeerState, message: Message, message_id: bytes, now_s: float) -> None:
        # Remembered: what cannot be transformed stays so, and need not be tried again.
        self.exchange.remember(message_id, now_s)
        self._mark_rejected(message_id)
        self._reject(peer, message, message_id, RejectReason.DECODE, now_s)
        self.exchange.keep_promises(peer, message_id, now_s)

    def _reject_ticket(self, ticket: Ticket, now_s: float) -> None:
        message, message_id = ticket.message, ticket.message_id
        self._mark_rejected(message_id)
        self.state.observer.rejected(
            ticket.peer, message.topic, message_id, len(message.field), RejectReason.VERDICT, now_s
        )
        for sender in ticket.senders:
            self.state.observer.invalid_again(sender, message.topic, message_id, now_s)
        for peer_id in (ticket.peer, *ticket.senders):
            peer = self.state.peers.get(peer_id)
            if peer is not None:
                self.state.misbehaved(peer, Misbehaviour.INVALID_MESSAGE, now_s)

    def _mark_rejected(self, message_id: bytes) -> None:
        make_room(self.rejected, self.state.params.rejected_limit)
        self.rejected[message_id] = None

    def _ignore(self, ticket: Ticket, reason: IgnoreReason, now_s: float) -> None:
        message = ticket.message
        self.state.observer.ignored(
            ticket.peer, message.topic, ticket.message_id, len(message.field), reason, now_s
        )

    def _close(self, ticket: Ticket, now_s: float) -> None:
        self.validation.close(ticket)
        if ticket.message_id not in self.exchange.seen:
            # Forgotten while it waited: what was decided is not to be decided again for a late copy.
            self.exchange.remember(ticket.message_id, now_s)
        self._report_pending(now_s)

    def _report_pending(self, now_s: float) -> None:
        messages = self.validation.messages
        self.state.observer.pending_changed(messages.used, self.validation.size_bytes.used, now_s)
