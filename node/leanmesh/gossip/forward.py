"""Whom a message goes to: what others sent follows the mesh, what is ours goes further."""

from collections.abc import Mapping

import attrs

from leanmesh.gossip.exchange import Exchange
from leanmesh.gossip.fanout import Fanout
from leanmesh.gossip.observer import Table
from leanmesh.gossip.outbox import Drop, Priority
from leanmesh.gossip.rpc import Message
from leanmesh.gossip.state import PeerState, State, Target, Topic
from leanmesh.identity.peer_id import PeerId


@attrs.define
class PublishReceipt:
    """What became of a message of ours.  No peer at all is for the caller to judge."""

    message_id: bytes
    recipients: int
    """Peers the message was for: those it is queued for, and those in `dropped`."""
    queued: int
    dropped: Mapping[str, int]
    """Peers it is not queued for, counted by reason."""


@attrs.define(eq=False)
class Forward:
    """Queues one message for many peers; its bytes are encoded once and shared."""

    state: State
    exchange: Exchange
    fanout: Fanout

    def forward(
        self,
        topic: Topic,
        message: Message,
        message_id: bytes,
        source: PeerId,
        senders: Mapping[PeerId, None] | None,
        now_s: float,
    ) -> None:
        """Queue an accepted message for the mesh, but for those who have it."""
        field = message.field
        if evicted := self.exchange.history.put(message_id, topic.name, field):
            self.state.observer.turned_away(Table.HISTORY, evicted, now_s)
        targets = topic.targets
        if targets is None:
            targets = topic.targets = self._targets(topic)
        observer = self.state.observer
        # Only asked whether it holds a peer: the order of a set decides nothing.
        excluded = {source, message.source, *senders} if senders else {source, message.source}
        recipients: list[PeerId] = []
        size_bytes = len(field)
        entry = (field, now_s)
        for peer_id, unwanted, put_entry in targets:
            if peer_id in excluded:
                continue
            if message_id in unwanted:
                observer.spared(peer_id, topic.name, message_id, len(field), now_s)
            elif (drop := put_entry(message_id, entry, size_bytes)) is None:
                recipients.append(peer_id)
            else:
                observer.copies_dropped(peer_id, drop, 1, now_s)
        observer.forwarded(topic.name, message_id, len(field), recipients, now_s)

    def publish(self, topic: Topic, message: Message, message_id: bytes, now_s: float) -> PublishReceipt:
        """Queue a message of our own."""
        observer = self.state.observer
        if evicted := self.exchange.history.put(message_id, topic.name, message.field):
            observer.turned_away(Table.HISTORY, evicted, now_s)
        if len(message.data) >= self.state.params.idontwant_threshold_bytes:
            self.exchange.large[topic.name].append(message_id)
            self.exchange.tell_large(None, now_s)
        peers = self._recipients(topic, now_s)
        queued: list[PeerId] = []
        dropped: dict[str, int] = {}
        for peer in peers.values():
            if message_id in peer.unwanted:
                observer.spared(peer.peer, topic.name, message_id, len(message.field), now_s)
                dropped[Drop.WITHDRAWN] = dropped.get(Drop.WITHDRAWN, 0) + 1
                continue
            drop = peer.outbox.put(message_id, message.field, now_s, Priority.OWN)
            if drop is None:
                queued.append(peer.peer)
            else:
                observer.copies_dropped(peer.peer, drop, 1, now_s)
                dropped[drop] = dropped.get(drop, 0) + 1
        observer.published(topic.name, message_id, len(message.field), queued, now_s)
        return PublishReceipt(message_id, len(peers), len(queued), dropped)

    def _targets(self, topic: Topic) -> list[Target]:
        """The mesh, and those who are sent everything: direct peers and floodsub peers."""
        targets = dict(topic.mesh)
        targets.update(self._always(topic))
        return [(peer.peer, peer.unwanted, peer.outbox.put_entry) for peer in targets.values()]

    def _always(self, topic: Topic) -> dict[PeerId, PeerState]:
        threshold = self.state.params.publish_threshold
        return {
            peer_id: peer
            for peer_id, peer in topic.peers.items()
            if peer.is_direct or (not peer.is_gossiping and peer.score >= threshold)
        }

    def _recipients(self, topic: Topic, now_s: float) -> dict[PeerId, PeerState]:
        params = self.state.params
        threshold = params.publish_threshold
        if params.is_flood_publishing:
            return {
                peer_id: peer
                for peer_id, peer in topic.peers.items()
                if peer.is_direct or peer.score >= threshold
            }
        chosen = self._always(topic)
        if not topic.is_joined:
            chosen.update((peer.peer, peer) for peer in self.fanout.peers_for(topic, now_s))
            return chosen
        chosen.update(topic.mesh)
        missing = params.mesh_target - len(topic.mesh)
        if missing > 0:
            # A mesh that is still forming must not cost the first messages.
            others = (
                peer
                for peer_id, peer in topic.peers.items()
                if peer_id not in chosen and peer.score >= threshold
            )
            chosen.update((peer.peer, peer) for peer in self.state.sample(others, missing))
        return chosen
