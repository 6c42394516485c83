"""Whatever copies, gaps, clock steps and departures: the tracker says what a plain model says."""

from bisect import bisect_left
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from leanmesh.metrics.duplicate_lag import LagTracker
from leanmesh.metrics.duplicate_lag_source import LagSource
from leanmesh.metrics.duplicate_lag_tallies import BANDS, BOUNDS_NS, histogram
from leanmesh.metrics.params import LagParams
from leanmesh.metrics.sample import HistogramValue, fold

PEERS = [b"peer %d" % number for number in range(5)]
MESSAGES = [b"message %d" % number for number in range(12)]
TTL_NS = 1_000_000_000

peers = st.sampled_from(PEERS)
messages = st.sampled_from(MESSAGES)
# What lies near the edges of bands and epochs, gaps of several epochs, and steps back.
pauses_ns = st.one_of(
    st.just(0),
    st.sampled_from([*BOUNDS_NS, TTL_NS, 2 * TTL_NS, 5 * TTL_NS]).flatmap(
        lambda edge: st.sampled_from([edge - 1, edge, edge + 1])
    ),
    st.integers(0, 3 * TTL_NS),
    st.integers(-3 * TTL_NS, 0),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("copy"), peers, messages),
        st.tuples(st.just("copy"), peers, messages),
        st.tuples(st.just("come"), peers, st.none()),
        st.tuples(st.just("go"), peers, st.none()),
        st.tuples(st.just("own"), st.none(), messages),
        st.tuples(st.just("wait"), st.none(), pauses_ns),
        st.tuples(st.just("look"), st.none(), st.none()),
    ),
    max_size=80,
)


class Model:
    """Every first copy for ever, with its age; the counts as plain counters."""

    def __init__(self) -> None:
        self.clock_ns = 10 * TTL_NS
        # As the tracker has read it: not at all yet.
        self.now_ns = 0
        self.seen: set[bytes] = set()
        self.firsts: dict[bytes, tuple[bytes, int]] = {}
        self.total: Counter[int] = Counter()
        self.sum_ns = 0
        self.pairs: Counter[tuple[bytes, bytes]] = Counter()
        self.duplicates = 0

    def wait(self, pause_ns: int) -> None:
        self.clock_ns = max(0, self.clock_ns + pause_ns)

    def read_clock(self) -> None:
        self.now_ns = max(self.now_ns, self.clock_ns)

    def late(self, peer: bytes, message_id: bytes) -> None:
        self.duplicates += 1
        first = self.firsts.get(message_id)
        if first is None:
            return
        winner, first_ns = first
        # The grid: the epoch of the first copy and the next one.
        if self.now_ns // TTL_NS > first_ns // TTL_NS + 1 or winner == peer:
            return
        lag_ns = self.now_ns - first_ns
        assert 0 <= lag_ns < 2 * TTL_NS
        self.total[bisect_left(BOUNDS_NS, lag_ns)] += 1
        self.sum_ns += lag_ns
        self.pairs[winner, peer] += 1


class Bench:
    """A tracker and the model, driven by the same steps."""

    def __init__(self, **params) -> None:
        self.tracker = LagTracker(LagParams(is_on=True, ttl_s=TTL_NS / 1e9, **params))
        self.model = Model()
        self.observed = 0

    def step(self, what: str, peer: bytes | None, value: object) -> None:
        tracker, model = self.tracker, self.model
        now_s = model.clock_ns / 1e9
        match what:
            case "wait":
                model.wait(value)
            case "come" if peer not in tracker.firsts:
                tracker.peer_added(peer, "p", now_s)
            case "go" if peer in tracker.firsts:
                tracker.peer_removed(peer, "p", now_s)
            case "own":
                model.seen.add(value)
            case "look":
                tracker.forget_old(now_s)
                model.read_clock()
            case "copy":
                model.read_clock()
                # The seen cache decides, not the tracker.
                if value in model.seen:
                    tracker.duplicate(peer, "t", value, 100, now_s)
                    model.late(peer, value)
                else:
                    model.seen.add(value)
                    model.firsts[value] = (peer, model.now_ns)
                    tracker.first_seen(peer, "t", value, 100, now_s)

    def check_closed_books(self) -> None:
        tracker = self.tracker
        assert tracker.observed + tracker.expired + tracker.unsampled == self.model.duplicates
        assert tracker.observed >= self.observed
        self.observed = tracker.observed


@settings(max_examples=300, deadline=None)
@given(steps)
def test_without_bounds_the_tracker_says_what_the_model_says(script):
    bench = Bench()
    for step in script:
        bench.step(*step)
        bench.check_closed_books()
    tracker, model = bench.tracker, bench.model
    counts = tuple(model.total[band] for band in range(BANDS))
    assert histogram(tracker.total) == HistogramValue(counts, model.sum_ns / 1e9)
    shown = {key: value.count for key, value in tracker.pairs.shown()}
    assert all(shown[key] == model.pairs[key] for key in shown)
    assert all(peer in tracker.firsts for key in shown for peer in key)
    assert tracker.pairs.other_count == 0


@settings(max_examples=200, deadline=None)
@given(
    steps,
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([1, 2, 8]),
)
def test_within_any_bounds_the_sum_closes_and_no_table_outgrows_its_limit(
    script, pair_limit: int, peer_limit: int, message_limit: int, rate: int
):
    bench = Bench(pair_limit=pair_limit, peer_limit=peer_limit, message_limit=message_limit, sample_rate=rate)
    tracker = bench.tracker
    before: dict[tuple[str, tuple[str, ...]], HistogramValue] = {}
    for step in script:
        bench.step(*step)
        bench.check_closed_books()
        assert len(tracker.pairs) <= pair_limit
        assert len(tracker.winners) <= peer_limit
        assert len(tracker.losers) <= peer_limit
        assert tracker.remembered <= 2 * message_limit
        after = page(tracker)
        # A series that is on two successive pages falls in no band.
        for series in before.keys() & after.keys():
            pairs = zip(before[series].counts, after[series].counts, strict=True)
            assert all(was <= now for was, now in pairs), series
            assert before[series].sum <= after[series].sum
        before = after


def page(tracker: LagTracker) -> dict[tuple[str, tuple[str, ...]], HistogramValue]:
    source = LagSource({0: tracker}, has_pairs=True, clock=lambda: 0.0)
    families = fold(source.families, source.read(), {})
    return {
        (spec.name, labels): value
        for spec, series in families.items()
        for labels, value in series.items()
        if isinstance(value, HistogramValue)
    }
