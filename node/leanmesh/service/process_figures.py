"""What a process costs, as its parent reads it from /proc."""

import os
from pathlib import Path

import attrs

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Fields of proc(5)'s stat, counted from the state: what precedes it, the name, may hold anything.
_UTIME, _STIME, _RESIDENT = 11, 12, 21


@attrs.frozen
class ProcessFigures:
    """One process at one moment.  One that ended and was not waited for has no memory, but its CPU time."""

    cpu_s: float
    resident_bytes: int


def read_figures(pid: int) -> ProcessFigures | None:
    """The figures of a process; None when there is none of this id, or this machine is out of descriptors."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat.rpartition(b")")[2].split()
    cpu_s = (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS_PER_S
    return ProcessFigures(cpu_s, int(fields[_RESIDENT]) * _PAGE_BYTES)


def count_descriptors(pid: int) -> int | None:
    """How many descriptors a process has open; None when it has ended, or cannot be looked into."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
    except OSError:
        return None
