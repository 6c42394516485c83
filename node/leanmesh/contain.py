"""The one place that catches Exception: around callables that users gave us.

Validators, refreshers, sinks and observers are code we did not write.  One
that raises is counted under its name, reported, and the node goes on.  Of ours
only a network as a whole is wrapped: a bug in it ends that network loudly, and
its supervisor starts it again; and what a replay repeats.
"""

import logging
import time
from collections.abc import Callable
from traceback import format_exception_only, walk_tb
from types import TracebackType
from typing import cast

import attrs

LOGGER = logging.getLogger(__name__)

# What raises again and again, perhaps for every message of a peer, has one line of the log in this time.
SUMMARY_INTERVAL_S = 60.0
# So many kinds of errors of one callable have their traces in the log; further ones only lines.
TRACES_LIMIT = 16
# What a line shows of the error's own text, which may hold what a peer sent.
TEXT_LIMIT = 200

# Type, file and line.  Not the text, which may hold a number that is another one each time.
Kind = tuple[type[BaseException], str, int]


@attrs.define
class _Reports:
    """What the log says of one callable."""

    said_at_s: float
    traced: set[Kind] = attrs.field(factory=set[Kind])
    unsaid: int = 0

    def report(self, name: str, error: Exception, now_s: float) -> None:
        """Log the trace of an error of a new kind; of known ones a line with their number, now and then."""
        first = _first_of(error)
        kind = _kind_of(first)
        if kind not in self.traced and len(self.traced) < TRACES_LIMIT:
            self.traced.add(kind)
            LOGGER.error("%s raised; the node goes on", name, exc_info=error)
            return
        self.unsaid += 1
        if now_s - self.said_at_s < SUMMARY_INTERVAL_S:
            return
        _, file, line = kind
        said = format_exception_only(first)[0].splitlines()[0][:TEXT_LIMIT]
        LOGGER.error(
            "%s raised %d times more in %.0f s, the last time %s (%s:%d); the node goes on",
            *(name, self.unsaid, now_s - self.said_at_s, said, file, line),
        )
        self.said_at_s, self.unsaid = now_s, 0


def _first_of(error: BaseException) -> BaseException:
    """What a nursery's group is about."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def _kind_of(error: BaseException) -> Kind:
    """Errors of one kind were raised by the same line."""
    file, line = "", 0
    for frame, line_number in walk_tb(error.__traceback__):
        file, line = frame.f_code.co_filename, line_number
    return type(error), file, line


@attrs.define
class ContainedErrors:
    """How often each named callable raised.  One per process, read by the metrics.

    The log has the trace of each kind of error, and while it goes on a line a minute;
    `clock` gives the seconds for that.
    """

    counts: dict[str, int] = attrs.field(factory=dict[str, int])
    clock: Callable[[], float] = time.monotonic
    _reports: dict[str, _Reports] = attrs.field(factory=dict[str, _Reports], init=False)

    def add(self, name: str, error: Exception) -> None:
        """Count one error and report it."""
        self.counts[name] = self.counts.get(name, 0) + 1
        now_s = self.clock()
        self._reports.setdefault(name, _Reports(now_s)).report(name, error, now_s)

    def contain(self, name: str, *, unless: Callable[[], bool] | None = None) -> "Containment":
        """A context for a user's callable: an exception is counted under `name`, logged, and ends here.

        Cancellation is no Exception and passes through.  So does everything
        when `unless()` says, after it was raised, that it is somebody else's.
        """
        return Containment(self, name, unless)


@attrs.define
class Containment:
    """One use of `ContainedErrors.contain`."""

    _errors: ContainedErrors
    _name: str
    _unless: Callable[[], bool] | None = None
    error: Exception | None = attrs.field(default=None, init=False)
    """What was contained."""

    def __enter__(self) -> "Containment":
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception) or (self._unless is not None and self._unless()):
            return False
        self.error = error
        self._errors.add(self._name, error)
        return True


@attrs.define
class Kept:
    """A block whose exception, if it raises one, is kept to be looked at.

    For the replay of a run that ended with a bug: there the exception is what was asked for.
    """

    error: Exception | None = None

    def __enter__(self) -> "Kept":
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.error = error
        return True
