"""The ids that were seen, for a time that starts at the first sight and is not renewed."""

import attrs

from leanmesh.gossip.oldest import make_room


@attrs.define
class SeenIds:
    """Ids in the order of their first sight, bounded in number and age.

    `first_seen_s` is public for reading: the router asks it once for every copy.
    """

    ttl_s: float
    limit: int
    first_seen_s: dict[bytes, float] = attrs.field(factory=dict[bytes, float])
    added: int = 0

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self.first_seen_s

    def __len__(self) -> int:
        return len(self.first_seen_s)

    def add(self, message_id: bytes, now_s: float) -> int:
        """Remember an id that is not there yet; how many of the oldest had to make room."""
        seen = self.first_seen_s
        evicted = make_room(seen, self.limit) if len(seen) >= self.limit else 0
        seen[message_id] = now_s
        self.added += 1
        return evicted

    def expire(self, now_s: float) -> None:
        """Forget what has reached its age."""
        horizon_s = now_s - self.ttl_s
        old: list[bytes] = []
        for message_id, at_s in self.first_seen_s.items():
            if at_s > horizon_s:
                break
            old.append(message_id)
        for message_id in old:
            del self.first_seen_s[message_id]
