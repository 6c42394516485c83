"""Who takes which topic: what peers say of it, and what goes when they go."""

from collections.abc import Sequence

import attrs

from leanmesh.gossip.mesh import Mesh
from leanmesh.gossip.observer import Misbehaviour, PruneReason, Table
from leanmesh.gossip.rpc import Subscription
from leanmesh.gossip.state import PeerState, State, Topic


@attrs.define(eq=False)
class Membership:
    """The rules of subscriptions.  All state is in `State`."""

    state: State
    mesh: Mesh

    def on_subscriptions(self, peer: PeerState, subscriptions: Sequence[Subscription], now_s: float) -> None:
        """Note what a peer takes from now on.  Topics beyond its limit are turned away and charged."""
        refused = 0
        # The last word counts: a peer that changes its mind within one RPC makes us work once.
        for topic, takes_it in {each.topic: each.subscribe for each in subscriptions}.items():
            if not takes_it:
                self.unsubscribe(peer, topic, now_s)
            elif not self.subscribe(peer, topic, now_s):
                refused += 1
        peer.subscriptions_heard += len(subscriptions)
        if refused:
            self.state.observer.turned_away(Table.SUBSCRIPTIONS, refused, now_s)
        # A hello names every topic once; who says more than that per heartbeat, or again and again, floods.
        if refused or peer.subscriptions_heard > 2 * self.state.params.peer_topics_limit:
            self.state.misbehaved(peer, Misbehaviour.SUBSCRIPTION_FLOOD, now_s)

    def subscribe(self, peer: PeerState, name: str, now_s: float) -> bool:
        """A peer takes a topic; False when it takes too many already."""
        if name in peer.topics:
            return True
        if len(peer.topics) >= self.state.params.peer_topics_limit:
            return False
        topic = self.state.topic(name)
        peer.topics[name] = None
        topic.peers[peer.peer] = peer
        topic.targets = None
        self.state.observer.peer_subscribed(peer.peer, name, now_s)
        self.mesh.on_subscribed(topic, peer, now_s)
        return True

    def unsubscribe(self, peer: PeerState, name: str, now_s: float) -> None:
        """A peer no longer takes a topic."""
        if name in peer.topics:
            self._part(peer, self.state.topics[name], PruneReason.UNSUBSCRIBED, now_s)

    def on_graft(self, peer: PeerState, name: str, now_s: float) -> None:
        """A GRAFT says SUBSCRIBE too: on some implementations it comes first."""
        topic = self.state.topics.get(name) if peer.is_gossiping else None
        if topic is None or not topic.is_joined or not self.subscribe(peer, name, now_s):
            # Silence, not PRUNE: an answer would let a stranger make us talk.
            return
        self.mesh.on_graft(topic, peer, now_s)

    def part_all(self, peer: PeerState, now_s: float) -> None:
        """A peer is gone from all its topics."""
        for name in list(peer.topics):
            self._part(peer, self.state.topics[name], PruneReason.DISCONNECTED, now_s)

    def _part(self, peer: PeerState, topic: Topic, reason: PruneReason, now_s: float) -> None:
        del peer.topics[topic.name]
        del topic.peers[peer.peer]
        topic.fanout.pop(peer.peer, None)
        topic.targets = None
        if peer.peer in topic.mesh:
            self.state.leave_mesh(topic, peer, reason, now_s)
            peer.outbox.cancel_graft(topic.name)
        self.state.observer.peer_unsubscribed(peer.peer, topic.name, now_s)
        self.state.forget_if_empty(topic)
