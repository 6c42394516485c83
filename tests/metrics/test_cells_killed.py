"""Real processes: what a writer had stored survives SIGKILL, and its readers notice nothing but its death."""

import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from leanmesh.metrics.cells import CellsCopy, CellsReader, CellsUnreadable
from leanmesh.metrics.family import HistogramSpec

WRITER = Path(__file__).parent / "cells_writer.py"
GROUPED = HistogramSpec("test_grouped", "Counts that agree with their sum.", bounds=(10.0, 20.0, 30.0))
KILLS = 100
START_LIMIT_S = 20.0


class Writers:
    """Writers of cells, one after the other."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.acknowledgements, theirs = os.pipe()
        os.set_blocking(self.acknowledgements, False)
        self.parent = subprocess.Popen(
            [sys.executable, str(WRITER), str(directory), str(theirs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[theirs],
        )
        os.close(theirs)
        self.pid = 0
        self.acknowledged = 0

    def start(self, name: str) -> CellsReader:
        self.acknowledged = 0
        self.parent.stdin.write(f"{name}\n")
        self.parent.stdin.flush()
        self.pid = int(self.parent.stdout.readline())
        limit_s = time.monotonic() + START_LIMIT_S
        while True:
            try:
                return CellsReader.open(self.directory / f"{name}.cells")
            except CellsUnreadable:
                # Not there yet: a file appears under its name when it is complete.
                assert time.monotonic() < limit_s
                time.sleep(0.001)

    def take_acknowledgements(self) -> int:
        """What the writer has said that it stored.  Keeps its pipe from filling up."""
        try:
            while data := os.read(self.acknowledgements, 1 << 16):
                self.acknowledged = struct.unpack("Q", data[-8:])[0]
        except BlockingIOError:
            pass
        return self.acknowledged

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert self.parent.stdout.readline() == "gone\n"

    def close(self) -> None:
        os.close(self.acknowledgements)
        self.parent.stdin.close()
        self.parent.wait(START_LIMIT_S)
        self.parent.stdout.close()


@pytest.fixture
def writers(tmp_path) -> Iterator[Writers]:
    writers = Writers(tmp_path)
    yield writers
    writers.close()


def values_of(copy: CellsCopy) -> dict[str, dict[tuple[str, ...], object]]:
    return {spec.name: dict(series) for spec, series in copy.families()}


def check_agreement(copy: CellsCopy, *, is_torn_taken: bool = False) -> None:
    """Nothing stands under another's name, and no group contradicts itself unless it is called torn."""
    for spec, series in copy.families():
        for labels, value in series:
            if spec.name == "test_named_total":
                assert value in (0, int(labels[0]))
            if spec.name == "test_grouped" and not (is_torn_taken and copy.torn):
                counts, total = value
                assert total == sum(10 * (i + 1) * count for i, count in enumerate(counts))
                assert max(counts) - min(counts) <= 1


def test_a_hundred_writers_are_killed_in_mid_store_and_nothing_stored_is_lost(writers):
    generator = random.Random(7)
    incarnations, copies, torn_deaths = set(), 0, 0
    for number in range(KILLS):
        reader = writers.start(f"writer-{number}")
        last = (0, 0)
        end_s = time.monotonic() + generator.uniform(0.002, 0.03)
        while writers.take_acknowledgements() == 0 or time.monotonic() < end_s:
            copy = reader.copy()
            copies += 1
            check_agreement(copy)
            values = values_of(copy)
            now = tuple(values.get(name, {}).get((), 0) for name in ("test_first_total", "test_second_total"))
            assert now >= last
            last = now
        assert reader.writer_is_alive
        writers.kill()
        acknowledged = writers.take_acknowledgements()

        assert not reader.writer_is_alive
        assert not reader.has_ended
        for is_writer_dead in (False, True):
            copy = reader.copy(is_writer_dead=is_writer_dead)
            check_agreement(copy, is_torn_taken=is_writer_dead)
            values = values_of(copy)
            first, second = values["test_first_total"][()], values["test_second_total"][()]
            assert first >= acknowledged > 0
            assert 0 <= first - second <= 1
            is_running, count = copy.network(3)
            assert is_running
            assert count in (acknowledged % 1000, (acknowledged - 32) % 1000)
        torn_deaths += len(copy.torn)
        # What is there is taken: the last observation may lack its sum, none before it is lost.
        counts, _ = values["test_grouped"][()]
        assert sum(counts) >= 4 * (second - 1)
        incarnations.add(reader.incarnation)
    assert len(incarnations) == KILLS
    print(f"{KILLS} kills, {copies} copies, {torn_deaths} killed inside a group")


def test_a_group_whose_writer_was_killed_inside_is_taken_at_its_death_and_called_torn(writers):
    reader = writers.start("inside")
    while writers.take_acknowledgements() == 0:
        time.sleep(0.001)
    torn = (("test_grouped", ()),)
    for copy in (reader.copy(), reader.copy()):
        assert copy.torn == torn
        assert copy.value(GROUPED) == ((0, 0, 0, 0), 0)
        assert len(copy.never_whole) == 1
    writers.kill()
    assert reader.copy().torn == torn
    copy = reader.copy(is_writer_dead=True)
    assert copy.torn == torn
    assert copy.value(GROUPED) == ((2, 0, 0, 0), 10)


def test_one_name_may_be_taken_over_from_a_dead_writer_and_old_blocks_are_removed(writers):
    readers = []
    for _ in range(3):
        readers.append(writers.start("same"))
        writers.take_acknowledgements()
        writers.kill()
        # The name stays while nobody takes it over: waiting for the next file would find this one.
        (writers.directory / "same.cells").rename(writers.directory / f"old-{len(readers)}.cells")
    for number in range(5):
        writers.start(f"other-{number}")
        writers.kill()
    left = sorted(path.name for path in writers.directory.iterdir())
    # The newest writer removed all but four of those that were dead when it started.
    assert left == [f"other-{number}.cells" for number in range(5)]
    assert len({reader.incarnation for reader in readers}) == 3
    for reader in readers:
        check_agreement(reader.copy(is_writer_dead=True), is_torn_taken=True)
