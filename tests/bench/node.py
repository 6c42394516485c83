"""Whole nodes side by side with other libraries: two processes, and many nodes in one.

Figures that are compared come from one run on one machine.  What is counted
was delivered to an application; CPU is the kernel's count.  py-libp2p drops
what its queues do not take, so it is given what it can carry.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

import attrs
import trio
from contestants import HERE, LEANMESH, Moment, can_start, start
from harness import Result, at_least, at_most, note

TOPIC = "bench"
SIZE_BYTES = 1024
WINDOW_S = 3
ROUNDS = 2
SETTLE_S = 2.0
# Messages per second: without end for those that keep what is published, beyond its capacity for py.
RATES = {LEANMESH: 0, "js": 0, "py": 2000}
# Times faster than the others, in messages delivered per second.
AIMS = {("none", "py"): 20.0, ("none", "js"): 8.0, ("strict", "py"): 6.0, ("strict", "js"): 2.0}
SIGNING = {"none": "unsigned", "strict": "signed"}
LATENCY_RATE_PER_S = 500
CROWDS = (10, 20)


@attrs.frozen
class Flow:
    """One publisher, one subscriber, for a while."""

    per_s: float
    publisher_us: float
    subscriber_us: float


def run() -> Iterator[Result]:
    """Two processes in turns, latency, crowds; then what the machine was doing besides."""
    yield from _two_processes()
    p50_ms, p99_ms = trio.run(_latency_ms)
    against = f"two processes, {LATENCY_RATE_PER_S} messages/s of 1 KiB, unsigned"
    yield at_most("latency_p50", p50_ms * 1e3, "us", 500.0, against)
    yield note("latency_p99", p99_ms * 1e3, "us", against)
    yield from _crowds()
    yield note("load", os.getloadavg()[0], "running tasks", f"on {os.cpu_count()} cores")


def _two_processes() -> Iterator[Result]:
    names = [name for name in RATES if can_start(name)]
    for signing, word in SIGNING.items():
        flows: dict[str, list[Flow]] = {name: [] for name in names}
        for _ in range(ROUNDS):
            for name in names:
                flows[name].append(trio.run(_flow, name, signing))
        for name in names:
            against = f"{word}, 1 KiB, two processes"
            for field in attrs.fields(Flow):
                unit = "messages/s" if field.name == "per_s" else "us"
                value = statistics.median(getattr(flow, field.name) for flow in flows[name])
                yield note(f"{word}.{name}.{field.name}", value, unit, against)
        for name in names[1:]:
            times = statistics.median(
                ours.per_s / theirs.per_s for ours, theirs in zip(flows[LEANMESH], flows[name], strict=True)
            )
            yield at_least(
                f"{word}.times_{name}", times, "x", AIMS[signing, name], "messages delivered per second"
            )


async def _flow(name: str, signing: str) -> Flow:
    """From the second report to the one some seconds later: nothing starts and nothing ends meanwhile."""
    async with trio.open_nursery() as nursery:
        subscriber, publisher = await _pair(nursery, name, signing, RATES[name])
        await Moment.next_of(subscriber)
        first = await Moment.next_of(subscriber, publisher.pid, subscriber.pid)
        for _ in range(WINDOW_S - 1):
            await Moment.next_of(subscriber)
        last = await Moment.next_of(subscriber, publisher.pid, subscriber.pid)
        nursery.cancel_scope.cancel()
    delivered = last.delivered - first.delivered
    assert delivered, f"{name}, {signing}: nothing was delivered in {WINDOW_S} s"
    publisher_us, subscriber_us = (
        (later - earlier) / delivered * 1e6 for earlier, later in zip(first.cpu_s, last.cpu_s, strict=True)
    )
    return Flow(delivered / (last.at_s - first.at_s), publisher_us, subscriber_us)


async def _latency_ms() -> tuple[float, float]:
    async with trio.open_nursery() as nursery:
        subscriber, _ = await _pair(nursery, LEANMESH, "none", LATENCY_RATE_PER_S)
        for _ in range(WINDOW_S):
            await Moment.next_of(subscriber)
        # The first second starts the flow; each line has the latencies since the last.
        lines = [line["latency_ms"] for line in subscriber.all("summary") if "latency_ms" in line][1:]
        nursery.cancel_scope.cancel()
    return tuple(statistics.median(line[share] for line in lines) for share in ("p50", "p99"))


async def _pair(nursery: trio.Nursery, name: str, signing: str, rate: int):
    """A subscriber, and a publisher that has met it and has begun."""
    common = ("--topic", TOPIC, "--signing", signing, "--report", "summary")
    subscriber = await start(nursery, name, *common, "--subscribe-only")
    publisher = await start(
        nursery, name, *common, "--publish-only", "--hold", "--count", 0, "--publish-rate", rate,
        "--size", SIZE_BYTES, "--peer", subscriber.address,
    )  # fmt: skip
    # Until the publisher knows who subscribes.  No common event says so for one that does not subscribe.
    await trio.sleep(SETTLE_S)
    await publisher.command("publish")
    return subscriber, publisher


def _crowds() -> Iterator[Result]:
    memory: dict[int, float] = {}
    for size in CROWDS:
        figures = _crowd(size)
        memory[size] = figures["memory_bytes"]
        name = f"nodes_{size}"
        where = f"{size} nodes in one process, 1 KiB, unsigned"
        yield at_most(
            f"{name}.gauge_age_p99", figures["gauge_age_p99_s"], "s", 2.0, "of 40 scrapes while saturated"
        )
        yield note(f"{name}.mesh", figures["mesh_s"], "s", f"{where}: dialing all to a mesh everywhere")
        for key, aim in (("saturated", 60.0), ("at_50", 300.0), ("at_500", None)):
            got = figures[key]
            pace = "saturated" if key == "saturated" else f"{key[3:]} messages/s"
            yield Result(f"{name}.{key}.cpu", got["cpu_us"], "us per delivery", aim, True, f"{where}, {pace}")
            yield note(f"{name}.{key}.deliveries", got["per_s"], "per s", f"{got['missing']} missing")
            yield note(f"{name}.{key}.latency_p50", got["p50_us"], "us")
    small, large = CROWDS
    per_node = (memory[large] - memory[small]) / (large - small)
    yield at_most("memory_per_node", per_node / 1e6, "MB", 1.0, f"idle, {large} nodes less {small}, meshed")


def _crowd(size: int) -> dict:
    command = [sys.executable, str(HERE / "programs/crowd.py"), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
