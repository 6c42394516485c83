"""Peers of topics that we publish to without taking them: remembered for a while, never told."""

import attrs

from leanmesh.gossip.observer import Table
from leanmesh.gossip.state import PeerState, State, Topic


@attrs.define(eq=False)
class Fanout:
    """The rules of the fanout.  All state is in `State`."""

    state: State
    # Topics that have a fanout, so that a heartbeat need not look at all.
    topics: dict[str, Topic] = attrs.field(factory=dict[str, Topic])

    def peers_for(self, topic: Topic, now_s: float) -> list[PeerState]:
        """Whom to send a message of a topic we do not take."""
        if topic.name not in self.topics and len(self.topics) >= self.state.params.fanout_limit:
            self._forget(next(iter(self.topics.values())))
            self.state.observer.turned_away(Table.FANOUT, 1, now_s)
        self.topics[topic.name] = topic
        topic.last_published_s = now_s
        self._refill(topic)
        return list(topic.fanout.values())

    def maintain(self, now_s: float) -> None:
        """Forget topics not published to for long; replace peers that left or fell too low."""
        for topic in list(self.topics.values()):
            if topic.last_published_s is None:
                # Joined meanwhile: the mesh has taken the peers over.
                del self.topics[topic.name]
            elif topic.last_published_s + self.state.params.fanout_ttl_s <= now_s:
                self._forget(topic)
            else:
                self._refill(topic)

    def _refill(self, topic: Topic) -> None:
        params = self.state.params
        for peer in [peer for peer in topic.fanout.values() if not self._is_fit(peer)]:
            del topic.fanout[peer.peer]
        missing = params.mesh_target - len(topic.fanout)
        if missing > 0:
            candidates = (
                peer for peer in topic.peers.values() if peer.peer not in topic.fanout and self._is_fit(peer)
            )
            for peer in self.state.sample(candidates, missing):
                topic.fanout[peer.peer] = peer

    def _is_fit(self, peer: PeerState) -> bool:
        # Direct and floodsub peers are sent everything anyway.
        return peer.is_gossiping and not peer.is_direct and peer.score >= self.state.params.publish_threshold

    def _forget(self, topic: Topic) -> None:
        topic.fanout.clear()
        topic.last_published_s = None
        del self.topics[topic.name]
        self.state.forget_if_empty(topic)
