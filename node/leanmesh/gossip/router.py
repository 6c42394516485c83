"""The router: one event in, consequences out; dispatch only.

Every method is one synchronous pass with the time as an argument.  What goes to
peers waits in their outboxes afterwards; what concerns the shell waits to be
taken: which outboxes have something, tickets for verdicts, and peers to cut.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import attrs

from leanmesh.errors import LocalError
from leanmesh.gossip.authors import Authors
from leanmesh.gossip.dialect import dialect_for
from leanmesh.gossip.entries import largest_data_bytes
from leanmesh.gossip.exchange import Exchange
from leanmesh.gossip.fanout import Fanout
from leanmesh.gossip.forward import Forward, PublishReceipt
from leanmesh.gossip.heartbeat import Heartbeat, NeutralScores, Scores
from leanmesh.gossip.history import History
from leanmesh.gossip.intake import Deliver, Intake
from leanmesh.gossip.membership import Membership
from leanmesh.gossip.mesh import Mesh
from leanmesh.gossip.message_id import author_and_seqno, sha256_of_data
from leanmesh.gossip.observer import NO_OBSERVER, CutReason, Observer
from leanmesh.gossip.outbox import Drop, Outbox
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.promises import Promises
from leanmesh.gossip.rpc import Control, Message, Rpc
from leanmesh.gossip.rules import KnownCopies, TopicRules
from leanmesh.gossip.scan import RpcRefused
from leanmesh.gossip.seen import SeenIds
from leanmesh.gossip.signing import SignaturePolicy, Signer, Verifier, plain_message, verify
from leanmesh.gossip.state import PeerState, State
from leanmesh.gossip.validation import Ticket, Validation, Verdict
from leanmesh.gossip.views import View
from leanmesh.gossip.wire import decode
from leanmesh.gossip.wire_params import OutboxLimits, WireLimits
from leanmesh.identity.peer_id import PeerId

if TYPE_CHECKING:
    from random import Random

PLAIN_RULES = TopicRules(message_id=sha256_of_data)
SIGNED_RULES = TopicRules(message_id=author_and_seqno)


class PublishRefused(LocalError):
    """A message of ours that cannot be published: too large, or published before."""


class BadTopic(LocalError):
    """A topic whose name no peer would accept."""


class ContradictoryRules(LocalError):
    """Rules of a topic that do not go with the signature policy."""


class PeerKnown(LocalError):
    """A peer was added twice."""


class Router:
    """One gossip node's decisions.  Single-threaded; callbacks must not call back."""

    def __init__(
        self,
        local_peer: PeerId,
        params: GossipParams,
        generator: "Random",
        *,
        now_s: float,
        deliver: Deliver,
        observer: Observer = NO_OBSERVER,
        policy: SignaturePolicy = SignaturePolicy.STRICT_NO_SIGN,
        signer: Signer | None = None,
        first_seqno: int = 0,
        verifier: Verifier = verify,
        rules: "Callable[[str], TopicRules] | None" = None,
        direct_peers: Iterable[PeerId] = (),
        scores: Scores | None = None,
        wire_limits: WireLimits | None = None,
        outbox_limits: OutboxLimits | None = None,
    ) -> None:
        """Make a router that knows nobody.

        `first_seqno` must exceed every sequence number this author ever used: the nanoseconds of the
        wall clock will do.  `rules` is asked when a topic is joined or published to.
        """
        if (signer is None) is (policy is SignaturePolicy.STRICT_SIGN):
            raise ContradictoryRules(f"{policy} and {'no' if signer is None else 'a'} signer contradict")
        self.local_peer = local_peer
        self.params = params
        self.observer = observer
        self.direct_peers = dict.fromkeys(direct_peers)
        self.next_event_at_s = now_s + params.heartbeat_delay_s
        """When `heartbeat` is due: the only timer there is."""
        self._policy = policy
        self._signer = signer
        self._next_seqno = first_seqno
        self._rules = rules
        self._wire_limits = wire_limits or WireLimits()
        self._outbox_limits = outbox_limits or OutboxLimits()
        self._state = state = State(params, generator, observer)
        self._mesh = Mesh(state)
        self._membership = Membership(state, self._mesh)
        self._fanout = Fanout(state)
        self._exchange = Exchange(
            state,
            SeenIds(params.seen_ttl_s, params.seen_limit),
            History(params.history_length, params.history_gossip, params.history_limit_bytes),
            Promises(params.promise_limit),
        )
        self._forward = Forward(state, self._exchange, self._fanout)
        validation = Validation(params)
        self.view = View(state, self._exchange, validation)
        self._intake = Intake(
            local_peer,
            state,
            self._exchange,
            self._forward,
            validation,
            Authors(params.author_limit),
            policy,
            verifier,
            deliver,
            KnownCopies(params.known_copies_limit),
        )
        self._heartbeat = Heartbeat(
            state, self._mesh, self._fanout, self._exchange, self._intake, scores or NeutralScores()
        )

    # Peers.

    def add_peer(self, peer: PeerId, protocol: str, agent: str, *, is_outbound: bool, now_s: float) -> None:
        """A peer is there: greet it with all our topics in one RPC.  `is_outbound`: we dialed it."""
        if peer in self._state.peers:
            raise PeerKnown(f"{peer} was added before; a peer has one place, whatever its connections")
        state = self._state
        dialect = dialect_for(protocol, agent)

        def on_ready(outbox: Outbox) -> None:
            state.ready[peer] = outbox

        state.peers[peer] = PeerState(
            peer,
            protocol,
            agent,
            is_outbound,
            is_direct=peer in self.direct_peers,
            is_gossiping=dialect.supports_control,
            outbox=(outbox := Outbox(dialect, self._outbox_limits, on_ready)),
        )
        self.observer.peer_added(peer, protocol, now_s)
        for topic in state.topics.values():
            if topic.is_joined:
                outbox.subscribe(topic.name)

    def remove_peer(self, peer: PeerId, now_s: float) -> None:
        """A peer is gone, and all state of it but its back-offs.  A peer we do not know is gone already."""
        state = self._state
        known = state.peers.get(peer)
        if known is None:
            return
        self._membership.part_all(known, now_s)
        self._exchange.promises.forget(peer)
        self._exchange.history.forget(peer)
        del state.peers[peer]
        state.ready.pop(peer, None)
        state.accounts.pop(peer, None)
        state.cuts = [(cut, reason) for cut, reason in state.cuts if cut != peer]
        if unsent := known.outbox.close():
            self.observer.copies_dropped(peer, Drop.PEER_GONE, unsent, now_s)
        self.observer.peer_removed(peer, known.protocol, now_s)

    # What peers send.

    def on_frame(self, peer: PeerId, frame: bytes | memoryview, now_s: float) -> None:
        """Handle one frame without its length prefix.

        Raises RpcRefused, a RemoteError, when the frame breaks the protocol: the connection has to end.
        A frame of a peer that is gone is dropped: what was read before may be handled after.
        """
        known = self._state.peers.get(peer)
        if known is None:
            return
        if known.score < self.params.graylist_threshold and not known.is_direct:
            self.observer.rpc_refused(peer, "graylisted", len(frame), now_s)
            return
        try:
            rpc = decode(frame, self._wire_limits)
        except RpcRefused as refused:
            self.observer.rpc_refused(peer, refused.reason, len(frame), now_s)
            raise
        self.observer.rpc_received(peer, len(frame), now_s)
        self._handle(known, rpc, now_s)

    def on_rpc(self, peer: PeerId, rpc: Rpc, now_s: float) -> None:
        """Handle an RPC that was decoded already.  For tests and simulators; `on_frame` is the common way."""
        known = self._state.peers.get(peer)
        if known is not None and (known.is_direct or known.score >= self.params.graylist_threshold):
            self._handle(known, rpc, now_s)

    def on_verdict(self, ticket: Ticket, verdict: Verdict, now_s: float) -> None:
        """The application has judged a message.  A late verdict means nothing."""
        self._intake.on_verdict(ticket, verdict, now_s)

    def _handle(self, peer: PeerState, rpc: Rpc, now_s: float) -> None:
        if rpc.subscriptions:
            self._membership.on_subscriptions(peer, rpc.subscriptions, now_s)
        control = rpc.control
        if control is not None and control.idontwant:
            # First: it may save copies of what comes with it.
            self._exchange.on_idontwant(peer, control.idontwant, now_s)
        on_message = self._intake.on_message
        for message in rpc.publish:
            on_message(peer, message, now_s)
        if self._exchange.large:
            self._exchange.tell_large(peer, now_s)
        if control is not None:
            self._on_control(peer, control, now_s)

    def _on_control(self, peer: PeerState, control: Control, now_s: float) -> None:
        if control.ihave:
            self._exchange.on_ihave(peer, control.ihave, now_s)
        if control.iwant:
            self._exchange.on_iwant(peer, control.iwant, now_s)
        for topic in control.graft:
            self._membership.on_graft(peer, topic, now_s)
        for prune in control.prune:
            self._mesh.on_prune(peer, prune, now_s)

    # What we do.

    def subscribe(self, topic: str, now_s: float) -> None:
        """Take a topic: tell every peer, and fill the mesh.  Taking it twice changes nothing.

        Raises BadTopic when peers would refuse the name.
        """
        self._check_topic(topic)
        known = self._state.topic(topic)
        if known.is_joined:
            return
        try:
            known.rules = self._checked_rules(topic)
        except LocalError:
            self._state.forget_if_empty(known)
            raise
        known.is_joined = True
        self.observer.joined(topic, now_s)
        for peer in self._state.peers.values():
            peer.outbox.subscribe(topic)
        self._mesh.join(known, now_s)

    def unsubscribe(self, topic: str, now_s: float) -> None:
        """Leave a topic: tell every peer, prune the mesh.  A topic we do not take changes nothing."""
        known = self._state.topics.get(topic)
        if known is None or not known.is_joined:
            return
        self._intake.on_left(topic, now_s)
        self._exchange.promises.forget_topic(topic)
        self._mesh.leave(known, now_s)
        known.is_joined = False
        known.rules = None
        for peer in self._state.peers.values():
            peer.outbox.unsubscribe(topic)
        self.observer.left(topic, now_s)
        self._state.forget_if_empty(known)

    def set_validated(self, topic: str, *, is_validated: bool) -> None:
        """Whether messages of a topic that we take wait for a verdict from now on."""
        known = self._state.topics.get(topic)
        if known is not None and known.rules is not None:
            known.rules = attrs.evolve(known.rules, is_validated=is_validated)

    def publish(self, topic: str, data: bytes, now_s: float) -> PublishReceipt:
        """Send a message of our own.  It is not delivered to ourselves.

        Raises PublishRefused when it is too large or, its id being a hash of its content, is known already.
        """
        limit = self.params.message_limit_bytes
        known = self._state.topics.get(topic)
        if known is None:
            self._check_topic(topic)
        rules = (known and known.rules) or self._checked_rules(topic)
        sent, form = data, ""
        if rules.transform is not None:
            if len(data) > limit:
                raise PublishRefused(f"the message for {topic} has {len(data)} bytes; the limit is {limit}")
            sent, form = rules.transform.compress(data), " compressed"
        message = self._make_message(topic, sent)
        if len(message.field) > limit:
            raise PublishRefused(
                f"the message for {topic} has {len(sent)} bytes{form}; "
                f"the limit is {largest_data_bytes(message, limit)}, so that an RPC of {limit} holds it"
            )
        message_id = rules.message_id(message, data)
        if message_id in self._exchange.seen:
            raise PublishRefused(f"the message for {topic} is known already; its id is {message_id.hex()}")
        self._exchange.remember(message_id, now_s)
        known = self._state.topic(topic)
        receipt = self._forward.publish(known, message, message_id, now_s)
        self._state.forget_if_empty(known)
        return receipt

    def heartbeat(self, now_s: float) -> None:
        """What is done once per interval; the shell calls it at `next_event_at_s`."""
        self._heartbeat.beat(now_s)
        self.next_event_at_s += self.params.heartbeat_interval_s
        if self.next_event_at_s <= now_s:
            # After a pause there is one heartbeat, not as many as were missed.
            self.next_event_at_s = now_s + self.params.heartbeat_interval_s

    def close(self, now_s: float) -> None:
        """The network ends, without a word to anyone: nobody waits for verdicts any more."""
        for topic in self.view.subscriptions:
            self._intake.on_left(topic, now_s)

    def _check_topic(self, topic: str) -> None:
        """Peers refuse names that are no UTF-8 and have their limits, as we have."""
        try:
            size = len(topic.encode())
        except UnicodeEncodeError:
            raise BadTopic(f"the topic {topic!r} is no valid Unicode") from None
        limit = self._wire_limits.topic_bytes
        if not 0 < size <= limit:
            raise BadTopic(f"the topic {topic[:32]!r} has {size} bytes; 1 to {limit} are taken")

    def _make_message(self, topic: str, data: bytes) -> Message:
        if self._signer is None:
            return plain_message(topic, data)
        seqno = self._next_seqno
        self._next_seqno += 1
        return self._signer.message(topic, data, seqno)

    def _checked_rules(self, topic: str) -> TopicRules:
        is_signed = self._policy is SignaturePolicy.STRICT_SIGN
        if self._rules is None:
            return SIGNED_RULES if is_signed else PLAIN_RULES
        rules = self._rules(topic)
        if is_signed:
            return rules
        if rules.message_id is author_and_seqno:
            raise ContradictoryRules(f"{topic}: unsigned messages have no author to make their ids of")
        if rules.is_replay_checked:
            raise ContradictoryRules(f"{topic}: unsigned messages have no sequence number to check")
        return rules

    # What the shell takes after a pass.

    def take_ready(self) -> dict[PeerId, Outbox]:
        """The outboxes that stopped being empty since the last call, in that order."""
        ready, self._state.ready = self._state.ready, {}
        return ready

    def take_tickets(self) -> list[Ticket]:
        """Messages that wait for a verdict since the last call; each wants one `on_verdict`."""
        tickets, self._intake.tickets = self._intake.tickets, []
        return tickets

    def take_cuts(self) -> list[tuple[PeerId, CutReason]]:
        """Peers whose connection has to end, since the last call."""
        cuts, self._state.cuts = self._state.cuts, []
        return cuts

    def take_mesh_change(self) -> bool:
        """Whether a mesh changed since the last call."""
        is_dirty, self._state.is_mesh_dirty = self._state.is_mesh_dirty, False
        return is_dirty

    def drain_of(self, peer: PeerId) -> Callable[[int], list[bytes]]:
        """`Outbox.drain` of one peer.  KeyError when it is not connected."""
        return self._state.peers[peer].outbox.drain

    def outbox(self, peer: PeerId) -> Outbox:
        """What waits for one peer.  KeyError when it is not connected."""
        return self._state.peers[peer].outbox
