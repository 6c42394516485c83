"""Real processes: whatever workers stored before SIGKILL is on the page, once, and no series ever falls."""

import mmap
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import attrs
import pytest
from leanmesh.metrics.cells import Cells, CellsCopy, CellsReader, make_memfd
from leanmesh.metrics.family import GaugeSpec
from leanmesh.metrics.worker_cells import WorkerCells, WorkerHandle

FORKER = Path(__file__).parent / "worker_forker.py"
WORKERS = 3
KILLS = 20
EVENTS_PER_ROUND = 4
LIMIT_S = 30.0

Values = dict[tuple[str, tuple[str, ...], str], int]


@attrs.define(eq=False)
class Life:
    """One process, and the block that stays when it is gone."""

    pid: int
    handle: WorkerHandle
    block: int
    acknowledged: memoryview

    def reader(self) -> CellsReader:
        return CellsReader.open(self.block)


@attrs.define(eq=False)
class Host:
    """Starts and kills workers, and attaches and retires their cells."""

    workers: WorkerCells = attrs.field(factory=lambda: WorkerCells(Cells.anonymous(capacity=256)))
    lives: dict[str, Life] = attrs.field(factory=dict)
    dead: list[Life] = attrs.field(factory=list)
    control: socket.socket = attrs.field(init=False)
    forker: subprocess.Popen = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.forker = subprocess.Popen(
            [sys.executable, str(FORKER), str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
        theirs.close()

    def start(self, name: str, network_id: int, pause_s: float = 0.0) -> None:
        block, word = make_memfd(), make_memfd()
        os.ftruncate(word, 8)
        handle = self.workers.attach(name, block)
        socket.send_fds(self.control, [f"{network_id} {pause_s}".encode()], [block, word])
        pid = int(self.control.recv(100))
        self.lives[name] = Life(pid, handle, block, memoryview(mmap.mmap(word, 8)).cast("Q"))
        os.close(word)

    def wait_for_events(self, name: str) -> None:
        limit_s = time.monotonic() + LIMIT_S
        while not self.lives[name].acknowledged[0]:
            assert time.monotonic() < limit_s
            time.sleep(0.001)

    def kill(self, name: str) -> Life:
        life = self.lives.pop(name)
        self.control.sendall(str(life.pid).encode())
        assert self.control.recv(100) == b"gone"
        self.dead.append(life)
        return life

    def close(self) -> None:
        for name in list(self.lives):
            self.kill(name)
        self.control.close()
        self.forker.wait(LIMIT_S)
        for life in self.dead:
            os.close(life.block)


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


def values_of(copy: CellsCopy, *, gauges: bool = False) -> Values:
    """Every counter and every cumulative bucket, or every gauge."""
    values: Values = {}
    for spec, series in copy.families():
        if isinstance(spec, GaugeSpec) != gauges:
            continue
        for labels, value in series:
            if not isinstance(value, tuple):
                values[spec.name, labels, ""] = value
                continue
            counts, total = value
            for i in range(len(counts)):
                values[spec.name, labels, f"bucket {i}"] = sum(counts[: i + 1])
            values[spec.name, labels, "sum"] = total
    return values


def added(many: Iterator[Values]) -> Values:
    total: Values = {}
    for values in many:
        for key, value in values.items():
            total[key] = total.get(key, 0) + value
    return total


def without_peers(values: Values) -> Values:
    """Peers are ended by their workers; then what they counted is no longer in the blocks."""
    return {key: value for key, value in values.items() if key[0] != "test_peer_events_total"}


def check_nothing_fell(before: Values, now: Values) -> None:
    for key, value in before.items():
        if key[0] == "test_peer_events_total" and key not in now:
            continue  # No living worker has the peer: its series has ended.
        assert now[key] >= value, key


def test_no_series_falls_and_every_stored_event_is_counted_while_workers_are_killed(host):
    generator = random.Random(29)
    for number in range(WORKERS):
        host.start(f"worker-{number}", number)
    remembered: Values = {}
    naive: list[int] = []
    incarnations = set()
    for _ in range(KILLS):
        name = f"worker-{generator.randrange(WORKERS)}"
        host.wait_for_events(name)
        for _ in range(generator.randrange(1, 8)):
            now = values_of(host.workers.copy())
            check_nothing_fell(remembered, now)
            remembered |= now
            readers = [life.reader() for life in host.lives.values() if life.acknowledged[0]]
            naive.append(sum(values_of(reader.copy())["test_events_total", (), ""] for reader in readers))
        life = host.kill(name)
        assert host.workers.retire(life.handle)
        assert not host.workers.retire(life.handle)
        incarnations.add(life.handle.incarnation)
        host.start(name, int(name[-1]))
    for name in list(host.lives):
        host.wait_for_events(name)
        host.kill(name)

    exported = values_of(host.workers.copy())
    check_nothing_fell(remembered, exported)
    for life in host.dead:
        host.workers.retire(life.handle)
    check_nothing_fell(exported, exported := values_of(host.workers.copy()))

    # Not one event was lost or counted twice.
    stored = added(values_of(life.reader().copy(is_writer_dead=True)) for life in host.dead)
    assert without_peers(exported) == without_peers(stored)
    acknowledged = sum(life.acknowledged[0] for life in host.dead)
    events = exported["test_events_total", (), ""]
    assert acknowledged <= events <= acknowledged + EVENTS_PER_ROUND * len(host.dead)
    assert len(incarnations) == KILLS
    assert not any(host.workers.skipped.values())
    # The sum that everybody would write first does fall in the same run.
    assert any(later < earlier for earlier, later in pairwise(naive))


def test_the_gauges_of_a_dead_worker_leave_at_once_and_its_counters_stay(host):
    host.start("one", 1)
    host.start("two", 2)
    host.wait_for_events("one")
    host.wait_for_events("two")
    assert values_of(host.workers.copy(), gauges=True)["test_alive", (), ""] == 2
    pid = host.lives["one"].pid

    one = host.kill("one")
    host.workers.retire(one.handle)

    copy = host.workers.copy()
    gauges = values_of(copy, gauges=True)
    assert gauges["test_alive", (), ""] == 1
    assert gauges.keys() == {("test_alive", (), ""), ("test_life", (str(host.lives["two"].pid),), "")}
    assert copy.network(1) == (False, 0)
    assert copy.network(2) == (True, 4)
    counts = values_of(copy)
    stored = values_of(one.reader().copy(is_writer_dead=True))
    key = ("test_network_events_total", ("1",), "")
    assert counts[key] == stored[key] > 0
    assert str(pid) not in {labels[0] for _, labels, _ in gauges if labels}


def test_a_worker_that_hangs_goes_on_being_read_and_its_heartbeat_tells(host):
    host.start("one", 1, pause_s=LIMIT_S)
    host.wait_for_events("one")
    handle = host.lives["one"].handle
    before = values_of(host.workers.copy())
    age_s = handle.heartbeat_age_s

    time.sleep(0.05)

    assert values_of(host.workers.copy()) == before
    assert handle.heartbeat_age_s >= age_s + 0.05
