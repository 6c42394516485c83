"""What a label set counted until it ended reaches every reader, however late it looks."""

import pytest
from leanmesh.metrics.cells import Cells, CellsReader, CellsUnreadable
from leanmesh.metrics.family import CounterSpec, GaugeSpec, HistogramSpec

COUNTER = CounterSpec("test_total", "Counter.", labels=("a",), series_limit=1000)
GAUGE = GaugeSpec("test_gauge", "Gauge.", labels=("a",))
HISTOGRAM = HistogramSpec("test_bytes", "Histogram.", labels=("a",), bounds=(10.0, 20.0))


def ended_of(reader: CellsReader) -> dict[tuple[str, str], object]:
    return {(series.spec.name, series.label_values[0]): series.last_words for series in reader.copy().ended}


def test_the_copy_after_an_end_has_the_last_values_and_the_one_after_that_has_not():
    cells = Cells.anonymous(capacity=256)
    reader = CellsReader(cells.block)
    index, histogram = cells.counter(COUNTER, "x"), cells.histogram(HISTOGRAM, "x")
    cells.signed_words[cells.gauge(GAUGE, "x")] = 3
    cells.words[index] = 5
    reader.copy()
    cells.words[index] += 2**63
    for value in (10, 11, -50):
        histogram.observe(value)
    for spec in (COUNTER, GAUGE, HISTOGRAM):
        assert cells.release(spec, "x")
    histogram.observe(1)

    assert ended_of(reader) == {
        ("test_total", "x"): (2**63 + 5,),
        ("test_bytes", "x"): (2, 1, 0, 2**64 - 29),
    }
    assert ended_of(reader) == {}


def test_who_came_and_went_between_two_copies_is_told_too():
    cells = Cells.anonymous(capacity=256)
    reader = CellsReader(cells.block)
    for count in (1, 2):
        cells.words[cells.counter(COUNTER, "x")] = count
        cells.release(COUNTER, "x")
    cells.words[cells.counter(COUNTER, "x")] = 3

    copy = reader.copy()

    assert [series.last_words for series in copy.ended] == [(1,), (2,)]
    assert copy.value(COUNTER, "x") == 3


def churn(cells: Cells, first: int, last: int) -> None:
    """Label sets that come, count their own number, and go."""
    for number in range(first, last):
        cells.words[cells.counter(COUNTER, str(number))] = number
        cells.release(COUNTER, str(number))
        cells.copy()


def test_ends_are_repeated_when_the_log_is_written_anew():
    cells = Cells.anonymous(capacity=256)
    reader = CellsReader(cells.block)
    cells.words[cells.counter(COUNTER, "stays")] = 1
    told: dict[str, int] = {}
    step = 10
    for first in range(1, 3000, step):
        churn(cells, first, first + step)
        copy = reader.copy()
        for series in copy.ended:
            assert series.label_values[0] not in told
            told[series.label_values[0]] = series.last_words[0]
        assert copy.value(COUNTER, "stays") == 1

    # The log had to be written anew many times: each record takes about 20 bytes of 32 KiB.
    assert told == {str(number): number for number in range(1, 3001)}


def test_a_total_that_is_kept_elsewhere_leaves_nothing_also_when_the_log_is_written_anew():
    cells = Cells.anonymous(capacity=256)
    reader = CellsReader(cells.block)
    cells.words[cells.counter(COUNTER, "early")] = 7
    number = 0
    almost_full_bytes = cells.block.names_area_bytes * 7 // 8 - 200
    while cells.block.head.names < almost_full_bytes:
        churn(cells, number, number := number + 1)
    reader.copy()
    cells.release(COUNTER, "early", leaves_counts=False)
    while cells.block.head.names >> 32 == 0:
        churn(cells, number, number := number + 1)

    assert ended_of(reader)["test_total", "early"] == ()


def test_who_looks_too_late_for_an_end_has_the_values_of_the_copy_before():
    cells = Cells.anonymous(capacity=256)
    reader = CellsReader(cells.block)
    index = cells.counter(COUNTER, "early")
    cells.words[index] = 7
    reader.copy()
    cells.words[index] = 8
    cells.release(COUNTER, "early")
    churn(cells, 0, 5000)

    assert ended_of(reader)["test_total", "early"] == (7,)


@pytest.mark.parametrize("last", [b"[1,2]", b'["1"]', b"[-1]", b"[18446744073709551616]", b"1"])
def test_an_end_with_values_that_are_none_is_unreadable(last):
    cells = Cells.anonymous(capacity=256)
    cells.counter(COUNTER, "x")
    reader = CellsReader(cells.block)
    reader.copy()
    head = cells.block.head
    record = b"[1," + last + b"]\n"
    cells.block.write_names(0, head.names, record)
    head.names += len(record)

    with pytest.raises(CellsUnreadable, match="test_total ended with"):
        reader.copy()
