"""What the router knows: peers, topics, and the accounts that belong to both.

Every table is an insertion-ordered dict: the order must not change between
runs.  Whoever changes a table here also keeps the counts that hang on it; that
is why meshes are entered and left through `enter_mesh` and `leave_mesh` only.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import attrs

from leanmesh.gossip.backoff import Backoffs
from leanmesh.gossip.observer import (
    CutReason,
    GraftReason,
    Misbehaviour,
    Observer,
    PruneReason,
    Table,
)
from leanmesh.gossip.outbox import Drop, Outbox
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.rules import TopicRules
from leanmesh.identity.peer_id import PeerId

if TYPE_CHECKING:
    from random import Random


@attrs.define(eq=False)
class PeerState:
    """One connected peer.  It goes when the peer goes."""

    peer: PeerId
    protocol: str
    agent: str
    is_outbound: bool
    is_direct: bool
    # Floodsub peers are sent everything and asked for nothing.
    is_gossiping: bool
    outbox: Outbox
    score: float = 0.0
    topics: dict[str, None] = attrs.field(factory=dict[str, None])
    # In how many meshes the peer is.
    mesh_count: int = 0
    # Ids the peer wants no copy of, with the heartbeat that forgets them, the oldest first.
    unwanted: dict[bytes, int] = attrs.field(factory=dict[bytes, int])
    # Budgets, emptied by each heartbeat.
    ihave_heard: int = 0
    iwant_asked: int = 0
    iwant_answered: int = 0
    iwant_unknown: int = 0
    idontwant_heard: int = 0
    subscriptions_heard: int = 0
    # Misbehaviour ever, by kind; and the account that decays and in the end cuts the peer.
    misbehaviour: dict[Misbehaviour, int] = attrs.field(factory=dict[Misbehaviour, int])
    account: float = 0.0
    is_cut: bool = False


# Whom a message may go to: the peer, what it wants no copy of, and `put_entry` of its outbox.  Looked up
# once per change of the mesh instead of once per copy.
Target = tuple[PeerId, dict[bytes, int], Callable[[bytes, tuple[bytes, float], int], Drop | None]]


@attrs.define(eq=False)
class Topic:
    """One topic that somebody takes, or that we hold something for."""

    name: str
    backoffs: Backoffs
    is_joined: bool = False
    # There while the topic is joined, and only then.
    rules: TopicRules | None = None
    peers: dict[PeerId, PeerState] = attrs.field(factory=dict[PeerId, PeerState])
    mesh: dict[PeerId, PeerState] = attrs.field(factory=dict[PeerId, PeerState])
    fanout: dict[PeerId, PeerState] = attrs.field(factory=dict[PeerId, PeerState])
    last_published_s: float | None = None
    # Whom a received message goes to; None until somebody asks after a change.
    targets: list[Target] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be lost by forgetting the topic."""
        return not (
            self.is_joined or self.peers or self.backoffs.until_s or self.last_published_s is not None
        )


@attrs.define(eq=False)
class State:
    """All of it.  One router owns it; the rules (mesh, exchange, fanout, heartbeat) work on it."""

    params: GossipParams
    generator: "Random"
    observer: Observer
    peers: dict[PeerId, PeerState] = attrs.field(factory=dict[PeerId, PeerState])
    topics: dict[str, Topic] = attrs.field(factory=dict[str, Topic])
    # Peers whose outbox stopped being empty since the shell last took this dict.
    ready: dict[PeerId, Outbox] = attrs.field(factory=dict[PeerId, Outbox])
    cuts: list[tuple[PeerId, CutReason]] = attrs.field(factory=list[tuple[PeerId, CutReason]])
    # Peers with something on their account: few, and only these decay.
    accounts: dict[PeerId, PeerState] = attrs.field(factory=dict[PeerId, PeerState])
    mesh_peer_count: int = 0
    is_mesh_dirty: bool = False
    tick: int = 0

    def topic(self, name: str) -> Topic:
        """The topic of this name, made if it is new."""
        topic = self.topics.get(name)
        if topic is None:
            topic = self.topics[name] = Topic(name, Backoffs(self.params.backoff_peers_limit))
        return topic

    def forget_if_empty(self, topic: Topic) -> None:
        """Drop a topic nobody takes: a table of names that peers made up would grow for ever."""
        # By identity: a topic that was forgotten and came back is another one.
        if topic.is_empty and self.topics.get(topic.name) is topic:
            del self.topics[topic.name]

    def enter_mesh(self, topic: Topic, peer: PeerState, reason: GraftReason, now_s: float) -> None:
        """Put a peer into the mesh of a topic it is not in."""
        topic.mesh[peer.peer] = peer
        topic.targets = None
        peer.mesh_count += 1
        if peer.mesh_count == 1:
            self.mesh_peer_count += 1
        self.is_mesh_dirty = True
        self.observer.grafted(peer.peer, topic.name, reason, now_s)

    def leave_mesh(self, topic: Topic, peer: PeerState, reason: PruneReason, now_s: float) -> None:
        """Take a peer out of the mesh of a topic it is in."""
        del topic.mesh[peer.peer]
        topic.targets = None
        peer.mesh_count -= 1
        if not peer.mesh_count:
            self.mesh_peer_count -= 1
        self.is_mesh_dirty = True
        self.observer.pruned(peer.peer, topic.name, reason, now_s)

    def back_off(self, topic: Topic, peer: PeerId, until_s: float, now_s: float) -> None:
        """Hold a peer off; count what the bound of the table cost."""
        evicted = topic.backoffs.evicted
        topic.backoffs.extend(peer, until_s, now_s)
        if topic.backoffs.evicted != evicted:
            self.observer.turned_away(Table.BACKOFF, 1, now_s)

    def misbehaved(self, peer: PeerState, kind: Misbehaviour, now_s: float, count: int = 1) -> None:
        """Put misbehaviour on a peer's account, and ask for its end when that is full."""
        peer.misbehaviour[kind] = peer.misbehaviour.get(kind, 0) + count
        self.observer.misbehaved(peer.peer, kind, count, now_s)
        if peer.is_direct:
            return
        peer.account += count
        self.accounts[peer.peer] = peer
        if peer.account >= self.params.misbehaviour_limit and not peer.is_cut:
            peer.is_cut = True
            self.cuts.append((peer.peer, CutReason.MISBEHAVIOUR))
            self.observer.cut(peer.peer, CutReason.MISBEHAVIOUR, now_s)

    def sample(self, candidates: Iterable[PeerState], count: int) -> list[PeerState]:
        """Up to `count` of the candidates, in random order."""
        pool = list(candidates)
        if count >= len(pool):
            self.generator.shuffle(pool)
            return pool
        return self.generator.sample(pool, count)
