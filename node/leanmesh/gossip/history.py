"""Recent messages, kept in windows of one heartbeat each: advertised for a few, served for some more."""

from collections import deque

import attrs

from leanmesh.gossip.oldest import PARTS
from leanmesh.identity.peer_id import PeerId


def _no_windows() -> deque[dict[str, list[bytes]]]:
    return deque([{}])


@attrs.define
class History:
    """The mcache: messages by id, bounded in heartbeats and in bytes."""

    length: int
    gossip_length: int
    limit_bytes: int
    # Topic and publish entry: what serving needs.  The data would be held twice otherwise.
    messages: dict[bytes, tuple[str, bytes]] = attrs.field(factory=dict[bytes, tuple[str, bytes]])
    size_bytes: int = 0
    # Ids by topic, the newest window at the left.
    windows: deque[dict[str, list[bytes]]] = attrs.field(factory=_no_windows)
    # How often each message went to each peer that asked for it.
    served: dict[bytes, dict[PeerId, int]] = attrs.field(factory=dict[bytes, dict[PeerId, int]])

    def __len__(self) -> int:
        return len(self.messages)

    def put(self, message_id: bytes, topic: str, field: bytes) -> int:
        """Keep the publish entry of a valid message; how many of the oldest had to make room."""
        if message_id in self.messages:
            return 0
        self.messages[message_id] = (topic, field)
        window = self.windows[0]
        ids = window.get(topic)
        if ids is None:
            window[topic] = [message_id]
        else:
            ids.append(message_id)
        self.size_bytes += len(field)
        return self._make_room() if self.size_bytes > self.limit_bytes else 0

    def serve(self, message_id: bytes, peer: PeerId, times_limit: int) -> tuple[str, bytes] | None:
        """Topic and publish entry, counted as sent once more to this peer.

        None beyond the limit, or when the message is not there.
        """
        kept = self.messages.get(message_id)
        if kept is None:
            return None
        by_peer = self.served.setdefault(message_id, {})
        times = by_peer.get(peer, 0)
        if times >= times_limit:
            return None
        by_peer[peer] = times + 1
        return kept

    def unserve(self, message_id: bytes, peer: PeerId) -> None:
        """Undo one `serve`: the entry could not be sent."""
        self.served[message_id][peer] -= 1

    def advertised(self, topic: str) -> list[bytes]:
        """Ids of a topic in the windows that are advertised, the newest first."""
        messages = self.messages
        ids: list[bytes] = []
        for index, window in enumerate(self.windows):
            if index == self.gossip_length:
                break
            ids.extend(id_ for id_ in window.get(topic, ()) if id_ in messages)
        return ids

    def shift(self) -> None:
        """A heartbeat has passed: open a window, and forget what was in the oldest."""
        self.windows.appendleft({})
        if len(self.windows) <= self.length:
            return
        for ids in self.windows.pop().values():
            for message_id in ids:
                if message_id in self.messages:
                    self._drop(message_id)

    def forget(self, peer: PeerId) -> None:
        """A peer is gone."""
        for by_peer in self.served.values():
            by_peer.pop(peer, None)

    def _make_room(self) -> int:
        """Drop the oldest: what must go, and up to a part of the limit more at once (see `oldest`)."""
        missing_bytes = self.size_bytes - self.limit_bytes
        spare_bytes = self.limit_bytes // PARTS
        oldest: list[bytes] = []
        for message_id, (_, field) in self.messages.items():
            if missing_bytes <= 0 and len(field) - missing_bytes > spare_bytes:
                break
            missing_bytes -= len(field)
            oldest.append(message_id)
        for message_id in oldest:
            self._drop(message_id)
        return len(oldest)

    def _drop(self, message_id: bytes) -> None:
        self.size_bytes -= len(self.messages.pop(message_id)[1])
        self.served.pop(message_id, None)
