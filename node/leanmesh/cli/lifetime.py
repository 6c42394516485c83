"""How long a command's service runs: until a signal asks it to stop."""

import os
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import cast

import attrs
import trio

from leanmesh.errors import NodeError

INTERRUPTED = 130


@attrs.define(eq=False)
class MainPart:
    """The part of a service that the first signal ends.  What follows it, as closing totals, is still done.

    Before the part has begun the first signal ends the whole service.
    """

    _scope: trio.CancelScope | None = attrs.field(default=None, init=False)

    @contextmanager
    def for_at_most(self, duration_s: float) -> Generator[None]:
        """The part itself, which ends after so many seconds if no signal ends it before."""
        with trio.move_on_after(duration_s) as self._scope:
            yield

    def stop(self, service: trio.CancelScope) -> None:
        """The first signal has come."""
        (self._scope or service).cancel()


def run_command(service: Callable[[], Awaitable[None]], main_part: MainPart | None = None) -> None:
    """Run a command's service until it ends or a signal stops it, or its main part.

    An error that nurseries have wrapped in groups is raised as itself, so that
    the person who waits reads one sentence and not a tree.
    """
    try:
        trio.run(run_until_stopped, service, main_part or MainPart())
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


async def run_until_stopped(service: Callable[[], Awaitable[None]], main_part: MainPart) -> None:
    """Run a service; SIGTERM or Ctrl-C ends its main part, and its clean end is a success.

    A second Ctrl-C does not wait for that end: the process exits with 130.
    """
    async with trio.open_nursery() as nursery:
        await nursery.start(_stop_on_signal, partial(main_part.stop, nursery.cancel_scope))
        await service()
        nursery.cancel_scope.cancel()


async def _stop_on_signal(
    stop: Callable[[], None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            break
    signal.signal(signal.SIGINT, _leave_at_once)
    stop()


def _leave_at_once(signal_number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
