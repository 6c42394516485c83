"""One task waits, synchronous code wakes it: the cheapest wait that Trio can have."""

from typing import Any

import attrs
import trio

from leanmesh.transport.errors import StreamBusy


@attrs.define(eq=False)
class Wakeup:
    """A place for one waiting task.  Waking an empty place does nothing, so the waiter checks first."""

    _task: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        """Sleep until `wake`.  May return for no reason of the waiter's: check again."""
        if self._task is not None:
            raise StreamBusy("another task waits here already")
        self._task = trio.lowlevel.current_task()

        def abort(_raise_cancel: Any) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        """Let the waiting task go on, if there is one."""
        task = self._task
        if task is not None:
            self._task = None
            trio.lowlevel.reschedule(task)
