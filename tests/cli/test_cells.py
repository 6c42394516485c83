import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from leanmesh.cli.main import root
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import CounterSpec, GaugeSpec, HistogramSpec

MESSAGES = CounterSpec("test_messages_total", "Messages.", labels=("topic", "result"))
PEERS = GaugeSpec("test_peers", "Peers.")
LATENESS = HistogramSpec("test_lateness_seconds", "Late.", resolution=1e-9, bounds=(0.001, 0.01))


def show(path: Path) -> Result:
    return CliRunner().invoke(root, ["cells", str(path)])


@pytest.fixture
def cells(tmp_path) -> Cells:
    cells = Cells.in_file(tmp_path, "node", capacity=64)
    cells.words[cells.counter(MESSAGES, "blocks", "a'b\n")] += 3
    cells.signed_words[cells.gauge(PEERS)] = -2
    lateness = cells.histogram(LATENESS)
    for value in (500_000, 2_000_000):
        lateness.observe(value)
    cells.networks.store(cells.networks.start(4), 9)
    return cells


def test_names_values_and_the_state_of_the_writer_are_printed(cells):
    result = show(cells.block.path)
    assert result.exit_code == 0, result.output
    head, values = result.output.split("\n\n")
    assert re.fullmatch(
        rf"incarnation:   {cells.incarnation:016x}\n"
        rf"writer:        process {os.getpid()}, alive\n"
        r"started:       \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00\n"
        r"heartbeat age: \d+\.\d{3} s",
        head,
    )
    assert values.splitlines() == [
        "network 4: running, 9 mesh peers",
        """test_messages_total{topic='blocks',result="a'b\\n"} 3""",
        "test_peers{} -2",
        "test_lateness_seconds{} count=2 sum=0.0025 mean=0.00125",
    ]


WRITE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import HistogramSpec
cells = Cells.in_file(Path(sys.argv[1]), "node", capacity=64)
cells.histogram(HistogramSpec("test_sizes_bytes", "Sizes.", bounds=(1.0,))).observe(5)
cells.words[cells.copy().layout.groups[0]] += 1
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_is_dead_and_its_torn_histogram_is_marked(tmp_path):
    subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(tmp_path)], check=False)
    result = show(tmp_path / "node.cells")
    assert result.exit_code == 0, result.output
    assert re.search(r"^writer:        process \d+, dead$", result.output, re.MULTILINE)
    assert result.output.splitlines()[-1].startswith("test_sizes_bytes{} count=1 sum=5 mean=5  (torn: ")


def test_a_missing_file_is_wrong_usage(tmp_path):
    result = show(tmp_path / "no.cells")
    assert result.exit_code == 2
    assert "does not exist" in result.output


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "too short for a block of cells"),
        (b"no cells " * 1000, "is no block of cells"),
    ],
)
def test_a_file_that_is_no_block_is_an_error(tmp_path, content, text):
    path = tmp_path / "garbage.cells"
    path.write_bytes(content)
    result = show(path)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {path} ")
    assert text in result.output


def test_a_block_of_another_layout_is_an_error_that_names_both(cells):
    with cells.block.path.open("r+b") as file:
        file.seek(8)
        file.write((9).to_bytes(8, "little"))
    result = show(cells.block.path)
    assert result.exit_code == 1
    assert "layout 9; this program reads layout 1" in result.output
