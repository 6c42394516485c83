"""The trace's file: lines that find no room are dropped, counted and told.

They are counted on the page, and where they are missing in the file, by a line of the type
DROPPED_LINES that says how many they are so far.
"""

import json
import os
from pathlib import Path

import attrs
import trio

from leanmesh.errors import LocalError
from leanmesh.metrics.catalog_trace import TRACE_LINES
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.prime import prime
from leanmesh.service.events import tell
from leanmesh.service.line_file import LineFile, Written
from leanmesh.service.params import TraceParams


@attrs.define(eq=False)
class TraceFile:
    """Appends lines to one file until it has `limit_bytes`.  Several processes may share one."""

    path: Path
    params: TraceParams
    cells: Cells
    _file: LineFile = attrs.field(init=False)
    # Dropped so far, and how many of those the lines that were put tell of.
    _dropped: int = attrs.field(default=0, init=False)
    _told: int = attrs.field(default=0, init=False)
    _is_losing: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise LocalError(f"the trace cannot be written to {self.path}: {error.strerror}") from error
        params = self.params
        self._file = LineFile(params.limit_bytes, params.queue_limit_bytes, descriptor, self._on_written)
        prime(self.cells, TRACE_LINES)

    def put(self, line: bytes) -> None:
        """Have one line written, newline included, or drop it.  Never waits."""
        if self._told != self._dropped:
            line = _dropped_line(self._dropped) + line
        if self._file.put(line):
            self._told = self._dropped
        else:
            self._drop(1, "queue_full")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what is put, until `aclose`, also when cancelled.  See LineFile."""
        await self._file.run(task_status=task_status)

    async def aclose(self) -> None:
        """Write what is left and end `run`.  See LineFile."""
        await self._file.aclose()

    def _drop(self, lines: int, outcome: str) -> None:
        self._dropped += lines
        self._count(lines, outcome)

    def _count(self, lines: int, outcome: str) -> None:
        self.cells.add(self.cells.counter(TRACE_LINES, outcome), lines)

    def _on_written(self, written: Written) -> None:
        self._count(written.lines, "written")
        if written.lost:
            self._drop(written.lost, written.outcome)
            if not self._is_losing:
                self._tell(written)
        self._is_losing = written.lost > 0

    def _tell(self, written: Written) -> None:
        """Say so once when lines begin to be lost."""
        error = written.error
        reason = f"it has its {self.params.limit_bytes} bytes" if error is None else str(error.strerror)
        tell("trace", f"the trace {self.path} loses lines: {reason}", path=str(self.path), reason=reason)


def _dropped_line(count: int) -> bytes:
    return json.dumps({"Type": "DROPPED_LINES", "Data": {"Count": count}}).encode() + b"\n"
