"""One publisher, the contestant, eight subscribers: what relaying costs the contestant.

The ends are cheap and know only the contestant, so that every message passes
through it, once in and eight times out.  The cores are shared with the ends:
what counts is the CPU time of the contestant, as the kernel counts it.
"""

import os
import statistics
import sys
from collections.abc import Iterator

import attrs
import trio
from contestants import HERE, LEANMESH, Moment, can_start, start, start_program
from harness import Result, at_least, note
from programs.relay_load import SUBSCRIBERS, TOPIC

WINDOW_S = 3
ROUNDS = 2
# js and py read all and pass on what they can: as much as they can carry besides.  0: as much as goes.
SATURATING = {LEANMESH: (0,), "go": (0,), "js": (0, 500), "py": (0, 100)}
STEADY_PER_S = 500
AIM_PER_CPU_S = 40_000


@attrs.frozen
class Relayed:
    """What passed through the contestant in a while."""

    messages: float
    """Each of which reached all subscribers, or more messages that reached fewer."""
    wall_s: float
    cpu_s: float

    @property
    def per_cpu_s(self) -> float:
        """Messages to eight peers, per CPU-second of the contestant."""
        return self.messages / self.cpu_s


def run() -> Iterator[Result]:
    """Saturated, all in turns; then ours at a steady rate."""
    names = [name for name in SATURATING if can_start(name)]
    best: dict[str, list[Relayed]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            runs = [trio.run(relay, name, rate) for rate in SATURATING[name]]
            best[name].append(max(runs, key=lambda one: one.per_cpu_s))
    against = f"1 KiB, unsigned, to {SUBSCRIBERS} peers, saturated"
    for name in names:
        value = statistics.median(one.per_cpu_s for one in best[name])
        aim = AIM_PER_CPU_S if name == LEANMESH else None
        yield Result(f"{name}.per_cpu_s", value, "messages per CPU-second", aim, against=against)
        per_s = statistics.median(one.messages / one.wall_s for one in best[name])
        yield note(f"{name}.per_s", per_s, "messages/s")
    for name in names[1:]:
        times = statistics.median(
            ours.per_cpu_s / theirs.per_cpu_s for ours, theirs in zip(best[LEANMESH], best[name], strict=True)
        )
        yield at_least(f"times_{name}", times, "x", 1.0, "messages per CPU-second")
    steady = trio.run(relay, LEANMESH, STEADY_PER_S)
    yield note(f"{LEANMESH}.at_{STEADY_PER_S}", 1e6 / steady.per_cpu_s, "us", f"{STEADY_PER_S} messages/s")
    yield note("load", os.getloadavg()[0], "running tasks", f"on {os.cpu_count()} cores")


async def relay(name: str, rate: int, *flags: str) -> Relayed:
    """What one contestant relays in a few seconds; rate 0: as much as goes."""
    async with trio.open_nursery() as nursery:
        contestant = await start(
            nursery,
            name,
            "--topic",
            TOPIC,
            "--signing",
            "none",
            "--subscribe-only",
            "--report",
            "summary",
            *flags,
        )
        program = [sys.executable, str(HERE / "programs/relay_load.py"), contestant.address]
        load = await start_program(nursery, "load", program)
        # The last GRAFT has left; what it causes takes its time with some.
        await trio.sleep(1.5)
        await load.command("publish", str(rate))
        await Moment.next_of(load)
        first = await Moment.next_of(load, contestant.pid)
        for _ in range(WINDOW_S - 1):
            await Moment.next_of(load)
        last = await Moment.next_of(load, contestant.pid)
        nursery.cancel_scope.cancel()
    copies = last.delivered - first.delivered
    assert copies, f"{name} relayed nothing in {WINDOW_S} s"
    return Relayed(copies / SUBSCRIBERS, last.at_s - first.at_s, last.cpu_s[0] - first.cpu_s[0])
