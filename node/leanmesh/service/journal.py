"""The journal: tells what happens in the meshes and to the connections of one network."""

import logging
from collections.abc import Callable

import attrs

from leanmesh.gossip.observer import CutReason, GraftReason, Observer, PruneReason
from leanmesh.identity.peer_id import PeerId
from leanmesh.service.events import tell
from leanmesh.transport.errors import CloseReason
from leanmesh.transport.interface import Connection


def combined(*observers: Observer) -> Observer:
    """One observer that calls all of these, in this order.

    A method that only one of them overrides is called as directly as if it were
    alone, so an observer of rare events costs nothing on the common path.
    """
    together = Observer()
    for name in vars(Observer):
        if name.startswith("_"):
            continue
        methods = [
            getattr(observer, name)
            for observer in observers
            if getattr(type(observer), name) is not getattr(Observer, name)
        ]
        if methods:
            setattr(together, name, methods[0] if len(methods) == 1 else _all_of(methods))
    return together


def _all_of(methods: list[Callable[..., None]]) -> Callable[..., None]:
    """One function that calls all of these.  Some are called for every copy: a loop takes twice as long."""
    first, second, *more = methods

    def call_two(*args: object) -> None:
        first(*args)
        second(*args)

    def call_three(*args: object) -> None:
        first(*args)
        second(*args)
        third(*args)

    def call_all(*args: object) -> None:
        for method in methods:
            method(*args)

    if not more:
        return call_two
    third = more[0]
    return call_three if len(more) == 1 else call_all


@attrs.define(eq=False)
class Journal(Observer):
    """Tells of grafts, prunes, slow and misbehaving peers, and of connections."""

    network_id: int
    _slow: set[PeerId] = attrs.field(factory=set[PeerId], init=False)

    def _tell(self, event: str, sentence: str, *, level: int = logging.INFO, **fields: object) -> None:
        tell(event, sentence, level=level, network_id=self.network_id, **fields)

    def grafted(self, peer: PeerId, topic: str, reason: GraftReason, now_s: float) -> None:
        """See Observer."""
        self._tell(
            "graft",
            f"{peer.short} is in our mesh of {topic} ({reason})",
            peer=str(peer),
            topic=topic,
            reason=reason,
        )

    def pruned(self, peer: PeerId, topic: str, reason: PruneReason, now_s: float) -> None:
        """See Observer."""
        self._tell(
            "prune",
            f"{peer.short} left our mesh of {topic} ({reason})",
            peer=str(peer),
            topic=topic,
            reason=reason,
        )

    def slow_peer(self, peer: PeerId, reason: str, now_s: float) -> None:
        """See Observer.  Told once for each peer, not at each heartbeat."""
        if peer not in self._slow:
            self._slow.add(peer)
            self._tell(
                "slow",
                f"{peer.short} is slow: {reason}",
                level=logging.WARNING,
                peer=str(peer),
                reason=reason,
            )

    def cut(self, peer: PeerId, reason: CutReason, now_s: float) -> None:
        """See Observer."""
        self._tell(
            "cut", f"{peer.short} is cut off: {reason}", level=logging.WARNING, peer=str(peer), reason=reason
        )

    def peer_removed(self, peer: PeerId, protocol: str, now_s: float) -> None:
        """See Observer."""
        self._slow.discard(peer)

    def met(self, connection: Connection, agent: str) -> None:
        """A peer is connected and has said who it is."""
        direction = "outbound" if connection.is_outbound else "inbound"
        self._tell(
            "connected",
            f"connected to {connection.remote_peer.short} ({agent or 'no agent'}), {direction}, "
            f"at {connection.remote_address}",
            peer=str(connection.remote_peer),
            address=str(connection.remote_address),
            agent=agent,
            direction=direction,
        )

    def parted(self, connection: Connection, reason: CloseReason, detail: str) -> None:
        """A connection has ended."""
        self._tell(
            "disconnected",
            f"disconnected from {connection.remote_peer.short}: {detail} ({reason})",
            peer=str(connection.remote_peer),
            reason=reason,
            detail=detail,
        )
