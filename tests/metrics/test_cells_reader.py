"""Blocks that another process reads: what a reader sees, and what it refuses."""

import contextlib
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.errors import LocalError
from leanmesh.metrics.block import NAMES_BYTES_PER_WORD, Block, process_is_alive, process_started_ticks
from leanmesh.metrics.cells import Cells, CellsReader, CellsUnreadable, make_memfd, runtime_directory
from leanmesh.metrics.family import CounterSpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.names import NameReader

MESSAGES = CounterSpec("test_messages_total", 'With "quotes", \\ and\nlines.', labels=("topic", "result"))
PEERS = GaugeSpec("test_peers", "Peers.", resolution=0.1)
LATENESS = HistogramSpec(
    "test_lateness_seconds", "Lateness.", labels=("loop",), resolution=1e-6, bounds=(0.001, 0.01)
)
CAPACITY = 64
HEAD_BYTES = 640
NAMES_OFFSET = HEAD_BYTES + 8 * CAPACITY


@pytest.fixture
def cells(tmp_path) -> Cells:
    return Cells.in_file(tmp_path, "node", CAPACITY)


def values_of(copy):
    return {spec: dict(series) for spec, series in copy.families()}


def write_at(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def commit_names(path: Path, names: bytes) -> None:
    """Make `names` the whole first area of names."""
    write_at(path, NAMES_OFFSET, names)
    write_at(path, 72, len(names).to_bytes(8, "little"))


def test_a_reader_sees_what_the_writer_sees(cells):
    reader = CellsReader.open(cells.block.path)
    assert values_of(reader.copy()) == {}
    cells.words[cells.counter(MESSAGES, 'a"\\\n', "été 🛰")] = 2**64 - 1
    cells.signed_words[cells.gauge(PEERS)] = -3
    cells.histogram(LATENESS, "main").observe(1000)
    cells.networks.store(cells.networks.start(5), 8)
    copy = reader.copy()
    assert values_of(copy) == {
        MESSAGES: {('a"\\\n', "été 🛰"): 2**64 - 1},
        PEERS: {(): -3},
        LATENESS: {("main",): ((1, 0, 0), 1000)},
    }
    assert values_of(copy) == values_of(cells.copy())
    assert copy.network(5) == (True, 8)
    assert (copy.incarnation, copy.torn) == (cells.incarnation, ())


def test_the_head_says_who_writes_and_how_the_loop_is(cells):
    reader = CellsReader.open(str(cells.block.path))
    assert (reader.pid, reader.incarnation) == (os.getpid(), cells.incarnation)
    assert (reader.writer_is_alive, reader.has_ended) == (True, False)
    assert reader.started_unix_ns <= time.time_ns()
    first_ns = reader.copy().heartbeat_ns
    cells.beat()
    assert first_ns <= reader.copy().heartbeat_ns <= time.monotonic_ns()
    assert reader.heartbeat_age_s >= 0


def test_a_reader_follows_label_sets_that_come_and_go(cells):
    reader = CellsReader.open(cells.block.path)
    versions = set()
    cells.words[cells.counter(MESSAGES, "stays", "")] = 1
    # Far more names than the area holds at once: the log is written anew again and again.
    for number in range(3000):
        label = f"peer-{number}"
        cells.words[cells.counter(MESSAGES, label, "")] = number
        cells.histogram(LATENESS, label).observe(number)
        assert values_of(reader.copy()) == values_of(cells.copy())
        versions.add(reader.copy().layout_version)
        cells.release(MESSAGES, label, "")
        cells.release(LATENESS, label)
    assert len(versions) == 3000
    assert cells.dropped() == {}


def test_names_that_are_written_anew_twice_while_they_are_read_are_read_again(cells, monkeypatch):
    reader = CellsReader.open(cells.block.path)
    cells.words[cells.counter(MESSAGES, "stays", "")] = 1
    # Its lines are in this log only: the same bytes of a later log end in the middle of a line.
    cells.counter(MESSAGES, "gone", "")
    cells.release(MESSAGES, "gone", "")
    generation = cells.block.head.names >> 32
    read_names, calls = Block.read_names, []

    def read_late(block, *arguments):
        calls.append(arguments)
        if len(calls) == 1:
            number = 0
            while cells.block.head.names >> 32 < generation + 2:
                cells.counter(MESSAGES, str(number), "")
                cells.release(MESSAGES, str(number), "")
                cells.copy()
                number += 1
        return read_names(block, *arguments)

    monkeypatch.setattr(Block, "read_names", read_late)
    assert values_of(reader.copy()) == values_of(cells.copy())
    assert [arguments[0] for arguments in calls] == [generation, generation + 2]


def test_names_full_of_what_lives_are_not_written_anew_in_vain(cells):
    number = 0
    while cells.block.head.names >> 32 == 0:
        cells.counter(MESSAGES, str(number), "")
        cells.release(MESSAGES, str(number), "")
        cells.copy()
        number += 1
    while not cells.dropped():
        cells.counter(MESSAGES, f"{number} {'x' * 500}", "")
        number += 1
    names = cells.block.head.names
    for _ in range(20):
        cells.counter(MESSAGES, f"{number} {'x' * 500}", "")
        number += 1
    # `other` may have been named; nothing else was.
    assert cells.block.head.names >> 32 == names >> 32
    assert cells.dropped() == {MESSAGES.name: 21}


def test_anonymous_cells_are_read_in_their_own_process():
    cells = Cells.anonymous(CAPACITY)
    cells.words[cells.counter(MESSAGES, "a", "b")] = 4
    assert values_of(CellsReader(cells.block).copy()) == {MESSAGES: {("a", "b"): 4}}


def test_a_late_reader_sees_only_what_lives(cells):
    for number in range(1000):
        cells.words[cells.counter(MESSAGES, str(number), "")] = number
        cells.copy()
        if number >= 3:
            cells.release(MESSAGES, str(number - 3), "")
    assert values_of(CellsReader.open(cells.block.path).copy()) == {
        MESSAGES: {(str(number), ""): number for number in (997, 998, 999)}
    }


def test_what_is_not_committed_is_not_read(cells):
    cells.words[cells.counter(MESSAGES, "a", "b")] = 4
    committed = cells.block.head.names
    write_at(cells.block.path, NAMES_OFFSET + committed, b'[99,0,1,["half","a na')
    assert values_of(CellsReader.open(cells.block.path).copy()) == {MESSAGES: {("a", "b"): 4}}


def test_every_committed_length_of_a_log_is_whole(cells):
    lengths = {0}
    for number in range(6):
        cells.counter(MESSAGES, str(number), "x")
        lengths.add(cells.block.head.names)
        if number % 2:
            cells.release(MESSAGES, str(number), "x")
            lengths.add(cells.block.head.names)
    counts = []
    for length in sorted(lengths):
        write_at(cells.block.path, 72, length.to_bytes(8, "little"))
        counts.append(
            sum(len(series) for series in values_of(CellsReader.open(cells.block.path).copy()).values())
        )
    assert counts == [0, 1, 2, 1, 2, 3, 2, 3, 4, 3]


def test_a_label_set_that_ends_during_a_copy_is_left_out(cells, monkeypatch):
    reader = CellsReader.open(cells.block.path)
    kept, gone = cells.counter(MESSAGES, "kept", ""), cells.counter(MESSAGES, "gone", "")
    cells.words[kept], cells.words[gone] = 1, 2
    follow, calls = NameReader.follow, []

    def follow_late(names):
        calls.append(names)
        if len(calls) == 2:
            # After the values were copied: what stands in that word may be another's by now.
            cells.release(MESSAGES, "gone", "")
            cells.counter(MESSAGES, "new", "")
        return follow(names)

    monkeypatch.setattr(NameReader, "follow", follow_late)
    assert values_of(reader.copy()) == {MESSAGES: {("kept", ""): 1}}
    assert values_of(reader.copy()) == {MESSAGES: {("kept", ""): 1, ("new", ""): 0}}


def test_a_memfd_is_read_by_descriptor_and_outlives_its_names():
    descriptor = make_memfd()
    with pytest.raises(CellsUnreadable, match="too short"):
        CellsReader.open(descriptor)
    cells = Cells.in_memfd(descriptor, CAPACITY)
    cells.words[cells.counter(MESSAGES, "a", "b")] = 4
    reader = CellsReader.open(descriptor)
    with pytest.raises(LocalError, match="not empty"):
        Cells.in_memfd(descriptor, CAPACITY)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)
    cells.words[cells.counter(MESSAGES, "c", "d")] = 5
    cells.close()
    assert reader.has_ended
    assert values_of(reader.copy()) == {MESSAGES: {("a", "b"): 4, ("c", "d"): 5}}


def test_a_file_is_for_its_user_only_and_goes_when_its_writer_ends(cells):
    path = cells.block.path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["node.cells"]
    cells.close()
    assert list(path.parent.iterdir()) == []


def test_a_name_is_not_taken_from_a_living_writer(cells):
    directory = cells.block.path.parent
    with pytest.raises(LocalError, match=f"is being written by process {os.getpid()}"):
        Cells.in_file(directory, "node", CAPACITY)
    cells.close()
    successor = Cells.in_file(directory, "node", CAPACITY)
    assert successor.incarnation != cells.incarnation


def test_closing_leaves_a_successors_file_alone(cells):
    path = cells.block.path
    path.unlink()
    Cells.in_file(path.parent, "node", CAPACITY)
    cells.close()
    assert path.exists()


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", ".."])
def test_a_name_must_be_a_plain_file_name(tmp_path, name):
    with pytest.raises(LocalError, match="cannot name a file of cells"):
        Cells.in_file(tmp_path, name, CAPACITY)


def test_a_failed_block_leaves_nothing_behind(tmp_path):
    with pytest.raises(LocalError):
        Cells.in_file(tmp_path, "node", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_pid_that_was_given_to_another_process_is_told_apart():
    ticks = process_started_ticks(os.getpid())
    assert process_is_alive(os.getpid(), ticks)
    assert process_is_alive(os.getpid(), 0)
    assert not process_is_alive(os.getpid(), ticks + 1)
    assert not process_is_alive(2**31 - 1, 0)


def test_a_process_that_nobody_has_waited_for_is_dead():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not process_is_alive(process.pid, process_started_ticks(process.pid))


def test_the_runtime_directory_is_closed_to_others(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    directory = runtime_directory()
    assert (directory, stat.S_IMODE(directory.stat().st_mode)) == (tmp_path / "leanmesh", 0o700)
    assert runtime_directory() == directory
    directory.chmod(0o755)
    with pytest.raises(LocalError, match="mode 0700"):
        runtime_directory()


@pytest.mark.parametrize(
    ("offset", "data", "text"),
    [
        (0, b"garbage!", "no block of cells"),
        (8, (2).to_bytes(8, "little"), "layout 2; this program reads layout 1"),
        (16, (2**40).to_bytes(8, "little"), "truncated"),
        (16, (CAPACITY + 1).to_bytes(8, "little"), "truncated"),
        (16, bytes(8), "truncated"),
        (24, (2**63).to_bytes(8, "little"), "truncated"),
    ],
    ids=["magic", "abi", "huge", "one more", "empty", "names"],
)
def test_what_is_no_block_of_ours_is_refused(cells, offset, data, text):
    write_at(cells.block.path, offset, data)
    with pytest.raises(CellsUnreadable, match=text):
        CellsReader.open(cells.block.path)


@pytest.mark.parametrize("size", [0, 1, HEAD_BYTES - 1, HEAD_BYTES, NAMES_OFFSET])
def test_a_truncated_file_is_refused(cells, size):
    os.truncate(cells.block.path, size)
    with pytest.raises(CellsUnreadable, match=r"too short|truncated"):
        CellsReader.open(cells.block.path)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for source, text in (
        (tmp_path / "no", "No such file"),
        (tmp_path, "regular"),
        (tmp_path / "fifo", "regular"),
    ):
        with pytest.raises(CellsUnreadable, match=text):
            CellsReader.open(source)


@pytest.mark.parametrize(
    "names",
    [
        b"\xff\xfe\n",
        b"[1,2\n",
        b"{}\n",
        b"7\n",
        b"[]\n",
        b"[1]\n",
        b'[1,0,1,["a","b"]]\n',
        b'["family",0,"summary","a_total","",[],1,[]]\n',
        b'["family",0,"counter","no name","",[],1,[]]\n',
        b'["family",0,"counter","a_total",5,[],1,[]]\n',
        b'["family",0,"counter","a_total","",[],null,[]]\n',
        b'["family",0,"counter","a_total","",[],1%s,[]]\n' % (b"0" * 400),
        b'["family",0,"histogram","a","",[],1,[2,1]]\n',
        b'["family",0,"gauge","a","",["b"],1,[]]\n[1,0,1,[]]\n',
        b'["family",0,"gauge","a","",["b"],1,[]]\n[1,0,1,[3]]\n',
        b'["family",0,"gauge","a","",["b"],1,[]]\n[1,0,64,["c"]]\n',
        b'["family",0,"gauge","a","",["b"],1,[]]\n[1,0,-1,["c"]]\n',
        b'["family",0,"gauge","a","",["b"],1,[]]\n[0,0,1,["c"]]\n',
        b'["family",0,"gauge","a","",["b"],1,[]]\n[9223372036854775808,0,1,["c"]]\n',
        b'["family",0,"gauge","a","",["b"],1,[]]\n[1,0,1,["c"]]\n[1,0,2,["d"]]\n',
        b'["family",0,"histogram","a","",[],1,[1]]\n[1,0,60,[]]\n',
        b"[" * 5000 + b"\n",
    ],
    ids=range(22),
)
def test_broken_names_are_refused(cells, names):
    commit_names(cells.block.path, names)
    with pytest.raises(CellsUnreadable, match="names are broken"):
        CellsReader.open(cells.block.path).copy()


def test_names_that_shrink_or_outgrow_their_area_are_refused(cells):
    cells.counter(MESSAGES, "a", "b")
    reader = CellsReader.open(cells.block.path)
    reader.copy()
    for length in (5, CAPACITY * NAMES_BYTES_PER_WORD + 1):
        write_at(cells.block.path, 72, length.to_bytes(8, "little"))
        with pytest.raises(CellsUnreadable, match="names are broken"):
            reader.copy()


@given(st.binary(max_size=200), st.integers(0, 199))
def test_no_names_can_make_a_reader_fail_otherwise(names, position):
    cells = Cells.in_memfd(make_memfd(), CAPACITY)
    cells.counter(MESSAGES, "a", "b")
    cells.histogram(LATENESS, "a")
    length = cells.block.head.names
    start = min(position, length)
    cells.block.write_names(0, start, names[: length - start])
    with contextlib.suppress(CellsUnreadable):
        values_of(CellsReader.open(cells.block.descriptor).copy())
