"""A file of lines that are taken without waiting, and written in batches by a thread.

A slow disk never slows the mesh: what finds the queue full is not taken.  What
becomes of a loss is the owner's business.
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate

import attrs
import trio

# A pause in which lines gather: a batch costs a thread's turn, whatever its size.
GATHER_S = 0.05
# What the disk may take for the last batch when the node stops.
CLOSE_TIMEOUT_S = 2.0


@attrs.frozen
class Written:
    """What one write did: the lines that are whole in the file now, those that are lost, and by what."""

    lines: int
    is_torn: bool
    error: OSError | None = None
    lost: int = 0

    @property
    def outcome(self) -> str:
        """What became of those that are lost, in a word."""
        return "file_full" if self.error is None else "failed"


@attrs.define(eq=False)
class LineFile:
    """Appends lines to one open file until it has `limit_bytes`, and closes it in the end.

    `on_written` is told of every write.  Several processes may share the file.
    """

    limit_bytes: int
    queue_limit_bytes: int
    _descriptor: int
    _on_written: Callable[[Written], None]
    _lines: list[bytes] = attrs.field(factory=list[bytes], init=False)
    # Of the lines that wait, and of those that the disk is being given.
    _queued_bytes: int = attrs.field(default=0, init=False)
    _is_torn: bool = attrs.field(default=False, init=False)
    _is_writing: bool = attrs.field(default=False, init=False)
    _is_closing: bool = attrs.field(default=False, init=False)
    _has_ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    _has_begun: bool = attrs.field(default=False, init=False)
    _scope: trio.CancelScope = attrs.field(factory=lambda: trio.CancelScope(shield=True), init=False)
    _news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def put(self, line: bytes, *, is_last: bool = False) -> bool:
        """Have one line written, newline included; False when there is no room.  Never waits.

        The last words of a file, which are few, need no room.
        """
        is_full = self._queued_bytes + len(line) > self.queue_limit_bytes and not is_last
        if is_full or self._has_ended.is_set():
            return False
        self._lines.append(line)
        self._queued_bytes += len(line)
        if len(self._lines) == 1:
            self._news.unpark()
        return True

    def discard(self) -> int:
        """Give up what waits; how many lines that were."""
        lines, self._lines = self._lines, []
        self._queued_bytes -= sum(map(len, lines))
        return len(lines)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what is put, until `aclose`.

        Cancellation from outside does not end it: the last lines are those that tell how
        the node ended.  Whoever calls this must call `aclose`, or it never returns.
        """
        self._has_begun = True
        try:
            # A start that is cancelled ends here: its caller waits for that, and cannot call `aclose` yet.
            await trio.lowlevel.checkpoint()
            task_status.started()
            with self._scope:
                while self._lines or not self._is_closing:
                    if not self._lines:
                        await self._news.park()
                        continue
                    await trio.sleep(GATHER_S)
                    await self._write_queued()
        finally:
            self._end()

    def _end(self) -> None:
        self._has_ended.set()
        if not self._is_writing:
            # Else a thread still needs it, for as long as the disk keeps it waiting.
            os.close(self._descriptor)

    async def aclose(self) -> bool:
        """Write what is left and end `run`, within CLOSE_TIMEOUT_S: a disk may hang.  False when it did."""
        self._is_closing = True
        self._news.unpark_all()
        if not self._has_begun and not self._has_ended.is_set():
            self._end()
        with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            await self._has_ended.wait()
        self._scope.cancel()
        return self._has_ended.is_set()

    async def _write_queued(self) -> None:
        lines, self._lines = self._lines, []
        self._is_writing = True
        written = await trio.to_thread.run_sync(
            partial(_append, self._descriptor, lines, self.limit_bytes, is_torn=self._is_torn),
            abandon_on_cancel=True,
        )
        self._is_writing = False
        self._is_torn = written.is_torn
        self._queued_bytes -= sum(map(len, lines))
        self._on_written(attrs.evolve(written, lost=len(lines) - written.lines))


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
