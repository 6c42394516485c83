"""The writer's face of the cells: lookups, bounds, releases and copies within one process."""

import gc
import threading

import pytest
from leanmesh.errors import LocalError
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import CounterSpec, GaugeSpec, HistogramSpec

MESSAGES = CounterSpec("test_messages_total", "Messages.", labels=("topic",))
ERRORS = CounterSpec("test_errors_total", "Errors.")
PEERS = GaugeSpec("test_peers", "Peers.", labels=("topic",))
LATENESS = HistogramSpec(
    "test_lateness_seconds", "Lateness.", labels=("loop",), resolution=1e-6, bounds=(0.001, 0.01)
)


def families(cells: Cells) -> dict[str, dict[tuple[str, ...], object]]:
    return {spec.name: dict(values) for spec, values in cells.copy().families()}


def first_sequence(cells: Cells) -> int:
    """The index of the first histogram's sequence word."""
    return cells.copy().layout.groups[0]


def test_every_kind_is_copied_as_it_was_stored():
    cells = Cells.anonymous()
    cells.words[cells.counter(MESSAGES, "blocks")] += 3
    cells.add(cells.counter(MESSAGES, "votes"), 2**63)
    cells.signed_words[cells.gauge(PEERS, "blocks")] = -4
    cells.words[cells.counter(ERRORS)] += 1
    lateness = cells.histogram(LATENESS, "main")
    for value in (-7, 1000, 1001, 10_000, 10_001):
        lateness.observe(value)
    assert families(cells) == {
        "test_messages_total": {("blocks",): 3, ("votes",): 2**63},
        "test_peers": {("blocks",): -4},
        "test_errors_total": {(): 1},
        "test_lateness_seconds": {("main",): ((2, 2, 1), 21_995)},
    }


def test_one_label_set_is_one_cell():
    cells = Cells.anonymous()
    assert cells.counter(MESSAGES, "blocks") == cells.counter(MESSAGES, "blocks")
    assert cells.counter(MESSAGES, "blocks") != cells.counter(MESSAGES, "votes")
    assert cells.histogram(LATENESS, "main") is cells.histogram(LATENESS, "main")


def test_an_equal_description_is_the_same_family_and_another_is_an_error():
    cells = Cells.anonymous()
    index = cells.counter(MESSAGES, "blocks")
    assert cells.counter(CounterSpec(MESSAGES.name, MESSAGES.help, labels=("topic",)), "blocks") == index
    with pytest.raises(LocalError, match="test_messages_total is already a family of another shape"):
        cells.counter(CounterSpec(MESSAGES.name, "Other help.", labels=("topic",)), "blocks")


@pytest.mark.parametrize("values", [(), ("a", "b"), (3,), (b"a",), (None,)])
def test_label_values_must_be_one_text_for_each_label(values):
    cells = Cells.anonymous()
    with pytest.raises(LocalError, match=r"test_messages_total has the labels \('topic',\)"):
        cells.counter(MESSAGES, *values)
    with pytest.raises(LocalError, match="test_lateness_seconds"):
        cells.histogram(LATENESS, *values)
    assert families(cells) == {}


def test_bounds_that_meet_within_the_resolution_are_refused():
    spec = HistogramSpec("test_seconds", "Too fine.", resolution=1e-3, bounds=(0.0001, 0.0002))
    with pytest.raises(LocalError, match=r"resolution 0\.001"):
        Cells.anonymous().histogram(spec)


@pytest.mark.parametrize("capacity", [0, -1, 2**24 + 1, 2**64])
def test_a_capacity_out_of_range_is_refused(capacity):
    with pytest.raises(LocalError, match="16777216"):
        Cells.anonymous(capacity)


def test_a_value_that_no_cell_holds_is_an_error_and_changes_nothing():
    cells = Cells.anonymous()
    lateness = cells.histogram(LATENESS, "main")
    lateness.observe(5)
    with pytest.raises(OverflowError):
        lateness.observe(2**63)
    assert families(cells)["test_lateness_seconds"] == {("main",): ((1, 0, 0), 5)}


@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram"])
def test_label_sets_beyond_the_limit_are_counted_under_other(kind):
    cells = Cells.anonymous()
    specs = {
        "counter": CounterSpec("test_total", "", labels=("a", "b"), series_limit=2),
        "gauge": GaugeSpec("test", "", labels=("a", "b"), series_limit=2),
        "histogram": HistogramSpec("test", "", labels=("a", "b"), series_limit=2, bounds=(1.0,)),
    }
    spec = specs[kind]
    for name in ("x", "y", "z", "z", "w"):
        if kind == "histogram":
            cells.histogram(spec, name, "1").observe(1)
        else:
            cells.words[getattr(cells, kind)(spec, name, "1")] += 1
    one, three = (((1, 0), 1), ((3, 0), 3)) if kind == "histogram" else (1, 3)
    assert families(cells)[spec.name] == {("x", "1"): one, ("y", "1"): one, ("other", "other"): three}
    assert cells.dropped() == {spec.name: 3}


def test_a_label_set_that_ends_makes_room_for_another():
    cells = Cells.anonymous()
    spec = CounterSpec("test_total", "", labels=("a",), series_limit=1)
    first = cells.counter(spec, "x")
    assert cells.counter(spec, "y") == cells.counter(spec, "other")
    assert cells.release(spec, "x")
    assert cells.counter(spec, "y") not in (first, cells.counter(spec, "other"))
    assert not cells.release(spec, "other")
    assert cells.dropped() == {"test_total": 1}


def test_a_label_value_that_is_too_long_is_counted_under_other():
    cells = Cells.anonymous()
    cells.words[cells.counter(MESSAGES, "t" * 1024)] += 1
    cells.words[cells.counter(MESSAGES, "t" * 1025)] += 1
    assert families(cells)[MESSAGES.name] == {("t" * 1024,): 1, ("other",): 1}


@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 9, 17, 40])
def test_a_full_block_counts_what_it_turned_away_and_nothing_breaks(capacity):
    cells = Cells.anonymous(capacity)
    stored = 100
    for number in range(stored):
        cells.words[cells.counter(MESSAGES, str(number))] += 1
        cells.histogram(LATENESS, str(number)).observe(7)
        cells.words[cells.counter(ERRORS)] += 1
        cells.words[cells.gauge(PEERS, str(number))] = 1
    values = families(cells)
    own = {labels for labels in values.get(MESSAGES.name, {}) if labels != ("other",)}
    assert cells.dropped()[MESSAGES.name] == stored - len(own)
    if ("other",) in values.get(MESSAGES.name, {}):
        assert sum(values[MESSAGES.name].values()) == stored
    for counts, total in values.get(LATENESS.name, {}).values():
        assert sum(counts) * 7 == total
    assert cells.copy().layout.word_count <= capacity


def test_a_full_block_still_has_the_place_of_other():
    cells = Cells.anonymous(capacity=12)
    spec = CounterSpec("test_total", "", labels=("a",))
    for number in range(100):
        cells.words[cells.counter(spec, str(number))] += 1
    values = families(cells)["test_total"]
    assert sum(values.values()) == 100
    assert values["other",] == 100 - (len(values) - 1)


def test_names_without_room_are_counted_under_other():
    # 40 words have 5 KiB for their names.
    cells = Cells.anonymous(capacity=40)
    for number in range(20):
        cells.words[cells.counter(MESSAGES, str(number) + "x" * 900)] += 1
    values = families(cells)[MESSAGES.name]
    assert sum(values.values()) == 20
    assert values["other",] == cells.dropped()[MESSAGES.name] > 10


def test_names_without_room_leave_room_for_other_families():
    cells = Cells.anonymous(capacity=40)
    for number in range(200):
        cells.counter(MESSAGES, str(number) + "x" * 900)
    cells.words[cells.counter(ERRORS)] += 1
    cells.signed_words[cells.gauge(PEERS, "blocks" * 100)] += 2
    values = families(cells)
    assert (values[ERRORS.name], values[PEERS.name]) == ({(): 1}, {("other",): 2})
    assert cells.dropped()[PEERS.name] == 1


def test_who_asks_for_other_is_not_turned_away():
    cells = Cells.anonymous()
    cells.words[cells.counter(MESSAGES, "other")] += 1
    assert families(cells) == {MESSAGES.name: {("other",): 1}}
    assert cells.dropped() == {}


def test_a_released_label_set_is_in_no_later_copy_and_touches_nothing_else():
    cells = Cells.anonymous()
    blocks = cells.counter(MESSAGES, "blocks")
    cells.words[blocks] += 1
    cells.words[cells.counter(MESSAGES, "votes")] += 2
    cells.histogram(LATENESS, "main").observe(1)
    before = cells.copy()
    assert cells.release(MESSAGES, "blocks")
    assert cells.release(LATENESS, "main")
    assert not cells.release(MESSAGES, "blocks")
    assert not cells.release(PEERS, "never")
    assert families(cells) == {MESSAGES.name: {("votes",): 2}}
    assert before.value(MESSAGES, "blocks") == 1
    assert before.value(LATENESS, "main") == ((1, 0, 0), 1)


def test_a_label_set_that_comes_back_starts_from_zero():
    cells = Cells.anonymous()
    cells.words[cells.counter(MESSAGES, "blocks")] += 5
    cells.histogram(LATENESS, "main").observe(1)
    for _ in range(5):
        cells.release(MESSAGES, "blocks")
        cells.release(LATENESS, "main")
        for _ in range(3):
            cells.copy()
        index, lateness = cells.counter(MESSAGES, "blocks"), cells.histogram(LATENESS, "main")
        assert families(cells) == {
            MESSAGES.name: {("blocks",): 0},
            LATENESS.name: {("main",): ((0, 0, 0), 0)},
        }
        cells.words[index] += 5
        lateness.observe(3)


def test_a_freed_cell_waits_two_copies_before_it_is_used_again():
    cells = Cells.anonymous()
    freed = cells.counter(MESSAGES, "a")
    cells.release(MESSAGES, "a")
    cells.copy()
    assert cells.counter(MESSAGES, "b") != freed
    cells.copy()
    assert cells.counter(MESSAGES, "c") == freed


def test_a_late_store_is_noticed_and_its_cell_is_never_used_again():
    cells = Cells.anonymous()
    late = cells.counter(MESSAGES, "a")
    cells.release(MESSAGES, "a")
    cells.words[late] += 1
    for _ in range(5):
        cells.copy()
    assert late not in {cells.counter(MESSAGES, str(number)) for number in range(50)}
    assert cells.late_writes == 1
    assert set(families(cells)[MESSAGES.name].values()) == {0}


def test_a_late_observation_goes_nowhere():
    cells = Cells.anonymous()
    late = cells.histogram(LATENESS, "a")
    cells.release(LATENESS, "a")
    late.observe(5)
    fresh = cells.histogram(LATENESS, "b")
    late.observe(5)
    fresh.observe(7)
    assert families(cells) == {LATENESS.name: {("b",): ((1, 0, 0), 7)}}


def test_label_sets_that_come_and_go_for_ever_need_no_more_room():
    cells = Cells.anonymous(capacity=64)
    for number in range(5000):
        label = f"peer-{number}"
        cells.words[cells.counter(MESSAGES, label)] += number
        cells.histogram(LATENESS, label).observe(number)
        assert cells.copy().value(MESSAGES, label) == number
        cells.release(MESSAGES, label)
        cells.release(LATENESS, label)
    assert cells.dropped() == {}
    assert cells.late_writes == 0


def test_the_layout_stays_one_object_until_a_label_set_comes_or_goes():
    cells = Cells.anonymous()
    index = cells.counter(MESSAGES, "a")
    cells.gauge(PEERS, "a")
    first = cells.copy()
    cells.words[index] += 1
    assert cells.copy().layout is first.layout
    cells.counter(MESSAGES, "b")
    second = cells.copy()
    assert second.layout_version != first.layout_version
    # The other family's part is untouched, and so are all positions.
    assert second.layout.families[1] is first.layout.families[1]
    assert second.layout.families[0].positions[0] == first.layout.families[0].positions[0]
    cells.release(MESSAGES, "a")
    assert cells.copy().layout_version not in (first.layout_version, second.layout_version)


def test_positions_of_histograms_stay_while_others_come():
    cells = Cells.anonymous()
    cells.histogram(LATENESS, "a").observe(9)
    first = cells.copy()
    for number in range(40):
        cells.histogram(LATENESS, str(number)).observe(number)
    second = cells.copy()
    assert second.layout.families[0].positions[0] == first.layout.families[0].positions[0]
    assert second.value(LATENESS, "a") == first.value(LATENESS, "a") == ((1, 0, 0), 9)
    assert second.value(LATENESS, "39") == ((1, 0, 0), 39)


def test_a_copy_cannot_be_changed_and_does_not_change():
    cells = Cells.anonymous()
    index = cells.counter(MESSAGES, "a")
    copy = cells.copy()
    cells.words[index] += 1
    assert copy.value(MESSAGES, "a") == 0
    for view in (copy.words, copy.signed_words, copy.network_words):
        with pytest.raises(TypeError):
            view[0] = 1


def test_a_torn_group_keeps_the_values_of_the_copy_before_and_is_named():
    cells = Cells.anonymous()
    lateness, other = cells.histogram(LATENESS, "a"), cells.histogram(LATENESS, "b")
    lateness.observe(4)
    sequence = first_sequence(cells)
    lateness.observe(5)
    other.observe(1)
    # As a writer leaves it that stopped in the middle.
    cells.words[sequence] |= 1
    copy = cells.copy()
    assert copy.torn == ((LATENESS.name, ("a",)),)
    assert copy.value(LATENESS, "a") == ((1, 0, 0), 4)
    assert copy.value(LATENESS, "b") == ((1, 0, 0), 1)
    lateness.observe(1)
    assert cells.observations_refused == 1
    cells.words[sequence] += 1
    assert cells.copy().torn == ()
    assert cells.copy().value(LATENESS, "a") == ((2, 0, 0), 9)


def test_a_group_that_was_never_whole_reads_zero_and_is_named():
    cells = Cells.anonymous()
    # Where groups lie depends on the capacity only: found in cells that are copied.
    like = Cells.anonymous()
    like.histogram(LATENESS, "a")
    cells.histogram(LATENESS, "a").observe(4)
    cells.words[first_sequence(like)] |= 1
    for _ in range(2):
        copy = cells.copy()
        assert copy.torn == ((LATENESS.name, ("a",)),)
        assert copy.value(LATENESS, "a") == ((0, 0, 0), 0)
        assert copy.never_whole == {copy.layout.families[0].positions[0]}


def test_observations_from_threads_are_all_counted_or_refused():
    cells = Cells.anonymous()
    lateness = cells.histogram(LATENESS, "a")
    copies = []

    def observe():
        for _ in range(5000):
            lateness.observe(2)

    threads = [threading.Thread(target=observe) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        copies.append(cells.copy().value(LATENESS, "a"))
    copies.append(cells.copy().value(LATENESS, "a"))
    assert all(sum(counts) * 2 == total for counts, total in copies)
    assert copies == sorted(copies)
    assert sum(copies[-1][0]) + cells.observations_refused == 15_000


def test_label_sets_may_come_and_go_in_threads_while_copies_are_taken():
    cells = Cells.anonymous()
    stayed = cells.counter(MESSAGES, "stays")
    cells.words[stayed] = 7
    wrong = []

    def churn(name: str):
        for number in range(300):
            label = f"{name}-{number}"
            cells.words[cells.counter(MESSAGES, label)] += 1
            cells.histogram(LATENESS, label).observe(1)
            cells.release(MESSAGES, label)
            cells.release(LATENESS, label)

    threads = [threading.Thread(target=churn, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        copy = cells.copy()
        values = [value for _, series in copy.families() for _, value in series]
        if copy.value(MESSAGES, "stays") != 7 or not set(values) <= {0, 1, 7, ((0, 0, 0), 0), ((1, 0, 0), 1)}:
            wrong.append(values)
    for thread in threads:
        thread.join()
    assert wrong == []
    assert families(cells) == {MESSAGES.name: {("stays",): 7}}


def test_who_still_holds_a_cell_may_store_after_the_cells_are_gone():
    cells = Cells.anonymous()
    index, words, lateness = cells.counter(ERRORS), cells.words, cells.histogram(LATENESS, "a")
    cells.close()
    del cells
    gc.collect()
    words[index] += 1
    assert (words[index], lateness.observe(5)) == (1, 0)


def test_two_lives_have_different_incarnations():
    assert Cells.anonymous(8).incarnation != Cells.anonymous(8).incarnation
