"""Who is in the mesh of a topic: join, leave, GRAFT, PRUNE, and the upkeep of a heartbeat."""

import attrs

from leanmesh.gossip.observer import GraftReason, Misbehaviour, PruneReason, RefuseReason
from leanmesh.gossip.rpc import Prune
from leanmesh.gossip.state import PeerState, State, Topic
from leanmesh.identity.peer_id import PeerId


@attrs.define(eq=False)
class Mesh:
    """The rules of the mesh.  All state is in `State`."""

    state: State

    # We join and leave.

    def join(self, topic: Topic, now_s: float) -> None:
        """Fill the mesh of a topic we subscribed to: fanout peers first, they are known to take it."""
        target = self.state.params.mesh_target
        fanout = [peer for peer in topic.fanout.values() if self._may_graft(topic, peer, now_s)]
        topic.fanout.clear()
        topic.last_published_s = None
        for peer in fanout[:target]:
            self.graft(topic, peer, GraftReason.FANOUT, now_s)
        self._fill(topic, target - len(topic.mesh), GraftReason.RANDOM, now_s)

    def leave(self, topic: Topic, now_s: float) -> None:
        """Take leave of every mesh peer of a topic, with the short back-off."""
        backoff_s = self.state.params.unsubscribe_backoff_s
        for peer in list(topic.mesh.values()):
            self.prune(topic, peer, PruneReason.UNSUBSCRIBED, backoff_s, now_s)

    # Peers come, ask and go.

    def on_subscribed(self, topic: Topic, peer: PeerState, now_s: float) -> None:
        """Graft a wanted peer at once, else its first messages are lost until the next heartbeat."""
        if (
            topic.is_joined
            and len(topic.mesh) < self.state.params.mesh_low
            and self._may_graft(topic, peer, now_s)
        ):
            self.graft(topic, peer, GraftReason.SUBSCRIBED, now_s)

    def on_graft(self, topic: Topic, peer: PeerState, now_s: float) -> None:
        """Answer one GRAFT for a topic we take: admit the peer, or refuse it with a PRUNE."""
        if peer.peer in topic.mesh:
            return
        refusal = self._refusal(topic, peer, now_s)
        if refusal is None:
            self.state.enter_mesh(topic, peer, GraftReason.GRAFTED_BY_PEER, now_s)
            return
        if refusal is RefuseReason.BACKOFF:
            self._charge_early_graft(topic, peer, now_s)
        elif refusal is RefuseReason.DIRECT:
            self.state.misbehaved(peer, Misbehaviour.GRAFT_DIRECT, now_s)
        self.state.observer.graft_refused(peer.peer, topic.name, refusal, now_s)
        self._send_prune(topic, peer, self.state.params.prune_backoff_s, now_s)

    def on_prune(self, peer: PeerState, prune: Prune, now_s: float) -> None:
        """A peer takes us out of its mesh: do likewise, and stay away as long as it asks."""
        topic = self.state.topics.get(prune.topic)
        if topic is None or not topic.is_joined or not peer.is_gossiping:
            return
        params = self.state.params
        backoff_s = params.prune_backoff_s
        if prune.backoff_s:
            # Clamped before any sum: 2**64 - 1 seconds is a known crash.
            backoff_s = float(min(prune.backoff_s, int(params.backoff_limit_s)))
        self.state.back_off(topic, peer.peer, now_s + backoff_s, now_s)
        if peer.peer in topic.mesh:
            self.state.leave_mesh(topic, peer, PruneReason.PRUNED_BY_PEER, now_s)
            peer.outbox.cancel_graft(topic.name)

    # The heartbeat.

    def maintain(self, topic: Topic, now_s: float) -> None:
        """Bring the mesh of one topic back within its bounds."""
        params = self.state.params
        for peer in [peer for peer in topic.mesh.values() if peer.score < 0]:
            self.prune(topic, peer, PruneReason.BAD_SCORE, params.prune_backoff_s, now_s)
        if len(topic.mesh) < params.mesh_low:
            self._fill(topic, params.mesh_target - len(topic.mesh), GraftReason.RANDOM, now_s)
        elif len(topic.mesh) > params.mesh_high:
            self._shrink(topic, now_s)
        if len(topic.mesh) >= params.mesh_low:
            self._fill_outbound(topic, now_s)

    def improve(self, topic: Topic, now_s: float) -> None:
        """Graft some peers above the median score when that median is poor."""
        params = self.state.params
        if len(topic.mesh) < 2:
            return
        scores = sorted(peer.score for peer in topic.mesh.values())
        median = scores[len(scores) // 2]
        if median >= params.opportunistic_graft_threshold:
            return
        better = [
            peer
            for peer in topic.peers.values()
            if peer.score > median and self._may_graft(topic, peer, now_s)
        ]
        for peer in self.state.sample(better, params.opportunistic_graft_peers):
            self.graft(topic, peer, GraftReason.OPPORTUNISTIC, now_s)

    # Moves.

    def graft(self, topic: Topic, peer: PeerState, reason: GraftReason, now_s: float) -> None:
        """Take a peer into the mesh and tell it."""
        self.state.enter_mesh(topic, peer, reason, now_s)
        peer.outbox.graft(topic.name)

    def prune(
        self, topic: Topic, peer: PeerState, reason: PruneReason, backoff_s: float, now_s: float
    ) -> None:
        """Take a peer out of the mesh and tell it for how long."""
        self.state.leave_mesh(topic, peer, reason, now_s)
        self._send_prune(topic, peer, backoff_s, now_s)

    def _send_prune(self, topic: Topic, peer: PeerState, backoff_s: float, now_s: float) -> None:
        self.state.back_off(topic, peer.peer, now_s + backoff_s, now_s)
        peer.outbox.prune(topic.name, backoff_s)

    # Judgements.

    def _refusal(self, topic: Topic, peer: PeerState, now_s: float) -> RefuseReason | None:
        if peer.is_direct:
            return RefuseReason.DIRECT
        if topic.backoffs.is_active(peer.peer, now_s):
            return RefuseReason.BACKOFF
        if peer.score < 0:
            return RefuseReason.BAD_SCORE
        if len(topic.mesh) >= self.state.params.mesh_high and not peer.is_outbound:
            # An outbound peer may still come in: an attacker cannot choose whom we dial.
            return RefuseReason.FULL
        return None

    def _charge_early_graft(self, topic: Topic, peer: PeerState, now_s: float) -> None:
        params = self.state.params
        self.state.misbehaved(peer, Misbehaviour.GRAFT_IN_BACKOFF, now_s)
        if now_s < topic.backoffs.pruned_s[peer.peer] + params.graft_flood_s:
            self.state.misbehaved(peer, Misbehaviour.GRAFT_FLOOD, now_s)

    def _may_graft(self, topic: Topic, peer: PeerState, now_s: float) -> bool:
        """Whether we may ask this peer into the mesh, and would want it."""
        return (
            peer.is_gossiping
            and not peer.is_direct
            and peer.score >= 0
            and peer.peer not in topic.mesh
            and not topic.backoffs.is_active(peer.peer, now_s - self.state.params.backoff_slack_s)
        )

    def _fill(self, topic: Topic, count: int, reason: GraftReason, now_s: float) -> None:
        if count <= 0:
            return
        wanted = (peer for peer in topic.peers.values() if self._may_graft(topic, peer, now_s))
        for peer in self.state.sample(wanted, count):
            self.graft(topic, peer, reason, now_s)

    def _fill_outbound(self, topic: Topic, now_s: float) -> None:
        missing = self.state.params.mesh_outbound - sum(peer.is_outbound for peer in topic.mesh.values())
        if missing <= 0:
            return
        wanted = (
            peer for peer in topic.peers.values() if peer.is_outbound and self._may_graft(topic, peer, now_s)
        )
        for peer in self.state.sample(wanted, missing):
            self.graft(topic, peer, GraftReason.OUTBOUND, now_s)

    def _shrink(self, topic: Topic, now_s: float) -> None:
        kept = self._keep(list(topic.mesh.values()))
        for peer in list(topic.mesh.values()):
            if peer.peer not in kept:
                self.prune(topic, peer, PruneReason.EXCESS, self.state.params.prune_backoff_s, now_s)

    def _keep(self, members: list[PeerState]) -> dict[PeerId, PeerState]:
        """Choose D of the members: the best by score, others at random, enough of them outbound."""
        params = self.state.params
        # Shuffled first: the sort is stable, so equal scores are drawn by lot.
        self.state.generator.shuffle(members)
        members.sort(key=lambda peer: peer.score, reverse=True)
        best, rest = members[: params.mesh_best], members[params.mesh_best :]
        self.state.generator.shuffle(rest)
        ranked = best + rest
        kept, others = ranked[: params.mesh_target], ranked[params.mesh_target :]
        missing = params.mesh_outbound - sum(peer.is_outbound for peer in kept)
        spare = [peer for peer in others if peer.is_outbound][: max(missing, 0)]
        # From the end: the random ones give way to outbound peers, the best by score last.
        for index in range(len(kept) - 1, -1, -1):
            if not spare:
                break
            if not kept[index].is_outbound:
                kept[index] = spare.pop()
        return {peer.peer: peer for peer in kept}
