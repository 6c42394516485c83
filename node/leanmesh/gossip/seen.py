"""The ids that were seen, for a time that starts at the first sight and is not renewed."""

import attrs


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

    def add(self, message_id: bytes, now_s: float) -> bool:
        """Remember an id that is not there yet; True when the oldest had to make room."""
        seen = self.first_seen_s
        is_full = len(seen) >= self.limit
        if is_full:
            del seen[next(iter(seen))]
        seen[message_id] = now_s
        self.added += 1
        return is_full

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
