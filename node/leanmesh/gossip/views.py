"""What can be read of a router: copies, fit to be shown; nothing here changes anything."""

from collections.abc import Mapping

import attrs

from leanmesh.gossip.exchange import Exchange
from leanmesh.gossip.observer import Misbehaviour
from leanmesh.gossip.state import State
from leanmesh.gossip.validation import Validation
from leanmesh.identity.peer_id import PeerId


@attrs.frozen(kw_only=True)
class PeerView:
    """One peer, as it was when asked."""

    peer: PeerId
    protocol: str
    agent: str
    is_outbound: bool
    is_direct: bool
    score: float
    topics: tuple[str, ...]
    meshes: tuple[str, ...]
    misbehaviour: Mapping[Misbehaviour, int]
    """Ever since the peer was added, by kind."""
    misbehaviour_account: float
    """What has not decayed; at `misbehaviour_limit` the peer is cut."""
    outbox_messages: int
    outbox_bytes: int
    slow_reason: str | None


@attrs.frozen(kw_only=True)
class TopicView:
    """One topic, as it was when asked."""

    topic: str
    is_joined: bool
    peers: tuple[PeerId, ...]
    mesh: tuple[PeerId, ...]
    fanout: tuple[PeerId, ...]
    backoff_until_s: Mapping[PeerId, float]


@attrs.define(eq=False)
class View:
    """Reads of one router."""

    _state: State
    _exchange: Exchange
    _validation: Validation

    @property
    def peers(self) -> list[PeerId]:
        """Everyone connected, in the order they came."""
        return list(self._state.peers)

    @property
    def subscriptions(self) -> list[str]:
        """The topics we take, in the order we joined them."""
        return [topic.name for topic in self._state.topics.values() if topic.is_joined]

    @property
    def mesh_peer_count(self) -> int:
        """How many distinct peers are in any mesh."""
        return self._state.mesh_peer_count

    def count_mesh_peers(self) -> int:
        """The same, counted anew from the meshes."""
        return len({peer for topic in self._state.topics.values() for peer in topic.mesh})

    @property
    def misbehaving_peers(self) -> list[PeerId]:
        """Peers with something on their account."""
        return list(self._state.accounts)

    @property
    def history_messages(self) -> int:
        """Messages that can be asked for."""
        return len(self._exchange.history)

    @property
    def history_bytes(self) -> int:
        """Their size as they travel."""
        return self._exchange.history.size_bytes

    @property
    def seen_ids(self) -> int:
        """Ids remembered as seen."""
        return len(self._exchange.seen)

    @property
    def pending_validations(self) -> int:
        """Messages that wait for a verdict."""
        return self._validation.messages.used

    def mesh(self, topic: str) -> list[PeerId]:
        """The mesh of a topic; empty when we do not take it."""
        known = self._state.topics.get(topic)
        return [] if known is None else list(known.mesh)

    def topic_peers(self, topic: str) -> list[PeerId]:
        """Everyone who takes a topic."""
        known = self._state.topics.get(topic)
        return [] if known is None else list(known.peers)

    def peer(self, peer: PeerId, now_s: float) -> PeerView | None:
        """One peer; None when it is not connected."""
        known = self._state.peers.get(peer)
        if known is None:
            return None
        topics = self._state.topics
        return PeerView(
            peer=peer,
            protocol=known.protocol,
            agent=known.agent,
            is_outbound=known.is_outbound,
            is_direct=known.is_direct,
            score=known.score,
            topics=tuple(known.topics),
            meshes=tuple(name for name in known.topics if peer in topics[name].mesh),
            misbehaviour=dict(known.misbehaviour),
            misbehaviour_account=known.account,
            outbox_messages=known.outbox.count,
            outbox_bytes=known.outbox.size_bytes,
            slow_reason=known.outbox.slow_reason(now_s),
        )

    def topic(self, topic: str) -> TopicView | None:
        """One topic; None when nobody takes it."""
        known = self._state.topics.get(topic)
        if known is None:
            return None
        return TopicView(
            topic=topic,
            is_joined=known.is_joined,
            peers=tuple(known.peers),
            mesh=tuple(known.mesh),
            fanout=tuple(known.fanout),
            backoff_until_s=dict(known.backoffs.until_s),
        )

    @property
    def topics(self) -> list[str]:
        """Every topic somebody takes, or that something is held for."""
        return list(self._state.topics)
