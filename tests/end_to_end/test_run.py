"""`leanmesh run` as a process: ready line, pages, cells that others can read, clean end."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text


@attrs.frozen
class Node:
    process: subprocess.Popen[str]
    metrics: str
    cells: Path

    def get(self, url: str) -> bytes:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read()

    def lateness_count(self) -> float:
        (family,) = [
            family
            for family in parse_text(self.get(self.metrics).decode())
            if family.name == "leanmesh_loop_lateness_seconds"
        ]
        return max(sample.value for sample in family.samples if sample.name.endswith("_count"))


# Ports of the test's own: another node may run on this machine.
SETTINGS = """
[web]
listen = "127.0.0.1:0"
[[network]]
listen = ["/ip4/127.0.0.1/tcp/0"]
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    config = tmp_path / "node.toml"
    config.write_text(SETTINGS)
    command = [sys.executable, "-m", "leanmesh", "run", "--config", str(config), "--log-format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready = json.loads(process.stdout.readline())
            assert ready["event"] == "ready"
            yield Node(process, ready["metrics"], Path(ready["cells"]))
        finally:
            process.kill()


def test_the_first_scrape_after_the_ready_line_has_data(node: Node):
    page = node.get(node.metrics).decode()
    assert "\nlean_node_info{" in page
    assert json.loads(node.get(node.metrics.replace("/metrics", "/healthz")))["is_ready"] is True


def test_the_cells_live(node: Node):
    first = node.lateness_count()
    while node.lateness_count() <= first:
        pass  # The test's own time limit ends this.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_node_exits_with_0_and_leaves_no_cells_behind(node: Node, number: signal.Signals):
    assert node.cells.exists()
    node.process.send_signal(number)
    assert node.process.wait(timeout=30) == 0
    assert not node.cells.exists()
