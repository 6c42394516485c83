"""The ledger of mesh links: who grafted and why, for how long, why it ended, and what it brought first."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from leanmesh.gossip.observer import GraftReason, Observer, PruneReason
from leanmesh.identity.peer_id import PeerId

# An hour of a mesh that exchanges a peer every few seconds.
ENDED_LINKS_LIMIT = 1000


@attrs.define(eq=False)
class MeshLink:
    """One stay of one peer in the mesh of one topic.  Times are `now_s` of the core, and the wall's."""

    network_id: int
    peer: PeerId
    topic: str
    reason: GraftReason
    began_s: float
    began_unix_s: float
    ended_s: float | None = None
    end_reason: PruneReason | None = None
    firsts: int = 0
    """Messages of the topic whose first copy came over it."""
    firsts_bytes: int = 0

    def describe(self, now_s: float) -> dict[str, Any]:
        """As the API shows it."""
        ended_s = now_s if self.ended_s is None else self.ended_s
        return {
            "network_id": self.network_id,
            "peer": str(self.peer),
            "topic": self.topic,
            "grafted_by": "peer" if self.reason is GraftReason.GRAFTED_BY_PEER else "us",
            "reason": str(self.reason),
            "began_unix_s": round(self.began_unix_s, 3),
            "duration_s": round(ended_s - self.began_s, 3),
            "ended": None if self.end_reason is None else str(self.end_reason),
            "firsts": self.firsts,
            "firsts_bytes": self.firsts_bytes,
        }


@attrs.define(eq=False)
class EndedLinks:
    """The links of all networks that ended last; older ones are forgotten and counted."""

    limit: int = ENDED_LINKS_LIMIT
    forgotten: int = attrs.field(default=0, init=False)
    links: deque[MeshLink] = attrs.field(factory=deque[MeshLink], init=False)

    def add(self, link: MeshLink) -> None:
        """A link has ended."""
        if len(self.links) >= self.limit:
            self.links.popleft()
            self.forgotten += 1
        self.links.append(link)


@attrs.define(eq=False)
class MeshLedger(Observer):
    """The links of one network: those that are, and through `ended` those that were."""

    network_id: int
    ended: EndedLinks
    wall_clock: Callable[[], float] = time.time
    _links: dict[tuple[PeerId, str], MeshLink] = attrs.field(
        factory=dict[tuple[PeerId, str], MeshLink], init=False
    )

    def grafted(self, peer: PeerId, topic: str, reason: GraftReason, now_s: float) -> None:
        """See Observer."""
        self._links[peer, topic] = MeshLink(self.network_id, peer, topic, reason, now_s, self.wall_clock())

    def pruned(self, peer: PeerId, topic: str, reason: PruneReason, now_s: float) -> None:
        """See Observer."""
        link = self._links.pop((peer, topic))
        link.ended_s, link.end_reason = now_s, reason
        self.ended.add(link)

    def close(self, now_s: float) -> None:
        """The core is gone, and if it broke it said goodbye to nobody."""
        for peer, topic in tuple(self._links):
            self.pruned(peer, topic, PruneReason.DISCONNECTED, now_s)

    def first_seen(self, peer: PeerId, topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """See Observer.  What comes from outside the mesh, by IWANT or fanout, is nobody's here."""
        link = self._links.get((peer, topic))
        if link is not None:
            link.firsts += 1
            link.firsts_bytes += size_bytes

    def describe(self, now_s: float) -> Iterator[dict[str, Any]]:
        """The links of this network as the API shows them: those that ended first."""
        for link in self.ended.links:
            if link.network_id == self.network_id:
                yield link.describe(now_s)
        for link in self._links.values():
            yield link.describe(now_s)
