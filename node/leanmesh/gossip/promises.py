"""Promises: who advertised a message, was asked for it, and has until when to send it.

One id of each IWANT is watched, drawn at random, so that a peer cannot tell
which of its advertisements it has to honour.
"""

import attrs

from leanmesh.identity.peer_id import PeerId


@attrs.define
class Promises:
    """Deadlines by message id and peer, bounded in number."""

    limit: int
    # Public for reading: the router asks it once for every first copy.
    deadlines_s: dict[bytes, dict[PeerId, float]] = attrs.field(factory=dict[bytes, dict[PeerId, float]])
    # Of which topic they are.
    topics: dict[bytes, str] = attrs.field(factory=dict[bytes, str])
    count: int = 0
    turned_away: int = 0

    def add(self, peer: PeerId, message_id: bytes, topic: str, deadline_s: float) -> None:
        """Watch one id.  A second request to the same peer does not extend its time."""
        by_peer = self.deadlines_s.get(message_id)
        if by_peer is not None and peer in by_peer:
            return
        if self.count >= self.limit:
            self.turned_away += 1
            return
        if by_peer is None:
            by_peer = self.deadlines_s[message_id] = {}
            self.topics[message_id] = topic
        by_peer[peer] = deadline_s
        self.count += 1

    def fulfil(self, message_id: bytes) -> list[PeerId]:
        """The message came, from whomever: nobody need send it any more.  Answers who had promised."""
        by_peer = self.deadlines_s.pop(message_id, None)
        if by_peer is None:
            return []
        del self.topics[message_id]
        self.count -= len(by_peer)
        return list(by_peer)

    def take_broken(self, now_s: float) -> dict[PeerId, list[bytes]]:
        """The promises that each peer let pass; they are forgotten."""
        broken: dict[PeerId, list[bytes]] = {}
        for message_id in list(self.deadlines_s):
            by_peer = self.deadlines_s[message_id]
            late = [peer for peer, deadline_s in by_peer.items() if deadline_s <= now_s]
            for peer in late:
                del by_peer[peer]
                broken.setdefault(peer, []).append(message_id)
            self.count -= len(late)
            if not by_peer:
                self._drop(message_id)
        return broken

    def forget(self, peer: PeerId) -> None:
        """A peer is gone, and cannot be asked to keep anything."""
        for message_id in [id_ for id_, by_peer in self.deadlines_s.items() if peer in by_peer]:
            by_peer = self.deadlines_s[message_id]
            del by_peer[peer]
            self.count -= 1
            if not by_peer:
                self._drop(message_id)

    def forget_topic(self, topic: str) -> None:
        """We left a topic, and do not look at what comes of it: nobody can show that he kept his word."""
        for message_id in [id_ for id_, known in self.topics.items() if known == topic]:
            self.count -= len(self.deadlines_s[message_id])
            self._drop(message_id)

    def _drop(self, message_id: bytes) -> None:
        del self.deadlines_s[message_id]
        del self.topics[message_id]
