"""The programs that benchmarks let run against one another, started alike and watched alike."""

import os
import sys
from pathlib import Path

import attrs
import trio

HERE = Path(__file__).parent
# Behind this folder, whose modules come first: the interop peers and what builds them.
sys.path.append(str(HERE.parent))

from interop.build import LANGUAGES  # noqa: E402
from interop.peers import Peer, start_peer, start_program  # noqa: E402

LEANMESH = "leanmesh"
OURS = [sys.executable, str(HERE / "programs/leanmesh_peer.py")]
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def can_start(name: str) -> bool:
    """Whether this contestant is built on this machine."""
    return name == LEANMESH or LANGUAGES[name].is_built


async def start(nursery: trio.Nursery, name: str, *arguments: str | float) -> Peer:
    """A contestant, once it listens; it ends with the nursery."""
    if name == LEANMESH:
        return await start_program(nursery, name, [*OURS, *map(str, arguments)])
    return await start_peer(nursery, name, *arguments)


def cpu_s(pid: int) -> float:
    """User and system time of a process as the kernel counts it, children that it waited for included."""
    # Fields 14 to 17, counted behind the name, which may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_PER_S


def memory_bytes(pid: int) -> int:
    """What of a process is in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@attrs.frozen
class Moment:
    """How far a run was when a peer told its totals."""

    at_s: float
    delivered: int
    cpu_s: tuple[float, ...]

    @classmethod
    async def next_of(cls, peer: Peer, *watched: int) -> "Moment":
        """When the peer tells its totals the next time; CPU of the watched processes at that time."""
        told = len(peer.all("summary"))
        await peer.until(lambda: len(peer.all("summary")) > told, what="summary")
        return cls(trio.current_time(), peer.all("summary")[-1]["received"], tuple(map(cpu_s, watched)))
