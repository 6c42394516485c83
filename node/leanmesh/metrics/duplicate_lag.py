"""Duplicate lag: by how much the later copies of a message are behind the first, and behind whom.

An observer of the gossip core.  It sees what the core decided and returns
nothing, so it cannot change a decision.  The first deliverer of a message wins; each
later copy of another peer is a race that it lost, always against the first.
docs/duplicate-lag.md tells what the figures mean.
"""

from bisect import bisect_left

import attrs

from leanmesh.gossip.observer import Observer
from leanmesh.metrics.duplicate_lag_tallies import BANDS, BOUNDS_NS, NANOSECONDS, Tally, TallyTable, new_tally
from leanmesh.metrics.params import LagParams
from leanmesh.metrics.sampling import sampling_mask

# Who was first, and when in nanoseconds.
First = tuple[bytes, int]


@attrs.define(eq=False)
class LagTracker(Observer):
    """The tracker of one network.  `observed + expired + unsampled` is the number of duplicates.

    First copies are remembered by epochs of `ttl_s` on a fixed grid: the present
    epoch's and those of the one before.  So an entry is kept for one ttl at least and
    for less than two, whatever else happens and however long nothing does.  Time never
    goes back here: while the clock is behind, it stands still.
    """

    params: LagParams
    total: Tally = attrs.field(factory=new_tally, init=False)
    """Every observation, whoever the peers were."""
    expired: int = attrs.field(default=0, init=False)
    """Duplicates with nothing to compare them with: no first copy is known, or it was the same peer's."""
    unsampled: int = attrs.field(default=0, init=False)
    """Duplicates of messages outside the sample."""
    untracked: int = attrs.field(default=0, init=False)
    """First copies that found no room."""
    firsts: dict[bytes, int] = attrs.field(factory=dict[bytes, int], init=False)
    """The connected peers, and how many first copies each brought since it came."""
    pairs: TallyTable = attrs.field(init=False)
    winners: TallyTable = attrs.field(init=False)
    losers: TallyTable = attrs.field(init=False)
    _mask: int = attrs.field(init=False)
    _ttl_ns: int = attrs.field(init=False)
    _message_limit: int = attrs.field(init=False)
    # The clock as it was read last, and what it means here.
    _read_s: float = attrs.field(default=float("-inf"), init=False)
    _now_ns: int = attrs.field(init=False)
    _epoch: int = attrs.field(init=False)
    _present: dict[bytes, First] = attrs.field(factory=dict[bytes, First], init=False)
    _previous: dict[bytes, First] = attrs.field(factory=dict[bytes, First], init=False)
    # (winner, loser) -> the tallies of the pair, the winner and the loser: one look-up for each late copy.
    _routes: dict[tuple[bytes, bytes], tuple[Tally, Tally, Tally]] = attrs.field(
        factory=dict[tuple[bytes, bytes], tuple[Tally, Tally, Tally]], init=False
    )

    def __attrs_post_init__(self) -> None:
        params = self.params
        self.pairs = TallyTable(params.pair_limit, self.firsts)
        self.winners = TallyTable(params.peer_limit, self.firsts)
        self.losers = TallyTable(params.peer_limit, self.firsts)
        self._mask = sampling_mask(params.sample_rate)
        self._ttl_ns = round(params.ttl_s * NANOSECONDS)
        self._message_limit = params.message_limit
        # Before any time there is.
        self._now_ns = self._epoch = -(1 << 127)

    @property
    def observed(self) -> int:
        """Races: late copies that were compared with the first."""
        return sum(self.total[:BANDS])

    @property
    def remembered(self) -> int:
        """First copies that are remembered now."""
        return len(self._present) + len(self._previous)

    # Peers.

    def peer_added(self, peer: bytes, protocol: str, now_s: float) -> None:
        """See Observer."""
        self.firsts[peer] = 0
        self._routes.clear()

    def peer_removed(self, peer: bytes, protocol: str, now_s: float) -> None:
        """See Observer.  The series of the peer end; what it was first with goes on racing."""
        self.firsts.pop(peer, None)
        for table in (self.pairs, self.winners, self.losers):
            table.part(peer)
        self._routes.clear()

    # Copies.

    def first_seen(self, peer: bytes, topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        if hash(message_id) & self._mask:
            return
        if now_s != self._read_s:
            self._advance(now_s)
        if peer in self.firsts:
            self.firsts[peer] += 1
        if len(self._present) < self._message_limit:
            self._present[message_id] = (peer, self._now_ns)
        else:
            self.untracked += 1

    def duplicate(self, peer: bytes, topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        if hash(message_id) & self._mask:
            self.unsampled += 1
            return
        if now_s != self._read_s:
            self._advance(now_s)
        first = self._present.get(message_id) or self._previous.get(message_id)
        if first is None or first[0] == peer:
            self.expired += 1
            return
        winner, first_ns = first
        lag_ns = self._now_ns - first_ns
        band = bisect_left(BOUNDS_NS, lag_ns)
        total = self.total
        total[band] += 1
        total[BANDS] += lag_ns
        pair, by_winner, by_loser = self._routes.get((winner, peer)) or self._route(winner, peer)
        pair[band] += 1
        pair[BANDS] += lag_ns
        by_winner[band] += 1
        by_winner[BANDS] += lag_ns
        by_loser[band] += 1
        by_loser[BANDS] += lag_ns

    def forget_old(self, now_s: float) -> None:
        """Let go of what is too old to match.  Called now and then, for when there is no traffic."""
        self._advance(now_s)

    def _advance(self, now_s: float) -> None:
        self._read_s = now_s
        now_ns = round(now_s * NANOSECONDS)
        if now_ns <= self._now_ns:
            return
        self._now_ns = now_ns
        epoch = now_ns // self._ttl_ns
        if epoch != self._epoch:
            self._previous = self._present if epoch == self._epoch + 1 else {}
            self._present = {}
            self._epoch = epoch

    def _route(self, winner: bytes, loser: bytes) -> tuple[Tally, Tally, Tally]:
        evicted = self.pairs.evicted + self.winners.evicted + self.losers.evicted
        pair = self.pairs.of((winner, loser))
        route = (pair, self.winners.of((winner,)), self.losers.of((loser,)))
        if self.pairs.evicted + self.winners.evicted + self.losers.evicted != evicted:
            # Some of them led to tallies that are no more.
            self._routes.clear()
        if pair is not self.pairs.other:
            # As many as there are pairs, at most.
            self._routes[winner, loser] = route
        return route
