"""How long a command's service runs: until a signal asks it to stop."""

import os
import signal
from collections.abc import Awaitable, Callable
from types import FrameType

import trio

INTERRUPTED = 130


async def run_until_stopped(service: Callable[[], Awaitable[None]]) -> None:
    """Run a service; SIGTERM or Ctrl-C cancels it, and its clean end is a success.

    A second Ctrl-C does not wait for that end: the process exits with 130.
    """
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_on_signal, nursery.cancel_scope)
        await service()
        nursery.cancel_scope.cancel()


async def _cancel_on_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            break
    signal.signal(signal.SIGINT, _leave_at_once)
    scope.cancel()


def _leave_at_once(signal_number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
