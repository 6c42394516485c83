"""Tallies: how late copies were, by peer or by pair of peers, in tables that cannot outgrow their limits.

A tally is a list of counts, one for each band, and after them the sum in
nanoseconds: what is written for every late copy must cost next to nothing.
"""

from collections.abc import Iterator, Mapping

import attrs

from leanmesh.metrics.catalog_lag import LAG_BOUNDS_S
from leanmesh.metrics.sample import HistogramValue

NANOSECONDS = 10**9
BOUNDS_NS = tuple(round(bound_s * NANOSECONDS) for bound_s in LAG_BOUNDS_S)
BANDS = len(BOUNDS_NS) + 1

Tally = list[int]
# The peer, or the winner and the loser.
Key = tuple[bytes, ...]


def new_tally() -> Tally:
    """Nothing was late yet."""
    return [0] * (BANDS + 1)


def histogram(tally: Tally) -> HistogramValue:
    """A copy of a tally, in seconds."""
    return HistogramValue(tuple(tally[:BANDS]), tally[BANDS] / NANOSECONDS)


def quantile_s(value: HistogramValue, share: float) -> float | None:
    """The lag that this share of the copies did not exceed; None without any.

    Taken as evenly spread within its band, as histogram_quantile does; beyond the last bound, that bound.
    """
    rank = share * value.count
    if not value.count:
        return None
    below_s, passed = 0.0, 0
    for bound_s, count in zip(LAG_BOUNDS_S, value.counts, strict=False):
        if count and passed + count >= rank:
            return below_s + (bound_s - below_s) * (rank - passed) / count
        below_s, passed = bound_s, passed + count
    return below_s


@attrs.define(eq=False)
class TallyTable:
    """The tallies of at most `limit` keys; all further keys share the tally `other`.

    Keys whose peers are all in `present` are shown.  Those of peers that left
    are remembered, unseen, until their room is needed: the oldest departure gives
    way first.  So a key that comes back in time goes on where it was, and a
    later one starts anew; nothing is ever moved into `other`.
    """

    limit: int
    present: Mapping[bytes, object]
    other: Tally = attrs.field(factory=new_tally, init=False)
    evicted: int = attrs.field(default=0, init=False)
    _shown: dict[Key, Tally] = attrs.field(factory=dict[Key, Tally], init=False)
    _remembered: dict[Key, Tally] = attrs.field(factory=dict[Key, Tally], init=False)

    def __len__(self) -> int:
        return len(self._shown) + len(self._remembered)

    def of(self, key: Key) -> Tally:
        """The tally to write to for this key; it may be `other`."""
        tally = self._shown.get(key)
        if tally is not None:
            return tally
        is_shown = all(peer in self.present for peer in key)
        tally = self._remembered.get(key)
        if tally is None:
            if len(self) >= self.limit and not self._evict():
                return self.other
            tally = new_tally()
        elif is_shown:
            del self._remembered[key]
        (self._shown if is_shown else self._remembered)[key] = tally
        return tally

    def _evict(self) -> bool:
        if not self._remembered:
            return False
        del self._remembered[next(iter(self._remembered))]
        self.evicted += 1
        return True

    def part(self, peer: bytes) -> None:
        """A peer is gone: its series end."""
        for key in [key for key in self._shown if peer in key]:
            self._remembered[key] = self._shown.pop(key)

    @property
    def other_count(self) -> int:
        """What was counted under `other`."""
        return sum(self.other[:BANDS])

    def shown(self) -> Iterator[tuple[Key, HistogramValue]]:
        """The keys of peers that are here, with copies of their tallies."""
        for key, tally in self._shown.items():
            yield key, histogram(tally)
