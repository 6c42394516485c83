"""The two kinds of failure: whose fault it is decides what ends.

Every error that leanmesh raises on purpose derives from one of these two.
Anything else that escapes is a bug of ours and ends the network loudly.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import cast


class NodeError(Exception):
    """The common base, for callers that only want to report."""


class LocalError(NodeError):
    """We asked for something that cannot be: a bad setting, a closed service, one network too many."""


class RemoteError(NodeError):
    """A peer broke the protocol or went away.  Its connection ends; the node does not."""


@contextmanager
def ungrouped() -> Generator[None]:
    """Raise one error that nurseries have wrapped in groups as itself; several stay a group."""
    try:
        yield
    except BaseExceptionGroup as group:
        cause = _lone_cause(cast("BaseException", group))
        if isinstance(cause, BaseExceptionGroup):
            raise
        raise cause from None


def _lone_cause(error: BaseException) -> BaseException:
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return _lone_cause(inner[0]) if len(inner) == 1 else cast("BaseException", error)
    return error
