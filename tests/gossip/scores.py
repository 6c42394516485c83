"""Scores that a test sets."""

from leanmesh.gossip.heartbeat import NeutralScores
from leanmesh.identity.peer_id import PeerId


class SetScores(NeutralScores):
    def __init__(self) -> None:
        self.scores: dict[PeerId, float] = {}

    def score(self, peer: PeerId, now_s: float) -> float:
        return self.scores.get(peer, 0.0)
