"""The trace's file: lines are taken without waiting, and written in batches by a thread.

A slow disk never slows the mesh: lines that find the queue full are dropped and
counted, on the page and where they are missing in the file, by a line of the type
DROPPED_LINES that says how many they are so far.
"""

import json
import os
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path

import attrs
import trio

from leanmesh.errors import LocalError
from leanmesh.metrics.catalog_trace import TRACE_LINES
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.prime import prime
from leanmesh.service.events import tell
from leanmesh.service.params import TraceParams

# A pause in which lines gather: a batch costs a thread's turn, whatever its size.
GATHER_S = 0.05
# What the disk may take for the last batch when the node stops.
CLOSE_TIMEOUT_S = 2.0


@attrs.frozen
class Written:
    """What one write did: the lines that are whole in the file now, and what stopped it."""

    lines: int
    is_torn: bool
    error: OSError | None = None


@attrs.define(eq=False)
class TraceFile:
    """Appends lines to one file until it has `limit_bytes`.  Several processes may share one."""

    path: Path
    params: TraceParams
    cells: Cells
    _descriptor: int = attrs.field(init=False)
    _lines: list[bytes] = attrs.field(factory=list[bytes], init=False)
    # Of the lines that wait, and of those that the disk is being given.
    _queued_bytes: int = attrs.field(default=0, init=False)
    # Dropped so far, and how many of those the lines that were put tell of.
    _dropped: int = attrs.field(default=0, init=False)
    _told: int = attrs.field(default=0, init=False)
    _is_torn: bool = attrs.field(default=False, init=False)
    _is_losing: bool = attrs.field(default=False, init=False)
    _is_writing: bool = attrs.field(default=False, init=False)
    _is_closing: bool = attrs.field(default=False, init=False)
    _has_ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    _scope: trio.CancelScope | None = attrs.field(default=None, init=False)
    _news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def __attrs_post_init__(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise LocalError(f"the trace cannot be written to {self.path}: {error.strerror}") from error
        prime(self.cells, TRACE_LINES)

    def put(self, line: bytes) -> None:
        """Have one line written, newline included, or drop it.  Never waits."""
        if self._told != self._dropped:
            line = _dropped_line(self._dropped) + line
        if self._queued_bytes + len(line) > self.params.queue_limit_bytes or self._has_ended.is_set():
            self._drop(1, "queue_full")
            return
        self._told = self._dropped
        self._lines.append(line)
        self._queued_bytes += len(line)
        if len(self._lines) == 1:
            self._news.unpark()

    def _drop(self, lines: int, outcome: str) -> None:
        self._dropped += lines
        self._count(lines, outcome)

    def _count(self, lines: int, outcome: str) -> None:
        self.cells.add(self.cells.counter(TRACE_LINES, outcome), lines)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what is put, until `aclose`.

        Cancellation from outside does not end it: the last lines are those that tell how
        the node ended.  Whoever calls this must call `aclose`, or it never returns.
        """
        try:
            with trio.CancelScope(shield=True) as self._scope:
                task_status.started()
                while self._lines or not self._is_closing:
                    if not self._lines:
                        await self._news.park()
                        continue
                    await trio.sleep(GATHER_S)
                    await self._write_queued()
        finally:
            self._has_ended.set()
            if not self._is_writing:
                # Else a thread still needs it, for as long as the disk keeps it waiting.
                os.close(self._descriptor)

    async def aclose(self) -> None:
        """Write what is left and end `run`, within CLOSE_TIMEOUT_S: a disk may hang."""
        self._is_closing = True
        self._news.unpark_all()
        if self._scope is None:
            return
        with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            await self._has_ended.wait()
        self._scope.cancel()

    async def _write_queued(self) -> None:
        lines, self._lines = self._lines, []
        self._is_writing = True
        written = await trio.to_thread.run_sync(
            partial(_append, self._descriptor, lines, self.params.limit_bytes, is_torn=self._is_torn),
            abandon_on_cancel=True,
        )
        self._is_writing = False
        self._is_torn = written.is_torn
        self._queued_bytes -= sum(map(len, lines))
        self._count(written.lines, "written")
        lost = len(lines) - written.lines
        if lost:
            self._drop(lost, "file_full" if written.error is None else "failed")
        self._tell(written, is_losing=lost > 0)

    def _tell(self, written: Written, *, is_losing: bool) -> None:
        """Say so once when lines begin to be lost."""
        if is_losing and not self._is_losing:
            error = written.error
            reason = f"it has its {self.params.limit_bytes} bytes" if error is None else str(error.strerror)
            tell("trace", f"the trace {self.path} loses lines: {reason}", path=str(self.path), reason=reason)
        self._is_losing = is_losing


def _dropped_line(count: int) -> bytes:
    return json.dumps({"Type": "DROPPED_LINES", "Data": {"Count": count}}).encode() + b"\n"


def _append(descriptor: int, lines: Sequence[bytes], limit_bytes: int, *, is_torn: bool) -> Written:
    """In a thread: write as many whole lines as the file has room for, after the end of a torn one."""
    try:
        room = limit_bytes - os.fstat(descriptor).st_size - is_torn
    except OSError as error:
        return Written(0, is_torn, error)
    ends = list(accumulate(map(len, lines)))
    fitting = bisect_right(ends, room)
    if not fitting:
        return Written(0, is_torn)
    head = b"\n" if is_torn else b""
    done = -len(head)
    with memoryview(head + b"".join(lines[:fitting])) as batch:
        try:
            while done < ends[fitting - 1]:
                done += os.write(descriptor, batch[len(head) + done :])
        except OSError as error:
            whole = bisect_right(ends, done)
            # In the middle of a line, or of the same one as before.
            return Written(whole, done != (ends[whole - 1] if whole else 0), error)
    return Written(fitting, is_torn=False)
