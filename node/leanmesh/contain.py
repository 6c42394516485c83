"""The one place that catches Exception: around callables that users gave us.

Validators, refreshers, sinks and observers are code we did not write.  One
that raises is counted under its name, reported with its trace, and the node
goes on.  Of ours only a network as a whole is wrapped: a bug in it ends that
network loudly, and its supervisor starts it again; and what a replay repeats.
"""

import logging
from collections.abc import Callable
from types import TracebackType

import attrs

LOGGER = logging.getLogger(__name__)


@attrs.define
class ContainedErrors:
    """How often each named callable raised.  One per process, read by the metrics."""

    counts: dict[str, int] = attrs.field(factory=dict[str, int])

    def contain(self, name: str, *, unless: Callable[[], bool] | None = None) -> "Containment":
        """A context for a user's callable: an exception is counted under `name`, logged, and ends here.

        Cancellation is no Exception and passes through.  So does everything
        when `unless()` says, after it was raised, that it is somebody else's.
        """
        return Containment(self, name, unless)


@attrs.frozen
class Containment:
    """One use of `ContainedErrors.contain`."""

    _errors: ContainedErrors
    _name: str
    _unless: Callable[[], bool] | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception) or (self._unless is not None and self._unless()):
            return False
        counts = self._errors.counts
        counts[self._name] = counts.get(self._name, 0) + 1
        LOGGER.error("%s raised; the node goes on", self._name, exc_info=error)
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
