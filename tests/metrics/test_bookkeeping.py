"""What went wrong is on the page: contained errors, and label sets without room."""

import logging

import pytest
from exposition import read_page
from leanmesh.contain import ContainedErrors
from leanmesh.errors import LocalError
from leanmesh.metrics.bookkeeping import add_bookkeeping
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import CounterSpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.params import MetricsParams
from leanmesh.metrics.sample import Sample
from leanmesh.metrics.snapshotter import Snapshotter

FULL = CounterSpec("test_full_total", "At most one.", labels=("peer",), series_limit=1)
ALSO_FULL = GaugeSpec("test_also_full", "At most one.", labels=("peer",), series_limit=1)
SIZES = HistogramSpec("test_sizes_bytes", "Sizes.", bounds=(10.0,))


async def test_errors_of_callables_and_label_sets_without_room_are_on_the_page(autojump_clock, caplog):
    caplog.set_level(logging.CRITICAL)
    cells, contained = Cells.anonymous(), ContainedErrors()
    snapshotter = Snapshotter(cells=cells)
    add_bookkeeping(snapshotter, contained, cells)
    snapshotter.add_source("peers", [ALSO_FULL], lambda: [Sample(ALSO_FULL, (peer,), 1) for peer in "abc"])
    for _ in range(2):
        with contained.contain("validator of blocks"):
            raise OSError("the user's validator broke")
    for peer in "abcd":
        cells.words[cells.counter(FULL, peer)] += 1

    await snapshotter.refresh()
    await snapshotter.refresh()  # What the sources themselves turned away is seen one refresh later.
    page = read_page((await snapshotter.page()).body, is_openmetrics=False)

    assert page.families["leanmesh_contained_errors_total"] == {
        ("leanmesh_contained_errors_total", (("callable", "validator of blocks"),)): 2
    }
    assert page.value("leanmesh_series_dropped_total", family="test_full_total") == 3
    assert page.value("leanmesh_series_dropped_total", family="test_also_full") == 2
    assert page.value("test_full_total", peer="other") == 3
    assert page.value("test_also_full", peer="other") == 2


async def test_what_cells_lost_is_on_the_page(autojump_clock):
    cells = Cells.anonymous(capacity=256)
    snapshotter = Snapshotter(cells=cells)
    add_bookkeeping(snapshotter, ContainedErrors(), cells)
    histogram = cells.histogram(SIZES)
    index = cells.counter(FULL, "a")
    cells.release(FULL, "a")
    cells.words[index] = 1
    await snapshotter.refresh()
    await snapshotter.refresh()
    cells.counter(FULL, "b")
    # A writer that never leaves its histogram: no reader has it whole, and nobody else gets in.
    cells.words[cells.copy().layout.groups[0]] += 1
    histogram.observe(3)

    await snapshotter.refresh()
    page = read_page((await snapshotter.page()).body, is_openmetrics=False)

    assert page.value("leanmesh_cells_late_writes_total") == 1
    assert page.value("leanmesh_observations_refused_total") == 1
    assert page.value("leanmesh_cells_torn_total", reason="busy") == 1


async def test_a_node_without_trouble_shows_no_empty_families(autojump_clock):
    snapshotter = Snapshotter()
    add_bookkeeping(snapshotter, ContainedErrors())

    await snapshotter.refresh()

    assert snapshotter.current.families == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_age_s": -1.0},
        {"wait_limit_s": float("nan")},
        {"refresh_interval_min_s": 0.0},
        {"tick_s": -0.5},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_settings_that_cannot_be_are_named(wrong: dict[str, float]):
    (name,) = wrong
    with pytest.raises(LocalError, match=name):
        MetricsParams(**wrong)
