"""Where a peer's task ends: the one place that catches RemoteError."""

import logging
from collections.abc import Awaitable, Callable

from leanmesh.errors import RemoteError
from leanmesh.transport.errors import CloseReason, ConnectionClosed, StreamRefused, StreamReset
from leanmesh.transport.interface import Connection

LOGGER = logging.getLogger(__name__)

# What ends a task and is nobody's fault: a peer may close what it opened.
PARTINGS = (ConnectionClosed, StreamReset, StreamRefused)


def first_of(group: BaseExceptionGroup[RemoteError]) -> RemoteError:
    """The first error inside a group of groups."""
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def blame(connection: Connection, work: Callable[[], Awaitable[None]]) -> None:
    """Run what serves one peer.  If it breaks the protocol its connection ends, and nothing else does."""
    try:
        await work()
    except* PARTINGS as partings:
        LOGGER.debug("%s: %s", connection.remote_peer.short, first_of(partings))
    except* RemoteError as errors:
        error = first_of(errors)
        LOGGER.info("%s broke the protocol: %s", connection.remote_peer.short, error)
        connection.abort(CloseReason.ERROR, str(error))
