"""How long a command's service runs: until a signal asks it to stop."""

import atexit
import os
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
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
        if isinstance(cause, NodeError | OSError):
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

    A Ctrl-C after that does not wait for that end: the process exits with 130.  A later
    SIGTERM changes nothing, for who stops many processes at once may ask each of them twice.
    The process's handlers stay when this returns: from here on it only ends.
    """
    async with trio.open_nursery() as nursery:
        _stop_on_signal(partial(main_part.stop, nursery.cancel_scope))
        await service()
        nursery.cancel_scope.cancel()


def _stop_on_signal(stop: Callable[[], None]) -> None:
    """Have the first signal call `stop` in Trio's loop.

    Handlers of our own, not Trio's receiver: that one gives the signals back when its
    block ends, and a service that hangs could not be left.
    """
    in_trio = trio.lowlevel.current_trio_token()
    is_stopping = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal is_stopping
        if is_stopping and number == signal.SIGINT:
            os._exit(INTERRUPTED)
        if not is_stopping:
            is_stopping = True
            # When the loop has ended there is nothing left to stop.
            with suppress(trio.RunFinishedError):
                in_trio.run_sync_soon(stop)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
        # The interpreter gives our handlers back a tenth of a second before it has ended.
        atexit.register(signal.signal, number, signal.SIG_IGN)
