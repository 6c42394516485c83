"""A real Prometheus scrapes a node each second while its workers, under load, are killed and recycled."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from urllib.request import Request, urlopen

import attrs
import pytest
import trio
from end_to_end.prometheus import Prometheus, needs_prometheus, start_prometheus
from end_to_end.workers import cells_of
from leanmesh.errors import NodeError
from leanmesh.identity.key_file import read_or_create_key_file
from leanmesh.metrics.cells import CellsReader
from leanmesh.metrics.family import CounterSpec, GaugeSpec
from leanmesh.run import open_node
from leanmesh.service.node import Node
from leanmesh.service.params import NetworkParams
from leanmesh.settings import Settings
from ports import free_port
from prometheus_client.parser import text_string_to_metric_families as parse_text

pytestmark = [pytest.mark.long, needs_prometheus, pytest.mark.timeout(400)]

ENDS = 30
DURATION_S = 60.0
PAUSE_S = 2.0
RATE_PER_S = 50.0
WINDOW = "10m"
COUNTS = '{__name__=~".+(_total|_bucket|_count|_sum)",__name__!="lean_attestation_committee_count"}'
# What is counted when messages pass, and only then: at rest with the publisher.
STORED = "gossipsub_topic_msg_recv_counts_unfiltered_total"

# By Prometheus, to every series.
ADDED_LABELS = ("__name__", "job", "instance")

SETTINGS = """
[web]
listen = "127.0.0.1:0"
[workers]
restart_first_s = 0.0
restarts_limit = 1000
[service]
redial_first_s = 0.2
redial_limit_s = 1.0
"""
NETWORK = """
[[network]]
network_id = {number}
key_file = "{key_file}"
listen = ["/ip4/127.0.0.1/tcp/{port}"]
peers = {peers}
topics = ["news"]
"""


def write_settings(folder: Path) -> list[str]:
    """Three networks, each of which dials the others; their addresses."""
    ports = [free_port() for _ in range(3)]
    keys = [folder / f"{number}.key" for number in range(3)]
    addresses = [
        f"/ip4/127.0.0.1/tcp/{port}/p2p/{read_or_create_key_file(key).peer_id}"
        for port, key in zip(ports, keys, strict=True)
    ]
    networks = [
        NETWORK.format(
            number=number,
            key_file=keys[number],
            port=ports[number],
            peers=json.dumps([address for address in addresses if address != addresses[number]]),
        )
        for number in range(3)
    ]
    (folder / "node.toml").write_text(SETTINGS + "".join(networks))
    return addresses


@attrs.define(eq=False)
class Workers:
    """The node under test, and the cells of every life of its workers, held open beyond their ends."""

    base: str
    lives: dict[int, CellsReader] = attrs.field(factory=dict)
    by_number: dict[int, int] = attrs.field(factory=dict)
    """The process of each worker now."""

    async def ask(self, path: str, method: str = "GET") -> str:
        def read() -> str:
            with urlopen(Request(self.base + path, method=method), timeout=10) as answer:
                return answer.read().decode()

        return await trio.to_thread.run_sync(read)

    async def running(self, number: int, other_than: int | None = None) -> int:
        """The process of a worker that runs, once it is another one than that; its cells are held."""
        while True:
            worker = json.loads(await self.ask("/api/workers"))["workers"][number]
            if worker["state"] == "running" and worker["pid"] != other_than:
                break
            await trio.sleep(0.05)
        pid = self.by_number[number] = worker["pid"]
        if pid not in self.lives:
            self.lives[pid] = CellsReader.open(cells_of(pid))
        return pid

    async def end(self, number: int, *, is_killed: bool) -> None:
        """Kill a worker or have it recycled, and wait until its networks run again."""
        pid = await self.running(number)
        if is_killed:
            os.kill(pid, signal.SIGKILL)
        else:
            await self.ask(f"/api/recycle?worker={number}", "POST")
        await self.running(number, other_than=pid)

    def naive_sum(self) -> int:
        """What adding up the counters of the living would show."""
        return sum(stored(self.lives[pid]) for pid in self.by_number.values())

    def true_sums(self) -> dict[tuple[str, frozenset], float]:
        """Every counter as it was stored, over all lives there ever were."""
        sums: dict[tuple[str, frozenset], float] = {}
        for reader in self.lives.values():
            for spec, series in reader.copy(is_writer_dead=not reader.writer_is_alive).families():
                if isinstance(spec, CounterSpec):
                    for values, steps in series:
                        key = spec.name, frozenset(zip(spec.labels, values, strict=True))
                        sums[key] = sums.get(key, 0) + steps * spec.resolution
        return sums

    async def page(self) -> dict[tuple[str, frozenset], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse_text(await self.ask("/metrics"))
            for sample in family.samples
        }

    def gauges_of(self, number: int) -> set[str]:
        """The gauges that a living worker stores under its network's id."""
        copy = self.lives[self.by_number[number]].copy()
        return {
            spec.name
            for spec, _ in copy.families()
            if isinstance(spec, GaugeSpec) and "network_id" in spec.labels
        }


def stored(reader: CellsReader) -> int:
    copy = reader.copy(is_writer_dead=not reader.writer_is_alive)
    return sum(value for spec, series in copy.families() if spec.name == STORED for _, value in series)


async def publish(node: Node) -> None:
    number = 0
    while True:
        number += 1
        with suppress(NodeError):
            await node.publish("news", f"message {number} of many, each of its own".encode())
        await trio.sleep(1 / RATE_PER_S)


async def end_again_and_again(workers: Workers, naive: list[int]) -> None:
    """Thirty ends by turns: worker 1 and 2, killed and recycled.  Worker 0 lives."""
    started_s = trio.current_time()
    for number in range(ENDS):
        await trio.sleep_until(started_s + number * PAUSE_S)
        naive.append(workers.naive_sum())
        await workers.end(1 + number % 2, is_killed=number // 2 % 2 == 0)
        naive.append(workers.naive_sum())
    await trio.sleep_until(started_s + DURATION_S)


async def test_no_count_falls_and_none_is_wrong_while_workers_are_killed_and_recycled(tmp_path: Path):
    addresses = write_settings(tmp_path)
    command = [
        *(sys.executable, "-m", "leanmesh", "run", "--config", str(tmp_path / "node.toml")),
        *("--workers", "3", "--log-format", "json"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = map(json.loads, process.stdout)
            ready = next(line for line in lines if line["event"] == "ready")
            async with trio.open_nursery() as nursery:
                # Nobody reads on: what they say must not stop the workers.
                nursery.start_soon(trio.to_thread.run_sync, process.stdout.read)
                await check(tmp_path, ready["metrics"].removesuffix("/metrics"), addresses)
                process.terminate()
        finally:
            process.kill()


async def check(folder: Path, base: str, addresses: list[str]) -> None:
    workers = Workers(base)
    for number in range(3):
        await workers.running(number)
    naive: list[int] = []
    network = NetworkParams(listen=(), peers=tuple(addresses), topics=("news",))
    async with trio.open_nursery() as nursery:
        target = base.removeprefix("http://")
        prometheus = await start_prometheus(nursery, folder, {"workers": target})
        async with open_node(Settings(network=(network,))) as node, trio.open_nursery() as load:
            await node.wait_for_mesh("news", 3, 30)
            load.start_soon(publish, node)
            await end_again_and_again(workers, naive)
            load.cancel_scope.cancel()
        page = await page_at_rest(workers)
        await check_stored(workers, prometheus, page)
        await check_series(workers, prometheus)
        nursery.cancel_scope.cancel()
    assert len(workers.lives) == 3 + ENDS
    assert any(later < earlier for earlier, later in pairwise(naive)), (
        "adding up the living never fell: this test would pass without the aggregation"
    )


async def page_at_rest(workers: Workers) -> dict[tuple[str, frozenset], float]:
    """The page once two scrapes in a row show the same messages."""
    before: dict = {}
    while True:
        await trio.sleep(1.5)
        page = await workers.page()
        now = {key: value for key, value in page.items() if key[0] == STORED}
        if now == before:
            return page
        before = now


async def check_stored(workers: Workers, prometheus: Prometheus, page: dict) -> None:
    """What stands on the page, and what Prometheus has of it, is what all lives have stored."""
    stored = {key: value for key, value in workers.true_sums().items() if "topic_msg_recv" in key[0]}
    assert sum(stored.values()) > 1000
    assert {key: page[key] for key in stored} == stored
    # A scrape after that, and then the next one.
    await trio.sleep(2.5)
    for name, labels in stored:
        last = {
            labels_of(others): samples[max(samples)]
            for others, samples in await prometheus.series(name, WINDOW)
        }
        assert last[labels] == stored[name, labels]


async def check_series(workers: Workers, prometheus: Prometheus) -> None:
    at_s = time.time()
    ((_, up),) = await prometheus.series("up", WINDOW, at_s)
    first_up = min(time_s for time_s, is_up in up.items() if is_up)
    times = sorted(time_s for time_s in up if time_s >= first_up)
    assert all(up[time_s] for time_s in times), "a scrape failed"
    assert len(times) > DURATION_S * 0.9

    names = {labels["__name__"] for labels, _ in await prometheus.series(COUNTS, WINDOW, at_s)}
    assert {STORED, "leanmesh_handshake_seconds_bucket", "leanmesh_worker_restarts_total"} <= names
    for name in sorted(names):
        await check_count(prometheus, name, at_s)
    for name in sorted(workers.gauges_of(0)):
        for labels, samples in await prometheus.series(f'{name}{{network_id="0"}}', WINDOW, at_s):
            missing = [time_s for time_s in times if time_s > min(samples) and time_s not in samples]
            assert missing == [], f"a gap in {labels} of a worker that lived"


async def check_count(prometheus: Prometheus, name: str, at_s: float) -> None:
    """One family never falls, grows by what its samples say, and no bucket grows more than all together."""
    resets = await prometheus.now(f"resets({name}[{WINDOW}])", at_s)
    assert [(name, labels, count) for labels, count in resets if count] == []
    increases = as_values(await prometheus.now(f"increase({name}[{WINDOW}])", at_s))
    for labels, samples in await prometheus.series(name, WINDOW, at_s):
        times = sorted(samples)
        key = frozenset(labels.items()) - {("__name__", name)}
        if key not in increases:
            assert len(times) == 1, (name, labels)
            continue
        grown = samples[times[-1]] - samples[times[0]]
        covered_s = times[-1] - times[0]
        # Prometheus adds half an interval at each end; its samples are 1 s apart, on a busy machine more.
        extrapolated = grown * (covered_s + 1.5 * covered_s / (len(times) - 1)) / covered_s
        assert grown <= increases[key] + 1e-9 * grown, (name, labels)
        assert increases[key] <= extrapolated + 1e-9, (name, labels)
    if name.endswith("_bucket"):
        counts = as_values(
            await prometheus.now(f"increase({name.removesuffix('_bucket')}_count[{WINDOW}])", at_s)
        )
        for key, grown in increases.items():
            whole = counts[frozenset((label, value) for label, value in key if label != "le")]
            assert grown <= whole * (1 + 1e-9), (name, key)


def labels_of(labels: dict[str, str]) -> frozenset:
    """The labels that we gave."""
    return frozenset((label, value) for label, value in labels.items() if label not in ADDED_LABELS)


def as_values(answer: list[tuple[dict[str, str], float]]) -> dict[frozenset, float]:
    return {frozenset(labels.items()): value for labels, value in answer}
