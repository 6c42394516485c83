"""Sources: samples become families; one that is wrong fails as a whole."""

import logging

import pytest
from leanmesh.errors import LocalError
from leanmesh.metrics.family import CounterSpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.sample import Family, HistogramValue, Sample, Series
from leanmesh.metrics.sources import Sources

BYTES = GaugeSpec("test_bytes", "Bytes.", labels=("peer",))
LIMITED = CounterSpec("test_limited_total", "At most two.", labels=("a", "b"), series_limit=2)
TIME = HistogramSpec("test_seconds", "Time.", bounds=(1.0, 2.0))


@pytest.fixture
def sources() -> Sources:
    return Sources()


def test_two_connections_under_one_key_are_one_series(sources: Sources):
    sources.add("connections", [BYTES], lambda: [Sample(BYTES, ("key",), 10), Sample(BYTES, ("key",), 5)])

    assert sources.read(set(), 7.0) == [Family(BYTES, (Series(("key",), 15, 7.0),))]


def test_histograms_of_one_label_set_are_added_up(sources: Sources):
    value = HistogramValue((1, 0, 2), 8.5)
    sources.add("times", [TIME], lambda: [Sample(TIME, (), value), Sample(TIME, (), value)])

    assert sources.read(set(), 0.0) == [Family(TIME, (Series((), HistogramValue((2, 0, 4), 17.0)),))]


def test_label_sets_beyond_the_bound_go_under_other_and_are_counted(sources: Sources):
    samples = [Sample(LIMITED, (str(i), "x"), i) for i in range(5)]
    sources.add("many", [LIMITED], lambda: samples)

    (family,) = sources.read(set(), 0.0)

    assert {series.labels: series.value for series in family.series} == {
        ("0", "x"): 0,
        ("1", "x"): 1,
        ("other", "other"): 9,
    }
    assert sources.dropped == {"test_limited_total": 3}


def test_a_source_that_folds_by_itself_keeps_its_bound_besides_other(sources: Sources):
    samples = [Sample(LIMITED, labels, 1) for labels in (("other", "other"), ("0", "x"), ("1", "x"))]
    sources.add("folded", [LIMITED], lambda: samples)

    (family,) = sources.read(set(), 0.0)

    assert {series.labels for series in family.series} == {("other", "other"), ("0", "x"), ("1", "x")}
    assert sources.dropped == {}


def test_a_family_without_samples_is_not_there(sources: Sources):
    sources.add("quiet", [BYTES], list)

    assert sources.read(set(), 0.0) == []


def test_series_keep_the_time_at_which_they_were_first_seen(sources: Sources):
    peers = ["a"]
    sources.add("peers", [BYTES], lambda: [Sample(BYTES, (peer,), 1) for peer in peers])

    sources.read(set(), 100.0)
    peers.append("b")
    (family,) = sources.read(set(), 200.0)
    peers.remove("a")
    sources.read(set(), 300.0)
    peers.append("a")
    (again,) = sources.read(set(), 400.0)

    assert [(series.labels, series.created_unix_s) for series in family.series] == [
        (("a",), 100.0),
        (("b",), 200.0),
    ]
    assert [(series.labels, series.created_unix_s) for series in again.series] == [
        (("b",), 200.0),
        (("a",), 400.0),
    ]


@pytest.mark.parametrize(
    "sample",
    [
        Sample(LIMITED, ("a", "b"), 1),
        Sample(BYTES, (), 1),
        Sample(BYTES, ("a",), HistogramValue((1,), 1.0)),
        Sample(TIME, (), 1.0),
        Sample(TIME, (), HistogramValue((1, 2), 3.0)),
    ],
    ids=["not declared", "labels missing", "no number", "no histogram", "too few bands"],
)
def test_a_sample_that_does_not_fit_fails_its_source(
    sources: Sources, sample: Sample, caplog: pytest.LogCaptureFixture
):
    sources.add("wrong", [BYTES, TIME], lambda: [sample])

    with caplog.at_level(logging.CRITICAL):
        assert sources.read(set(), 0.0) is None

    assert sources.errors.counts == {"wrong": 1}


def test_every_source_is_asked_even_when_one_failed(sources: Sources, caplog: pytest.LogCaptureFixture):
    sources.add("one", [BYTES], lambda: 1 / 0)
    sources.add("two", [TIME], lambda: 1 / 0)

    with caplog.at_level(logging.CRITICAL):
        sources.read(set(), 0.0)

    assert sources.errors.counts == {"one": 1, "two": 1}


def test_a_source_cannot_show_a_family_that_has_cells(sources: Sources, caplog: pytest.LogCaptureFixture):
    sources.add("doubled", [BYTES], lambda: [Sample(BYTES, ("a",), 1)])

    with caplog.at_level(logging.CRITICAL):
        assert sources.read({"test_bytes"}, 0.0) is None

    assert sources.errors.counts == {"doubled": 1}


def test_names_of_sources_and_families_are_taken_once(sources: Sources):
    handle = sources.add("one", [BYTES], list)

    with pytest.raises(LocalError, match="a source named 'one' was added already"):
        sources.add("one", [TIME], list)
    with pytest.raises(LocalError, match="other sources own the families"):
        sources.add("two", [BYTES], list)

    handle.remove()
    sources.add("two", [BYTES], list)
