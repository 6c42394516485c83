"""Back-offs of one topic: until when a peer may not be grafted, by either side."""

import attrs

from leanmesh.identity.peer_id import PeerId


@attrs.define
class Backoffs:
    """Survives the connection, so that reconnecting does not wash a back-off; bounded in number."""

    limit: int
    until_s: dict[PeerId, float] = attrs.field(factory=dict[PeerId, float])
    pruned_s: dict[PeerId, float] = attrs.field(factory=dict[PeerId, float])
    """When each of them was pruned last, by either side."""
    evicted: int = 0

    def extend(self, peer: PeerId, until_s: float, now_s: float) -> None:
        """Hold a peer off at least until then.  A shorter wish never shortens."""
        known_s = self.until_s.pop(peer, until_s)
        if len(self.until_s) >= self.limit:
            oldest = next(iter(self.until_s))
            del self.until_s[oldest], self.pruned_s[oldest]
            self.evicted += 1
        self.until_s[peer] = max(known_s, until_s)
        self.pruned_s[peer] = now_s

    def is_active(self, peer: PeerId, now_s: float) -> bool:
        """Whether a GRAFT of this peer would break the rule."""
        until_s = self.until_s.get(peer)
        return until_s is not None and now_s < until_s

    def expire(self, now_s: float) -> None:
        """Forget the past.  The caller subtracts its slack, during which we do not graft yet."""
        over = [peer for peer, until_s in self.until_s.items() if until_s <= now_s]
        for peer in over:
            del self.until_s[peer], self.pruned_s[peer]
