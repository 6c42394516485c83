"""What is said of a network that failed: by which error, whether its router broke, and how to repeat it."""

import shlex
from collections.abc import Iterator
from traceback import walk_tb
from typing import cast

from leanmesh.gossip.trace import ERROR_TEXT_LIMIT
from leanmesh.service.recording import Recording

CORE = "leanmesh.gossip."


def describe_fault(error: BaseException, recording: Recording | None, *, is_recorded: bool) -> str:
    """A sentence without its end.  `is_recorded`: recordings were asked for, though there may be none."""
    causes = list(_causes(error))
    text = " and ".join(f"{type(cause).__name__}: {str(cause)[:ERROR_TEXT_LIMIT]}" for cause in causes)
    if not any(_is_of_router(cause) for cause in causes):
        return text
    text += ", raised in a pass of its router"
    if recording is None:
        return text + (
            "; this life of it was not recorded"
            if is_recorded
            else "; with --record FOLDER (record.folder) there would be a file to replay it from"
        )
    if recording.ended_by is not None:
        return f"{text}; its recording {recording.path} had ended before: {recording.ended_by}"
    return f"{text}; to repeat it: leanmesh replay {shlex.quote(str(recording.path))}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What nurseries have wrapped in groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _causes(inner)
    else:
        yield error


def _is_of_router(error: BaseException) -> bool:
    """Whether it came through the core; an observer or a delivery that the core called counts too."""
    return any(
        str(frame.f_globals.get("__name__", "")).startswith(CORE) for frame, _ in walk_tb(error.__traceback__)
    )
