"""Network slots: cases 10 and 12, and no schedule in which a late writer revives a stopped network."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.errors import LocalError
from leanmesh.metrics.cells import MAX_NETWORKS, Cells, NetworkHandle


def test_counts_are_kept_per_network_and_summed():
    cells = Cells.anonymous(capacity=8)
    for network_id, count in ((0, 3), (1, 4), (2, 0)):
        handle = cells.networks.start(network_id)
        assert cells.networks.store(handle, count)
    assert [cells.networks.read(network_id) for network_id in range(4)] == [
        (True, 3),
        (True, 4),
        (True, 0),
        (False, 0),
    ]
    assert cells.networks.total() == 7
    copy = cells.copy()
    assert [copy.network(network_id) for network_id in range(-1, 4)] == [
        (False, 0),
        (True, 3),
        (True, 4),
        (True, 0),
        (False, 0),
    ]


@pytest.mark.parametrize("network_id", [64, 65, -1, 2**32, -(2**63), 2**64])
def test_an_unknown_network_reads_zero_and_writes_nothing(network_id):
    cells = Cells.anonymous(capacity=8)
    last = cells.networks.start(MAX_NETWORKS - 1)
    cells.networks.store(last, 9)
    before = bytes(cells.block.memory)
    handle = NetworkHandle(network_id, 1)
    assert cells.networks.read(network_id) == (False, 0)
    assert not cells.networks.store(handle, 5)
    assert not cells.networks.stop(handle)
    with pytest.raises(LocalError, match=f"network id {network_id} .* MAX_NETWORKS = 64"):
        cells.networks.start(network_id)
    assert cells.copy().network(network_id) == (False, 0)
    assert bytes(cells.block.memory) == before


def test_all_64_networks_run_at_once_and_one_more_names_the_bound():
    cells = Cells.anonymous(capacity=8)
    for network_id in range(MAX_NETWORKS):
        cells.networks.store(cells.networks.start(network_id), network_id)
    assert cells.networks.total() == sum(range(64))
    for network_id in (0, 64):
        with pytest.raises(LocalError, match="MAX_NETWORKS = 64"):
            cells.networks.start(network_id)


@pytest.mark.parametrize("count", [-1, 2**32])
def test_a_count_that_no_slot_holds_is_an_error_of_ours(count):
    cells = Cells.anonymous(capacity=8)
    handle = cells.networks.start(0)
    cells.networks.store(handle, 1)
    with pytest.raises(LocalError):
        cells.networks.store(handle, count)
    assert cells.networks.read(0) == (True, 1)


def test_a_handle_with_an_impossible_generation_is_merely_over():
    cells = Cells.anonymous(capacity=8)
    for generation in (0, 2, -1, 2**32):
        assert not cells.networks.store(NetworkHandle(0, generation), 5)
        assert not cells.networks.stop(NetworkHandle(0, generation))
    assert cells.networks.read(0) == (False, 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(0, 2)),
        # Which of all handles ever given, the late ones too, and what it stores.
        st.tuples(st.just("store"), st.integers(0, 30), st.integers(0, 2**32 - 1)),
        st.tuples(st.just("stop"), st.integers(0, 30)),
    ),
    max_size=60,
)


@given(STEPS)
def test_in_no_order_of_events_does_a_late_writer_revive_a_network(steps):
    slots = Cells.anonymous(capacity=8).networks
    handles: list[NetworkHandle] = []
    running: dict[int, NetworkHandle] = {}
    counts = dict.fromkeys(range(3), 0)
    for step in steps:
        if step[0] == "start":
            network_id = step[1]
            if network_id in running:
                with pytest.raises(LocalError):
                    slots.start(network_id)
                continue
            running[network_id] = slots.start(network_id)
            handles.append(running[network_id])
        elif handles:
            handle = handles[step[1] % len(handles)]
            is_current = running.get(handle.network_id) == handle
            if step[0] == "store":
                assert slots.store(handle, step[2]) == is_current
                if is_current:
                    counts[handle.network_id] = step[2]
            else:
                assert slots.stop(handle) == is_current
                if is_current:
                    del running[handle.network_id]
                    counts[handle.network_id] = 0
        for network_id, count in counts.items():
            assert slots.read(network_id) == (network_id in running, count)
        assert slots.total() == sum(counts.values())


def test_late_writers_in_threads_never_revive_a_network():
    slots = Cells.anonymous(capacity=8).networks
    current = [slots.start(0)]
    is_over = threading.Event()

    def store_late():
        while not is_over.is_set():
            slots.store(current[0], 7)

    writers = [threading.Thread(target=store_late) for _ in range(2)]
    for writer in writers:
        writer.start()
    revived = []
    for _ in range(2000):
        slots.stop(current[0])
        revived += [slots.read(0) for _ in range(3) if slots.read(0) != (False, 0)]
        current[0] = slots.start(0)
    is_over.set()
    for writer in writers:
        writer.join()
    assert revived == []
