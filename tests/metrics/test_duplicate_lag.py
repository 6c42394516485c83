"""The tracker of duplicate lag: who was first, by how much the others were late, and what is left out."""

import os
import subprocess
import sys

import pytest
from leanmesh.errors import LocalError
from leanmesh.identity.peer_id import PeerId
from leanmesh.metrics.duplicate_lag import LagTracker
from leanmesh.metrics.duplicate_lag_source import LagSource
from leanmesh.metrics.duplicate_lag_tallies import BANDS, histogram, quantile_s
from leanmesh.metrics.params import LagParams
from leanmesh.metrics.sample import HistogramValue, fold
from leanmesh.metrics.sampling import shared_environment


def peer(number: int) -> PeerId:
    return PeerId(b"\x00\x24" + number.to_bytes(36, "big"))


A, B, C = peer(1), peer(2), peer(3)


class Tracked:
    """A tracker and the fewest words to drive it."""

    def __init__(self, peers=(A, B, C), **params) -> None:
        self.tracker = LagTracker(LagParams(is_on=True, **params))
        for each in peers:
            self.come(each)

    def come(self, who: PeerId) -> None:
        self.tracker.peer_added(who, "/meshsub/1.2.0", 0.0)

    def go(self, who: PeerId) -> None:
        self.tracker.peer_removed(who, "/meshsub/1.2.0", 0.0)

    def first(self, who: PeerId, message_id: bytes, now_s: float) -> None:
        self.tracker.first_seen(who, "t", message_id, 1000, now_s)

    def late(self, who: PeerId, message_id: bytes, now_s: float) -> None:
        self.tracker.duplicate(who, "t", message_id, 1000, now_s)

    @property
    def pairs(self) -> dict[tuple[PeerId, ...], int]:
        return {key: value.count for key, value in self.tracker.pairs.shown()}

    def families(self, *, has_pairs: bool = True) -> dict[str, dict[tuple[str, ...], object]]:
        source = LagSource({0: self.tracker}, has_pairs, clock=lambda: 0.0)
        dropped: dict[str, int] = {}
        values = fold(source.families, source.read(), dropped)
        assert dropped == {}
        return {spec.name: series for spec, series in values.items() if series}


def bands(*at: int) -> tuple[int, ...]:
    return tuple(at.count(band) for band in range(BANDS))


# Bands.


@pytest.mark.parametrize(
    ("lag_us", "band"),
    [(0, 0), (50, 0), (51, 1), (2400, 5), (2500, 5), (2501, 6), (500_000, 12), (500_001, 13)],
)
def test_a_lag_falls_into_the_band_up_to_its_bound(lag_us: int, band: int):
    lag = Tracked()
    # A time of day at which floats are coarse.
    lag.first(A, b"m", 987_654.25)
    lag.late(B, b"m", 987_654.25 + lag_us / 1e6)
    expected = HistogramValue(bands(band), lag_us / 1e6)
    assert dict(lag.tracker.pairs.shown()) == {(A, B): expected}
    assert histogram(lag.tracker.total) == expected
    assert dict(lag.tracker.winners.shown()) == {(A,): expected}
    assert dict(lag.tracker.losers.shown()) == {(B,): expected}


def test_beyond_the_last_bound_there_is_only_infinity():
    lag = Tracked(ttl_s=10.0)
    lag.first(A, b"m", 5.0)
    lag.late(B, b"m", 7.0)
    assert dict(lag.tracker.pairs.shown()) == {(A, B): HistogramValue(bands(13), 2.0)}


def test_a_quantile_lies_where_its_band_lies_evenly_spread():
    # Four copies up to 50 us, two from 1 to 2.5 ms.
    value = HistogramValue(bands(0, 0, 0, 0, 5, 5), 0.0)
    assert quantile_s(value, 0.25) == pytest.approx(0.00001875)
    assert quantile_s(value, 0.75) == pytest.approx(0.001 + 0.25 * 0.0015)
    assert quantile_s(value, 1.0) == pytest.approx(0.0025)
    assert quantile_s(HistogramValue(bands(13), 2.0), 0.5) == 0.5
    assert quantile_s(HistogramValue(bands(), 0.0), 0.5) is None


# Pairs.


def test_a_third_copy_is_compared_with_the_first():
    lag = Tracked()
    lag.first(A, b"m", 1.0)
    lag.late(B, b"m", 1.001)
    lag.late(C, b"m", 1.003)
    assert dict(lag.tracker.pairs.shown()) == {
        (A, B): HistogramValue(bands(4), 0.001),
        (A, C): HistogramValue(bands(6), 0.003),
    }


def test_a_second_copy_of_the_winner_is_no_race():
    lag = Tracked()
    lag.first(A, b"m", 1.0)
    lag.late(A, b"m", 1.1)
    assert lag.pairs == {}
    assert (lag.tracker.observed, lag.tracker.expired) == (0, 1)


def test_a_loser_that_sends_twice_has_lost_twice():
    lag = Tracked()
    lag.first(A, b"m", 1.0)
    lag.late(B, b"m", 1.1)
    lag.late(B, b"m", 1.2)
    assert lag.pairs == {(A, B): 2}


def test_a_copy_of_our_own_message_is_no_race_and_wins_nothing():
    lag = Tracked()
    lag.tracker.published("t", b"m", 1000, [A, B], 1.0)
    lag.late(A, b"m", 1.1)
    lag.late(B, b"m", 1.2)
    assert lag.pairs == {}
    assert (lag.tracker.observed, lag.tracker.expired) == (0, 2)


def test_firsts_are_counted_for_the_peers_that_are_here():
    lag = Tracked(peers=(A, B))
    for number in range(3):
        lag.first(A, b"%d" % number, 1.0)
    lag.first(C, b"c", 1.0)
    assert lag.tracker.firsts == {A: 3, B: 0}


# Retention.


@pytest.mark.parametrize("age_s", [0.0, 0.5, 0.999999])
@pytest.mark.parametrize("began_s", [10.0, 10.3, 10.999999])
def test_what_is_younger_than_the_ttl_always_matches(began_s: float, age_s: float):
    lag = Tracked()
    lag.first(A, b"m", began_s)
    lag.first(A, b"other", began_s + age_s / 2)
    lag.late(B, b"m", began_s + age_s)
    assert lag.pairs == {(A, B): 1}


@pytest.mark.parametrize("began_s", [10.0, 10.3, 10.999999])
@pytest.mark.parametrize("age_s", [2.0, 5.0, 1e6])
def test_what_is_twice_as_old_as_the_ttl_never_matches(began_s: float, age_s: float):
    lag = Tracked()
    lag.first(A, b"m", began_s)
    lag.late(B, b"m", began_s + age_s)
    assert lag.pairs == {}
    assert lag.tracker.expired == 1


def test_what_expired_does_not_win():
    lag = Tracked()
    lag.first(A, b"m", 10.0)
    lag.late(B, b"m", 15.0)
    lag.late(C, b"m", 15.001)
    assert lag.pairs == {}
    assert lag.tracker.expired == 2


def ids(tracker: LagTracker, *, is_sampled: bool, count: int) -> list[bytes]:
    """Ids that are in the sample, or outside, as the tracker itself decides."""
    found: list[bytes] = []
    number = 0
    while len(found) < count:
        number += 1
        message_id = b"message %d" % number
        before = tracker.unsampled
        tracker.duplicate(A, "t", message_id, 1, 0.0)
        if (tracker.unsampled == before) is is_sampled:
            found.append(message_id)
    return found


def test_a_gap_with_only_unsampled_traffic_ends_what_was_before():
    probe = Tracked(sample_rate=64)
    (sampled,) = ids(probe.tracker, is_sampled=True, count=1)
    unsampled = ids(probe.tracker, is_sampled=False, count=500)
    lag = Tracked(sample_rate=64)
    lag.first(A, sampled, 10.0)
    for step, message_id in enumerate(unsampled):
        lag.first(A, message_id, 10.0 + step / 100)
        lag.late(B, message_id, 10.0 + step / 100)
    lag.late(B, sampled, 15.0)
    assert lag.pairs == {}
    assert (lag.tracker.expired, lag.tracker.unsampled) == (1, 500)


def test_without_traffic_the_last_messages_are_let_go():
    lag = Tracked()
    lag.first(A, b"m", 10.0)
    lag.tracker.forget_old(11.5)
    assert lag.tracker.remembered == 1
    lag.tracker.forget_old(12.0)
    assert lag.tracker.remembered == 0


def test_first_copies_beyond_the_limit_are_counted_and_their_duplicates_expired():
    lag = Tracked(message_limit=2)
    for number in range(3):
        lag.first(A, b"%d" % number, 1.0)
    for number in range(3):
        lag.late(B, b"%d" % number, 1.1)
    assert lag.pairs == {(A, B): 2}
    assert (lag.tracker.untracked, lag.tracker.expired) == (1, 1)


def test_a_clock_that_steps_back_makes_no_negative_lag():
    lag = Tracked()
    lag.first(A, b"m", 10.5)
    lag.late(B, b"m", 9.0)
    lag.late(C, b"m", 10.5)
    lag.first(A, b"n", 3.0)
    lag.late(B, b"n", 10.5001)
    total = histogram(lag.tracker.total)
    assert total == HistogramValue(bands(0, 0, 1), 0.0001)


# Sampling.


@pytest.mark.parametrize("rate", [3, 0, -1, 6, 1 << 33])
def test_a_rate_that_is_no_power_of_two_fails_at_start(rate: int):
    with pytest.raises(LocalError, match=f"sample_rate must be a power of two .* not {rate}"):
        LagParams(sample_rate=rate)


def test_a_sample_takes_all_copies_of_a_message_or_none():
    lag = Tracked(sample_rate=4)
    messages = [os.urandom(20) for _ in range(2000)]
    for message_id in messages:
        lag.first(A, message_id, 1.0)
    for message_id in messages:
        lag.late(B, bytes(bytearray(message_id)), 1.1)
        lag.late(C, message_id, 1.2)
    tracker = lag.tracker
    assert tracker.expired == 0
    assert tracker.observed == 2 * tracker.firsts[A]
    assert tracker.observed + tracker.unsampled == 4000
    # 500 are to be expected; ten standard deviations are 194.
    assert 306 < tracker.firsts[A] < 694


SHOW_SAMPLE = """
from leanmesh.metrics.sampling import sampling_mask
mask = sampling_mask(8)
print([number for number in range(800) if not hash(b"%d" % number) & mask])
"""


def sample_of_a_process(seed: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    return subprocess.run(
        [sys.executable, "-c", SHOW_SAMPLE], env=environment, capture_output=True, text=True
    )


def test_processes_of_one_seed_choose_the_same_messages_and_others_do_not():
    one, same, other = (sample_of_a_process(seed).stdout for seed in ("11", "11", "12"))
    assert one == same != other
    assert one.count(",") > 40


def test_workers_share_a_key_that_their_supervisor_drew(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONHASHSEED", "random")
    shared_environment.cache_clear()
    seed = shared_environment()["PYTHONHASHSEED"]
    assert 1 <= int(seed) < 1 << 32
    assert shared_environment()["PYTHONHASHSEED"] == seed
    shared_environment.cache_clear()
    assert shared_environment()["PYTHONHASHSEED"] != seed

    monkeypatch.setenv("PYTHONHASHSEED", "77")
    shared_environment.cache_clear()
    assert shared_environment() == {"PYTHONHASHSEED": "77"}
    shared_environment.cache_clear()


def test_a_hash_without_a_secret_is_refused_for_sampling():
    refused = sample_of_a_process("0")
    assert refused.returncode == 1
    assert "PYTHONHASHSEED=0 takes its key away" in refused.stderr


# Peers that come and go.


def test_the_series_of_a_peer_that_left_end_and_the_total_stays():
    lag = Tracked()
    for number, (winner, loser) in enumerate([(A, B), (B, A), (B, C)]):
        lag.first(winner, b"%d" % number, 1.0)
        lag.late(loser, b"%d" % number, 1.001)
    lag.go(A)
    assert lag.pairs == {(B, C): 1}
    assert [key for key, _ in lag.tracker.winners.shown()] == [(B,)]
    assert [key for key, _ in lag.tracker.losers.shown()] == [(B,), (C,)]
    assert lag.tracker.observed == 3
    assert lag.tracker.pairs.other_count == 0


def test_a_pair_that_comes_back_goes_on_where_it_was():
    lag = Tracked()
    lag.first(A, b"1", 1.0)
    lag.late(B, b"1", 1.001)
    lag.go(A)
    lag.come(A)
    assert lag.pairs == {}
    lag.first(A, b"2", 2.0)
    lag.late(B, b"2", 2.001)
    assert lag.pairs == {(A, B): 2}
    assert len(lag.tracker.pairs) == 1


def test_a_race_whose_winner_has_left_counts_unseen():
    lag = Tracked()
    lag.first(A, b"1", 1.0)
    lag.late(B, b"1", 1.001)
    lag.go(A)
    lag.late(C, b"1", 1.002)
    lag.late(B, b"1", 1.002)
    assert lag.pairs == {}
    assert lag.tracker.observed == 3
    lag.come(A)
    lag.first(A, b"2", 1.1)
    lag.late(B, b"2", 1.2)
    assert lag.pairs == {(A, B): 3}


def test_a_pair_that_had_to_give_way_starts_anew():
    lag = Tracked(pair_limit=1)
    lag.first(A, b"1", 1.0)
    lag.late(B, b"1", 1.001)
    lag.go(A)
    lag.first(B, b"2", 1.0)
    lag.late(C, b"2", 1.001)
    assert lag.pairs == {(B, C): 1}
    lag.go(C)
    lag.come(A)
    lag.first(A, b"3", 1.0)
    lag.late(B, b"3", 1.001)
    assert lag.pairs == {(A, B): 1}
    assert lag.tracker.pairs.other_count == 0


def test_what_is_counted_after_a_pair_gave_way_is_under_other_and_not_lost():
    lag = Tracked(pair_limit=1)
    lag.first(A, b"1", 1.0)
    lag.late(B, b"1", 1.001)
    lag.go(A)
    lag.late(B, b"1", 1.001)
    lag.first(B, b"2", 1.0)
    lag.late(C, b"2", 1.001)
    lag.late(B, b"1", 1.001)
    assert lag.pairs == {(B, C): 1}
    assert lag.tracker.pairs.other_count == 1


@pytest.mark.parametrize("pair_limit", [1, 2])
def test_who_leaves_makes_room_for_those_under_other(pair_limit: int):
    lag = Tracked(pair_limit=pair_limit, peer_limit=1)
    lag.first(A, b"1", 1.0)
    lag.first(C, b"2", 1.0)
    lag.late(B, b"1", 1.001)
    lag.late(B, b"2", 1.001)
    assert lag.pairs == {(A, B): 1, (C, B): 1} if pair_limit == 2 else {(A, B): 1}
    assert [key for key, _ in lag.tracker.winners.shown()] == [(A,)]
    lag.go(A)
    lag.late(B, b"2", 1.001)
    assert lag.pairs == {(C, B): pair_limit}
    assert {key: value.count for key, value in lag.tracker.winners.shown()} == {(C,): 1}


def test_pairs_beyond_the_limit_are_counted_under_other():
    lag = Tracked(pair_limit=1, peer_limit=2)
    lag.first(A, b"m", 1.0)
    lag.late(B, b"m", 1.001)
    lag.late(C, b"m", 1.001)
    lag.late(C, b"m", 1.001)
    assert lag.pairs == {(A, B): 1}
    assert lag.tracker.pairs.other_count == 2
    assert {key: value.count for key, value in lag.tracker.losers.shown()} == {(B,): 1, (C,): 2}


def test_ten_thousand_peers_stay_within_the_bounds_and_the_sum_closes():
    peers = [peer(number) for number in range(10_000)]
    lag = Tracked(peers=peers)
    duplicates = 0
    seen_total = 0
    for number, loser in enumerate(peers):
        winner = peers[number * 7919 % 10_000]
        lag.first(winner, b"%d" % number, number / 1000)
        lag.late(loser, b"%d" % (number - number % 3), number / 1000)
        duplicates += 1
        if number % 100 == 0:
            lag.go(peers[number // 2])
        assert lag.tracker.observed >= seen_total
        seen_total = lag.tracker.observed
    tracker = lag.tracker
    assert len(tracker.pairs) == 1024
    assert (len(tracker.winners), len(tracker.losers)) == (256, 256)
    assert tracker.observed + tracker.expired + tracker.unsampled == duplicates
    families = lag.families()
    assert {name: len(series) for name, series in families.items()} == {
        "leanmesh_duplicate_lag_seconds": 1,
        "leanmesh_duplicate_lag_by_winner_seconds": len(list(tracker.winners.shown())) + 1,
        "leanmesh_duplicate_lag_by_loser_seconds": len(list(tracker.losers.shown())) + 1,
        "leanmesh_duplicate_lag_by_pair_seconds": len(list(tracker.pairs.shown())) + 1,
        "leanmesh_duplicate_lag_outside_total": 3,
        "leanmesh_duplicate_lag_untracked_total": 1,
    }


# The page.


def test_the_families_say_what_the_tracker_knows():
    lag = Tracked(pair_limit=1)
    lag.first(A, b"1", 1.0)
    lag.late(B, b"1", 1.0024)
    lag.late(C, b"1", 1.0001)
    lag.late(A, b"1", 1.1)
    late, later = HistogramValue(bands(5), 0.0024), HistogramValue(bands(5), 0.0024)
    families = lag.families()
    assert families.pop("leanmesh_duplicate_lag_outside_total") == {
        ("0", "other"): 1,
        ("0", "expired"): 1,
        ("0", "unsampled"): 0,
    }
    # The clock went back before C came: it stood still here.
    both = late + later
    assert families == {
        "leanmesh_duplicate_lag_seconds": {("0",): both},
        "leanmesh_duplicate_lag_by_winner_seconds": {("0", str(A)): both},
        "leanmesh_duplicate_lag_by_loser_seconds": {("0", str(B)): late, ("0", str(C)): later},
        "leanmesh_duplicate_lag_by_pair_seconds": {
            ("0", str(A), str(B)): late,
            ("0", "other", "other"): later,
        },
        "leanmesh_duplicate_lag_untracked_total": {("0",): 0},
    }


def test_a_refresh_lets_go_of_old_messages_when_there_is_no_traffic():
    lag = Tracked()
    lag.first(A, b"m", 10.0)
    list(LagSource({0: lag.tracker}, has_pairs=False, clock=lambda: 12.0).read())
    assert lag.tracker.remembered == 0


def test_pairs_are_on_the_page_only_when_asked_for():
    lag = Tracked()
    lag.first(A, b"1", 1.0)
    lag.late(B, b"1", 1.001)
    assert "leanmesh_duplicate_lag_by_pair_seconds" not in lag.families(has_pairs=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ttl_s": 0.0},
        {"ttl_s": 1e9},
        {"pair_limit": 0},
        {"pair_limit": 1025},
        {"peer_limit": 257},
        {"message_limit": 0},
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, float]):
    (name,) = wrong
    with pytest.raises(LocalError, match=name):
        LagParams(**wrong)
