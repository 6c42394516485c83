"""`leanmesh run --workers`: real processes behind one page, killed, stuck, recycled and orphaned."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from end_to_end.workers import cells_of
from leanmesh.metrics.cells import CellsReader
from prometheus_client.parser import text_string_to_metric_families as parse_text

SETTINGS = """
[web]
listen = "127.0.0.1:0"
[workers]
restart_first_s = 0.0
heartbeat_limit_s = 2.0
[service]
stop_timeout_s = 0.5
[[network]]
network_id = 3
listen = ["/ip4/127.0.0.1/tcp/{port}"]
topics = ["news"]
[[network]]
network_id = 5
listen = ["/ip4/127.0.0.1/tcp/0"]
topics = ["news"]
"""
# Has a worker go round and round in its own loop, never in Trio's, when it is told to.
ENDLESS_LOOP = """
import signal
def loop(number, frame):
    while True:
        pass
signal.signal(signal.SIGUSR2, loop)
"""
# Has one of its sources of figures raise from then on.
FAILING_SOURCE = """
def fail(number, frame):
    from prometheus_client.process_collector import ProcessCollector
    ProcessCollector.collect = lambda self: 1 / 0
signal.signal(signal.SIGUSR1, fail)
"""


@attrs.frozen
class Workers:
    """A supervisor, by its ready line."""

    process: subprocess.Popen[str]
    ready: dict

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        url = self.ready["metrics"].replace("/metrics", path)
        try:
            request = urllib.request.Request(url, method=method, headers=headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def json(self, path: str) -> dict:
        return json.loads(self.ask(path)[1])

    def values(self) -> dict[tuple[str, frozenset], float]:
        """Every sample of the page."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse_text(self.ask("/metrics")[1])
            for sample in family.samples
        }

    def counts(self) -> dict[tuple[str, frozenset], float]:
        """Every sample that may only rise."""
        return {
            key: value
            for key, value in self.values().items()
            if key[0].endswith(("_total", "_bucket", "_count", "_sum"))
        }

    def heartbeat_age_s(self, worker: str) -> float:
        return self.values()["leanmesh_worker_heartbeat_age_seconds", frozenset({("worker", worker)})]

    def worker(self, number: int) -> dict:
        return self.json("/api/workers")["workers"][number]

    def pids(self) -> list[int]:
        return [worker["pid"] for worker in self.json("/api/workers")["workers"]]

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Look again and again; the test's own time limit ends this."""
        while not is_so():
            time.sleep(0.05)

    def is_well(self) -> bool:
        return self.ask("/healthz")[0] == 200


def command(config: Path, workers: int = 2) -> list[str]:
    return [
        *(sys.executable, "-m", "leanmesh", "run", "--config", str(config)),
        *("--workers", str(workers), "--log-format", "json"),
    ]


def start(config: Path) -> Workers:
    paths = [str(config.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    process = subprocess.Popen(command(config), stdout=subprocess.PIPE, text=True, env=environment)
    return Workers(process, json.loads(process.stdout.readline()))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "sitecustomize.py").write_text(ENDLESS_LOOP + FAILING_SOURCE)
    path = tmp_path / "node.toml"
    path.write_text(SETTINGS.format(port=0))
    return path


@pytest.fixture
def node(config: Path) -> Iterator[Workers]:
    node = start(config)
    with node.process:
        try:
            yield node
        finally:
            node.process.kill()


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_networks_in_two_processes_have_one_page_and_one_api(node: Workers):
    assert node.ready["event"] == "ready"
    assert [network["network_id"] for network in node.ready["networks"]] == [3, 5]
    assert len(set(node.pids())) == 2
    values = node.values()
    for network_id in ("3", "5"):
        assert values["leanmesh_network_running", frozenset({("network_id", network_id)})] == 1
    page = node.json("/api/node")
    assert [(network["network_id"], network["worker"]) for network in page["networks"]] == [(3, 0), (5, 1)]
    assert page["unanswered"] == []
    assert node.json("/api/peers")["peers"] == []
    node.wait_until(node.is_well)


def test_a_killed_worker_is_back_where_it_was_and_no_count_falls(node: Workers):
    before, networks = node.counts(), node.json("/api/node")["networks"]
    os.kill(node.pids()[0], signal.SIGKILL)
    node.wait_until(lambda: node.worker(0)["restarts"] == 1 and node.is_well())
    after = node.counts()
    assert {key: (value, after.get(key)) for key, value in before.items() if after.get(key, -1) < value} == {}
    assert node.json("/api/node")["networks"] == networks


def test_who_is_allowed_recycles_a_worker(node: Workers):
    before = node.pids()
    assert node.ask("/api/recycle")[0] == 405
    assert node.ask("/api/recycle", "POST", Origin="http://example.org")[0] == 403
    assert node.ask("/api/recycle?worker=7", "POST")[0] == 400
    # Nothing at all stands for all workers; what was meant for one must not be taken for that.
    for query in ("worker=x", "worker=", "worker", "worker=1&worker=", "wroker=1", "worker=1&number=1"):
        status, answer = node.ask(f"/api/recycle?{query}", "POST")
        assert (status, "?worker=N names no worker: " in answer) == (400, True), query
    assert node.pids() == before
    status, answer = node.ask("/api/recycle?worker=1", "POST")
    assert (status, json.loads(answer)) == (202, {"recycling": [1]})
    node.wait_until(lambda: node.worker(1)["restarts"] == 1 and node.is_well())
    assert node.pids()[0] == before[0]
    assert not lives(before[1])
    gaps = "leanmesh_worker_gap_seconds_count", frozenset({("reason", "recycled")})
    node.wait_until(lambda: node.values()[gaps] == 1)


def test_a_hangup_recycles_all_workers_and_ends_none_of_their_networks_for_good(node: Workers):
    before = node.pids()
    node.process.send_signal(signal.SIGHUP)
    node.wait_until(lambda: node.is_well() and not set(node.pids()) & {None, *before})
    assert node.json("/api/node")["unanswered"] == []


def test_a_worker_in_an_endless_loop_is_named_on_a_page_that_still_answers(node: Workers):
    os.kill(node.pids()[1], signal.SIGUSR2)
    stuck = "worker 1 (network 5) is stuck: its last heartbeat is"
    # On a busy machine the other one may be late too, for a moment.
    node.wait_until(lambda: [reason[: len(stuck)] for reason in node.json("/healthz")["reasons"]] == [stuck])
    assert node.ask("/healthz")[0] == 503
    # The page is up to a second older than the probe.
    node.wait_until(lambda: node.heartbeat_age_s("1") > 2.0 > node.heartbeat_age_s("0"))
    page = node.json("/api/peers")
    assert [(missing["worker"], missing["networks"]) for missing in page["unanswered"]] == [(1, [5])]
    # What it had counted is still there; and it can be replaced.
    assert node.ask("/api/recycle?worker=1", "POST")[0] == 202
    node.wait_until(node.is_well)


def test_a_source_that_raises_inside_a_worker_is_named_on_the_page(node: Workers):
    errors = "leanmesh_contained_errors_total", frozenset({("callable", "source:process")})
    node.wait_until(lambda: errors in node.values())
    assert node.values()[errors] == 0
    os.kill(node.pids()[0], signal.SIGUSR1)
    node.wait_until(lambda: node.values()[errors] >= 2)
    assert node.is_well()
    # What it had counted stays when it is replaced.
    assert node.ask("/api/recycle?worker=0", "POST")[0] == 202
    node.wait_until(lambda: node.worker(0)["restarts"] == 1 and node.is_well())
    assert node.values()[errors] >= 2


def test_a_stuck_worker_does_not_keep_the_node_from_stopping(node: Workers):
    pids = node.pids()
    os.kill(pids[0], signal.SIGUSR2)
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(timeout=30) == 0
    assert not any(map(lives, pids))


@pytest.mark.parametrize("is_stuck", [False, True])
def test_workers_end_with_a_killed_supervisor(node: Workers, is_stuck: bool):
    pids = node.pids()
    if is_stuck:
        os.kill(pids[0], signal.SIGUSR2)
        node.wait_until(lambda: not node.is_well())
    node.process.kill()
    node.process.wait()
    while any(map(lives, pids)):
        pass  # The test's own time limit ends this.


def test_a_supervisor_that_starts_again_begins_at_0_with_a_newer_start_time(node: Workers, config: Path):
    started = "lean_node_start_time_seconds", frozenset()
    beats = "leanmesh_loop_lateness_seconds_count", frozenset()
    node.wait_until(lambda: node.values()[beats] > 50)
    before = node.values()
    node.process.kill()
    node.process.wait()
    again = start(config)
    with again.process:
        after = again.values()
        again.process.kill()
    assert after[started] > before[started]
    assert after[beats] < before[beats]


def test_one_ctrl_c_stops_all_cleanly(node: Workers):
    pids = node.pids()
    node.process.send_signal(signal.SIGINT)
    assert node.process.wait(timeout=30) == 0
    assert not any(map(lives, pids))
    assert not Path(node.ready["cells"]).exists()


def test_a_service_manager_that_tells_all_processes_stops_each_of_them_cleanly(node: Workers):
    pids = node.pids()
    cells = [CellsReader.open(cells_of(pid)) for pid in pids]
    for _ in range(3):
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(timeout=30) == 0
    assert all(reader.has_ended for reader in cells)


def test_a_second_ctrl_c_ends_all_at_once(node: Workers):
    pids = node.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    node.process.send_signal(signal.SIGINT)
    while node.process.poll() is None:
        # The first one may still be on its way.
        time.sleep(0.05)
        node.process.send_signal(signal.SIGINT)
    assert node.process.returncode == 130
    while any(map(lives, pids)):
        pass  # The test's own time limit ends this.


def test_more_workers_than_networks_are_refused_before_anything_starts(config: Path):
    result = subprocess.run(command(config, 3), capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "3 workers" in result.stderr
    assert "2" in result.stderr


def test_a_port_that_is_taken_is_an_error_that_names_the_network(config: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config.write_text(SETTINGS.format(port=taken.getsockname()[1]))
        result = subprocess.run(command(config), capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "worker 0 (network 3)" in result.stderr
    assert "Traceback" not in result.stderr
