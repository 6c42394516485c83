"""The heartbeat: what is done once per interval, in this order.

First what the last interval left (promises, late verdicts, accounts), then the
meshes, then gossip about what is in the history, and last the windows move on.
"""

from typing import Protocol

import attrs

from leanmesh.gossip.exchange import Exchange
from leanmesh.gossip.fanout import Fanout
from leanmesh.gossip.intake import Intake
from leanmesh.gossip.mesh import Mesh
from leanmesh.gossip.outbox import Drop
from leanmesh.gossip.state import PeerState, State
from leanmesh.identity.peer_id import PeerId

# An account below this is settled.
_SETTLED = 0.5
# Heartbeats between two sweeps of back-offs that are over; nothing depends on how soon they go.
_BACKOFF_SWEEP_TICKS = 15


class Scores(Protocol):
    """Where peers' scores come from.  An implementation learns what happens as an `Observer`."""

    def score(self, peer: PeerId, now_s: float) -> float:
        """The score of one peer now; asked once per heartbeat and kept until the next."""
        ...


class NeutralScores:
    """Every peer is as good as any other: the bound on misbehaviour alone decides."""

    def score(self, peer: PeerId, now_s: float) -> float:
        """0, which every threshold but that of peer exchange lets pass."""
        return 0.0


@attrs.define(eq=False)
class Heartbeat:
    """Works through everything that waits for the heartbeat."""

    state: State
    mesh: Mesh
    fanout: Fanout
    exchange: Exchange
    intake: Intake
    scores: Scores

    def beat(self, now_s: float) -> None:
        """One heartbeat."""
        state = self.state
        state.tick += 1
        self.exchange.renew_budgets()
        self.exchange.charge_broken_promises(now_s)
        self.intake.give_up_late(now_s)
        self._settle_accounts()
        for peer in state.peers.values():
            self._note_score(peer, self.scores.score(peer.peer, now_s))
            self._tend_outbox(peer, now_s)
        self._maintain_meshes(now_s)
        self.fanout.maintain(now_s)
        self.exchange.advertise(now_s)
        self.exchange.history.shift()
        self.exchange.seen.expire(now_s)
        if state.tick % _BACKOFF_SWEEP_TICKS == 0:
            self._sweep_backoffs(now_s)

    def _note_score(self, peer: PeerState, score: float) -> None:
        threshold = self.state.params.publish_threshold
        if not peer.is_gossiping and (score < threshold) is not (peer.score < threshold):
            # No mesh decides whether a floodsub peer is sent what is passed on: its score alone does.
            for name in peer.topics:
                self.state.topics[name].targets = None
        peer.score = score

    def _tend_outbox(self, peer: PeerState, now_s: float) -> None:
        outbox = peer.outbox
        # What a slow peer has not been told by now is stale; this heartbeat has newer gossip.
        outbox.forget_ihave()
        if outbox.count and (expired := outbox.expire(now_s)):
            self.state.observer.copies_dropped(peer.peer, Drop.EXPIRED, expired, now_s)
        if outbox.full_since_s is not None and (reason := outbox.slow_reason(now_s)):
            self.state.observer.slow_peer(peer.peer, reason, now_s)

    def _maintain_meshes(self, now_s: float) -> None:
        is_time_to_improve = self.state.tick % self.state.params.opportunistic_graft_ticks == 0
        for topic in self.state.topics.values():
            if topic.is_joined:
                self.mesh.maintain(topic, now_s)
                if is_time_to_improve:
                    self.mesh.improve(topic, now_s)

    def _settle_accounts(self) -> None:
        params = self.state.params
        factor = 0.5 ** (params.heartbeat_interval_s / params.misbehaviour_decay_s)
        for peer in list(self.state.accounts.values()):
            peer.account *= factor
            if peer.account < _SETTLED:
                peer.account = 0.0
                del self.state.accounts[peer.peer]

    def _sweep_backoffs(self, now_s: float) -> None:
        for topic in list(self.state.topics.values()):
            topic.backoffs.expire(now_s - self.state.params.backoff_slack_s)
            self.state.forget_if_empty(topic)
