"""How long a command's service runs: until a signal asks it to stop."""

import os
import signal
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import cast

import trio

from leanmesh.errors import NodeError

INTERRUPTED = 130


def run_command(service: Callable[[], Awaitable[None]]) -> None:
    """Run a command's service until it ends or a signal stops it.

    An error that nurseries have wrapped in groups is raised as itself, so that
    the person who waits reads one sentence and not a tree.
    """
    try:
        trio.run(run_until_stopped, service)
    except BaseExceptionGroup as group:
        cause = _single_cause(group)
        if isinstance(cause, NodeError | BrokenPipeError):
            raise cause from None
        raise


def _single_cause(error: BaseException) -> BaseException:
    """The one error inside groups of one; the first group with several, else."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
    return _single_cause(inner[0]) if len(inner) == 1 else cast("BaseException", error)


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
