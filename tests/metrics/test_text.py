"""Texts of the exposition formats, against prometheus_client's own."""

import math

import pytest
from exposition import read_page
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.metrics.family import CounterSpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.sample import Family, HistogramValue, Series
from leanmesh.metrics.snapshot import encode_family
from leanmesh.metrics.text import bound_text, number_text, sample_names
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.utils import floatToGoString

PEER = GaugeSpec("test_peer", 'A "quoted" \\ help\nof two lines.', labels=("name", "agent"))

# Whatever a peer may send as its agent version: no surrogates, which UTF-8 cannot carry.
label_values = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ['say "hi"', "back\\slash", "two\nlines", "ends in \\", 'brace}" 5', "größer ☃", "\r\x00\x85\u2028", ""]
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (4242, "4242"),
        (4242.0, "4242"),
        (True, "1"),
        (-3, "-3"),
        (-0.5, "-0.5"),
        (0.0024, "0.0024"),
        (0.00005, "5e-05"),
        (2**64 - 1, "18446744073709551615"),
        (1e16, "1e+16"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_one_value_has_one_text(value: float, text: str):
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (0.00005, "5e-05"),
        (0.0025, "0.0025"),
        (1, "1.0"),
        (512, "512.0"),
        (999_999, "999999.0"),
        (1_000_000, "1e+06"),
        (1_048_576, "1.048576e+06"),
        (5_000_000, "5e+06"),
        (12_345_678.5, "1.23456785e+07"),
        (1e10, "1e+10"),
        (1e16, "1e+16"),
        (math.inf, "+Inf"),
    ],
)
def test_bounds_are_written_as_go_writes_them(bound: float, text: str):
    assert bound_text(bound) == text
    assert float(text) == bound


@given(st.floats(min_value=1e-9, max_value=1e9))
def test_bounds_have_the_text_that_prometheus_client_gives_them(bound: float):
    assert bound_text(bound) == floatToGoString(bound)


@given(st.floats())
def test_a_number_reads_back_as_itself(value: float):
    assert float(number_text(value)) == value or math.isnan(value)


@given(label_values, label_values)
def test_both_parsers_return_label_values_unchanged(name: str, agent: str):
    encoded = encode_family(Family(PEER, (Series((name, agent), 7),)), with_created=False)

    in_text = [sample for family in parse_text(encoded.text.decode()) for sample in family.samples]
    in_openmetrics = [
        sample
        for family in parse_openmetrics((encoded.openmetrics + b"# EOF\n").decode())
        for sample in family.samples
    ]

    expected = ("test_peer", {"name": name, "agent": agent}, 7.0)
    assert [sample[:3] for sample in in_text] == [expected]
    assert [sample[:3] for sample in in_openmetrics] == [expected]
    assert read_page(encoded.text, is_openmetrics=False).value("test_peer", name=name, agent=agent) == 7


def test_both_parsers_return_the_help_unchanged():
    encoded = encode_family(Family(PEER, (Series(("a", "b"), 7),)), with_created=False)

    (in_text,) = parse_text(encoded.text.decode())
    (in_openmetrics,) = parse_openmetrics((encoded.openmetrics + b"# EOF\n").decode())

    assert in_text.documentation == PEER.help
    assert in_openmetrics.documentation == PEER.help


def test_a_lone_surrogate_does_not_break_the_page():
    encoded = encode_family(Family(PEER, (Series(("\udc80x", "b"), 7),)), with_created=False)

    assert b'test_peer{name="?x",agent="b"} 7\n' in encoded.text


def test_a_counter_drops_total_from_its_header_in_openmetrics_only():
    spec = CounterSpec("test_messages_total", "Messages.")
    encoded = encode_family(Family(spec, (Series((), 5),)), with_created=False)

    assert encoded.text == (
        b"# HELP test_messages_total Messages.\n# TYPE test_messages_total counter\ntest_messages_total 5\n"
    )
    assert encoded.openmetrics == (
        b"# HELP test_messages Messages.\n# TYPE test_messages counter\ntest_messages_total 5\n"
    )


def test_a_histogram_adds_up_its_bands():
    spec = HistogramSpec("test_seconds", "Time.", labels=("topic",), bounds=(0.00005, 1.0))
    value = HistogramValue((2, 0, 3), 12.25)
    encoded = encode_family(Family(spec, (Series(("a",), value, 1000.5),)), with_created=True)

    assert encoded.lines.decode().splitlines() == [
        'test_seconds_bucket{topic="a",le="5e-05"} 2',
        'test_seconds_bucket{topic="a",le="1.0"} 2',
        'test_seconds_bucket{topic="a",le="+Inf"} 5',
        'test_seconds_count{topic="a"} 5',
        'test_seconds_sum{topic="a"} 12.25',
    ]
    assert encoded.openmetrics_lines == encoded.lines + b'test_seconds_created{topic="a"} 1000.5\n'


def test_a_family_answers_to_its_own_name_and_to_those_of_its_samples():
    assert sample_names(CounterSpec("a_total", "A.")) == ("a_total", "a", "a_created")
    assert sample_names(GaugeSpec("b", "B.")) == ("b",)
    assert sample_names(HistogramSpec("c", "C.", bounds=(1.0,))) == (
        "c",
        "c_bucket",
        "c_count",
        "c_sum",
        "c_created",
    )
