"""The cells of workers as one page: what joins, what leaves, what is left out, and what it looks like."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from exposition import read_page
from leanmesh.errors import LocalError
from leanmesh.metrics.cells import Cells, make_memfd
from leanmesh.metrics.family import Across, CounterSpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.mesh_peers import add_mesh_peers
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.worker_cells import WorkerCells, WorkerHandle
from leanmesh.metrics.worker_metrics import add_worker_metrics

EVENTS = CounterSpec("test_events_total", "Events.", labels=("peer",), series_limit=3)
PEERS = GaugeSpec("test_peers", "Peers.", labels=("network_id",))
OLDEST = GaugeSpec("test_oldest_seconds", "Oldest.", across_workers=Across.MIN, resolution=0.001)
SIZES = HistogramSpec("test_sizes_bytes", "Sizes.", bounds=(10.0, 20.0))
OTHER_SIZES = HistogramSpec("test_sizes_bytes", "Sizes.", bounds=(10.0, 30.0))
SPECS = (EVENTS, PEERS, OLDEST, SIZES)
WORKER_LIVES = 20


class Host:
    """Workers in this process: their blocks are memfds, as those of others are."""

    def __init__(self) -> None:
        self.own = Cells.anonymous(capacity=256)
        self.workers = WorkerCells(self.own, SPECS)
        self.open: list[Cells] = []

    def start(self, name: str = "worker") -> tuple[Cells, WorkerHandle]:
        descriptor = make_memfd()
        handle = self.workers.attach(name, descriptor)
        cells = Cells.in_memfd(descriptor, capacity=256)
        os.close(descriptor)
        self.open.append(cells)
        return cells, handle

    def values(self) -> dict[str, dict[tuple[str, ...], object]]:
        return {spec.name: dict(series) for spec, series in self.workers.copy().families()}

    def events(self, peer: str = "a") -> object:
        return self.values().get("test_events_total", {}).get((peer,))


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    for worker in host.workers.workers:
        host.workers.retire(worker)
    for cells in host.open:
        cells.close()


def count(cells: Cells, number: int, peer: str = "a") -> None:
    cells.words[cells.counter(EVENTS, peer)] += number


def skipped(workers: WorkerCells) -> dict[str, int]:
    return {reason: number for reason, number in workers.skipped.items() if number}


def test_exported_is_what_was_retired_plus_the_sum_of_the_living(host):
    one, first = host.start()
    two, _ = host.start("other")
    count(one, 3)
    count(two, 4)
    count(host.own, 5)
    assert host.events() == 12

    assert host.workers.retire(first)
    assert host.events() == 12
    count(one, 100)  # Nothing is read after its death.
    assert host.events() == 12

    three, _ = host.start()
    assert host.events() == 12
    count(three, 1)
    assert host.events() == 13


def test_folding_twice_folds_once(host):
    cells, handle = host.start()
    count(cells, 3)

    assert host.workers.retire(handle)
    assert not host.workers.retire(handle)

    assert host.events() == 3
    assert host.workers.workers == ()


def test_two_lives_under_one_name_are_told_apart_even_when_they_count_the_same(host):
    for life in range(1, WORKER_LIVES):
        cells, handle = host.start("same")
        count(cells, 7)
        assert host.events() == 7 * life
        host.workers.retire(handle)
        assert host.events() == 7 * life


def test_a_block_is_added_once_whoever_attaches_it_how_often(host):
    descriptor = make_memfd()
    cells = Cells.in_memfd(descriptor, capacity=256)
    host.open.append(cells)
    count(cells, 3)
    first, again = host.workers.attach("one", descriptor), host.workers.attach("two", descriptor)
    assert host.events() == 3
    host.workers.retire(first)
    assert host.events() == 3
    host.workers.retire(again)
    assert host.events() == 3
    late = host.workers.attach("three", descriptor)
    os.close(descriptor)
    assert host.events() == 3
    host.workers.retire(late)

    assert skipped(host.workers) == {"repeated": 2}


def test_a_worker_that_ends_a_label_set_takes_nothing_from_the_others(host):
    one, _ = host.start()
    two, _ = host.start()
    count(one, 3)
    count(two, 4)
    assert host.events() == 7
    count(one, 10)
    one.release(EVENTS, "a")
    assert host.events() == 17
    count(one, 1)
    assert host.events() == 18


def test_a_label_set_leaves_when_the_last_worker_ends_it_and_returns_with_what_was_counted(host):
    one, _ = host.start()
    count(one, 3)
    assert host.events() == 3
    one.release(EVENTS, "a")
    assert "test_events_total" not in host.values()
    count(one, 2)
    assert host.events() == 5


def test_a_label_set_that_ended_and_returned_between_two_copies_never_left(host):
    one, _ = host.start()
    count(one, 3)
    serial = host.workers.copy().layout.families[0].serials[0]
    count(one, 1)
    one.release(EVENTS, "a")
    count(one, 5)

    assert host.events() == 9
    assert host.workers.copy().layout.families[0].serials[0] == serial


def test_what_the_dead_had_stays_until_a_living_worker_ends_it(host):
    one, handle = host.start()
    count(one, 3)
    host.workers.retire(handle)
    two, _ = host.start()
    count(two, 1)
    assert host.events() == 4
    two.release(EVENTS, "a")
    assert host.events() is None
    count(two, 1)
    assert host.events() == 5


def test_what_the_dead_had_leaves_too_when_a_living_worker_had_and_ended_it_between_two_copies(host):
    one, handle = host.start()
    count(one, 3)
    host.workers.retire(handle)
    assert host.events() == 3
    two, _ = host.start()
    count(two, 1)
    two.release(EVENTS, "a")
    assert host.events() is None
    count(two, 1)
    assert host.events() == 5


def test_only_so_many_label_sets_of_the_dead_are_kept_and_giving_one_up_is_counted(host):
    for number in range(EVENTS.series_limit + 2):
        cells, handle = host.start()
        count(cells, 1, peer=str(number))
        host.workers.retire(handle)

    assert list(host.values()["test_events_total"]) == [("2",), ("3",), ("4",)]
    assert skipped(host.workers) == {"forgotten": 2}
    living, _ = host.start()
    count(living, 5, peer="0")
    assert host.values()["test_events_total"] == {("0",): 5, ("2",): 1, ("3",): 1, ("4",): 1}


def test_places_are_used_again(host):
    cells, _ = host.start()
    for number in range(1000):
        cells.signed_words[cells.gauge(PEERS, str(number))] = number
        count(cells, 1, peer=str(number))
        host.workers.copy()
        assert cells.release(PEERS, str(number))
        assert cells.release(EVENTS, str(number))
        cells.copy()

    assert host.workers.copy().layout.word_count < 20


def test_gauges_follow_the_rule_of_their_family_and_leave_with_their_worker(host):
    one, first = host.start()
    two, _ = host.start()
    for cells, value, seconds in ((one, 3, -5), (two, 4, 8), (host.own, 1, 9)):
        cells.signed_words[cells.gauge(PEERS, "1")] = value
        cells.signed_words[cells.gauge(OLDEST)] = seconds
    one.signed_words[one.gauge(PEERS, "2")] = -6
    assert host.values() == {"test_peers": {("1",): 8, ("2",): -6}, "test_oldest_seconds": {(): -5}}

    host.workers.retire(first)

    assert host.values() == {"test_peers": {("1",): 5}, "test_oldest_seconds": {(): 8}}


def test_histograms_with_other_buckets_are_left_out_and_counted_and_all_else_is_exported(host):
    one, _ = host.start()
    two, second = host.start()
    for value in (5, 15, 25):
        one.histogram(SIZES).observe(value)
        two.histogram(OTHER_SIZES).observe(value)
    count(two, 4)
    assert host.values() == {"test_sizes_bytes": {(): ((1, 1, 1), 45)}, "test_events_total": {("a",): 4}}
    assert skipped(host.workers) == {"shape": 1}
    count(two, 1, peer="b")
    host.workers.retire(second)
    assert host.values()["test_sizes_bytes"] == {(): ((1, 1, 1), 45)}
    assert host.values()["test_events_total"] == {("a",): 4, ("b",): 1}
    assert skipped(host.workers) == {"shape": 1}


def test_a_family_of_another_shape_is_counted_once_for_each_life_and_taken_when_the_name_is_free(host):
    other = GaugeSpec("test_peers", "Peers.", labels=("topic",))
    one, first = host.start()
    two, _ = host.start()
    one.signed_words[one.gauge(PEERS, "1")] = 3
    for number in range(3):
        two.signed_words[two.gauge(other, str(number))] = 4
        assert host.values() == {"test_peers": {("1",): 3}}
    assert skipped(host.workers) == {"shape": 1}
    host.workers.retire(first)
    three, _ = host.start()
    three.signed_words[three.gauge(other, "0")] = 5

    assert host.values() == {"test_peers": {("0",): 5}}


def test_the_supervisors_own_cells_are_used_again_after_their_copies(host):
    for number in range(1000):
        count(host.own, 1, peer=str(number))
        assert host.events(str(number)) == 1
        host.own.release(EVENTS, str(number))

    assert host.own.dropped() == {}


def test_families_that_differ_only_in_their_help_are_one(host):
    one, _ = host.start()
    two, _ = host.start()
    count(one, 1)
    two.words[two.counter(CounterSpec("test_events_total", "In other words.", labels=("peer",)), "a")] = 2

    assert host.events() == 3
    assert host.workers.copy().layout.families[0].spec is EVENTS


def test_a_block_of_another_abi_is_left_out_and_counted_and_the_others_are_exported(host):
    good, _ = host.start()
    bad, handle = host.start()
    count(good, 3)
    count(bad, 100)
    bad.block.head.abi_version = 2

    assert [host.events() for _ in range(3)] == [3, 3, 3]
    assert skipped(host.workers) == {"abi": 1}
    assert handle.incarnation is None
    assert host.workers.retire(handle)
    assert skipped(host.workers) == {"abi": 1}
    assert host.events() == 3


def test_a_block_whose_names_break_keeps_what_was_read_and_loses_its_gauges(host):
    cells, handle = host.start()
    count(cells, 3)
    cells.signed_words[cells.gauge(PEERS, "1")] = 2
    host.workers.copy()
    count(cells, 1)
    head = cells.block.head
    cells.block.write_names(0, head.names, b"[broken\n")
    head.names += 8

    assert host.values() == {"test_events_total": {("a",): 3}}
    host.workers.retire(handle)
    assert host.values() == {"test_events_total": {("a",): 3}}
    assert skipped(host.workers) == {"unreadable": 1}


def test_what_counted_nothing_leaves_nothing_behind(host):
    cells, _ = host.start()
    for number in range(20):
        count(cells, 0, f"peer-{number}")
        host.workers.copy()
        cells.release(EVENTS, f"peer-{number}", leaves_counts=False)
        for _ in range(3):
            host.workers.copy()
    assert host.values() == {}
    # Nor has it cost another its place among those that are remembered.
    assert skipped(host.workers) == {}


def test_a_worker_that_never_wrote_leaves_nothing_and_one_that_wrote_nonsense_is_counted(host):
    empty, nonsense = make_memfd(), make_memfd()
    os.write(nonsense, b"nonsense" * 200)
    handles = [host.workers.attach("worker", descriptor) for descriptor in (empty, nonsense)]
    os.close(empty)
    os.close(nonsense)
    assert host.values() == {}
    assert all(handle.heartbeat_age_s >= 0.0 for handle in handles)

    for handle in handles:
        assert host.workers.retire(handle)

    assert skipped(host.workers) == {"unreadable": 1}


def test_a_worker_killed_before_it_was_ever_read_is_read_at_its_death(host):
    cells, handle = host.start()
    count(cells, 3)

    host.workers.retire(handle)

    assert host.events() == 3


def test_a_block_may_be_a_file_that_comes_later_and_one_of_a_life_before_is_not_taken(host, tmp_path: Path):
    path = tmp_path / "worker.cells"
    missing = host.workers.attach("missing", tmp_path / "missing.cells")
    first = host.workers.attach("worker", path)
    assert host.values() == {}
    cells = Cells.in_file(tmp_path, "worker", capacity=256)
    count(cells, 3)
    assert host.events() == 3
    cells.block.head.pid = 2**22 + 1  # No such process: it died, and its file stays.
    host.workers.retire(first)
    host.workers.attach("worker", path)
    assert host.events() == 3

    again = Cells.in_file(tmp_path, "worker", capacity=256)
    count(again, 4)

    assert host.events() == 7
    host.workers.retire(missing)
    assert skipped(host.workers) == {}
    again.close()


def test_a_closed_descriptor_is_an_error_that_names_the_worker(host):
    descriptor = make_memfd()
    os.close(descriptor)
    with pytest.raises(LocalError, match="worker-7"):
        host.workers.attach("worker-7", descriptor)


def test_lives_leave_no_descriptor_behind(host):
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()  # What earlier tests left to it is not ours.
    before = descriptors()
    handles: list[WorkerHandle] = []
    for _ in range(WORKER_LIVES):
        cells, handle = host.start()
        handles.append(handle)
        count(cells, 1)
        host.workers.copy()
        host.workers.retire(handle)
        host.open.clear()
        cells.close()
        del cells
    descriptor = make_memfd()
    host.workers.retire(host.workers.attach("unused", descriptor))
    os.close(descriptor)
    assert descriptors() == before


async def test_networks_keep_their_ids_when_their_worker_is_another_one(autojump_clock, host):
    snapshotter = Snapshotter(cells=host.workers)
    add_mesh_peers(snapshotter)
    one, first = host.start()
    two, _ = host.start()
    for cells, network_id, peers in ((one, 0, 3), (one, 63, 4), (two, 5, 6)):
        cells.networks.store(cells.networks.start(network_id), peers)

    async def shown() -> tuple[float, dict[str, tuple[float, float]]]:
        await snapshotter.refresh()
        page = read_page((await snapshotter.page()).body, is_openmetrics=False)
        families = [page.families[f"leanmesh_network_{name}"] for name in ("running", "mesh_peers")]
        networks = zip(*(family.values() for family in families), strict=True)
        ids = [labels[0][1] for _, labels in families[0]]
        return page.value("lean_gossip_mesh_peers"), dict(zip(ids, networks, strict=True))

    assert await shown() == (13, {"0": (1, 3), "5": (1, 6), "63": (1, 4)})
    host.workers.retire(first)
    assert await shown() == (6, {"0": (0, 0), "5": (1, 6), "63": (0, 0)})
    three, _ = host.start()
    three.networks.store(three.networks.start(63), 9)
    assert await shown() == (15, {"0": (0, 0), "5": (1, 6), "63": (1, 9)})


async def test_the_page_is_whole_and_encoded_from_templates_whoever_comes_and_goes(autojump_clock, host):
    snapshotter = Snapshotter(cells=host.workers)
    add_worker_metrics(snapshotter, host.workers)
    one, first = host.start("worker-1")
    count(one, 1)
    one.histogram(SIZES).observe(15)
    one.signed_words[one.gauge(OLDEST)] = 1500
    two, _ = host.start("worker-2")
    count(two, 2, peer="b")
    two.histogram(SIZES).observe(5)

    async def page() -> dict[str, float]:
        await snapshotter.refresh()
        families = read_page((await snapshotter.page()).body, is_openmetrics=False).families
        return {
            name + "".join(f" {value}" for _, value in labels): value
            for family in families.values()
            for (name, labels), value in family.items()
            if not name.startswith(("leanmesh_snapshot", "leanmesh_source"))
        }

    counts = {
        "test_events_total a": 1,
        "test_events_total b": 2,
        "test_sizes_bytes_bucket 10.0": 1,
        "test_sizes_bytes_bucket 20.0": 2,
        "test_sizes_bytes_bucket +Inf": 2,
        "test_sizes_bytes_count": 2,
        "test_sizes_bytes_sum": 20,
        **{f"leanmesh_cells_torn_total {reason}": 0 for reason in ("busy", "killed")},
        **{
            f"leanmesh_cells_skipped_total {reason}": 0
            for reason in ("abi", "unreadable", "shape", "repeated", "forgotten")
        },
    }
    before = await page()
    ages = {f"leanmesh_worker_heartbeat_age_seconds {name}" for name in ("worker-1", "worker-2")}
    assert all(before.pop(age) < 60.0 for age in ages)
    assert before == counts | {"test_oldest_seconds": 1.5}

    host.workers.retire(first)

    after = await page()
    assert after.pop("leanmesh_worker_heartbeat_age_seconds worker-2") < 60.0
    assert after == counts


def test_the_layout_is_the_same_object_until_a_label_set_comes_or_goes(host):
    one, first = host.start()
    count(one, 1)
    layout = host.workers.copy().layout
    count(one, 1)
    assert host.workers.copy().layout is layout
    host.workers.retire(first)
    # The dead worker's counts are on the page as before.
    assert host.workers.copy().layout is layout
    two, _ = host.start()
    count(two, 1)
    assert host.workers.copy().layout is layout
    count(two, 1, peer="b")
    assert host.workers.copy().layout is not layout
