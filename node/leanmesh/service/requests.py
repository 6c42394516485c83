"""Request and response over streams: one request, one response, each ended by a half-close.

Both sides are bounded: the size of what they read, the time the whole takes,
and how many requests of one peer are answered at once.
"""

from collections.abc import Awaitable, Callable

import attrs
import trio

from leanmesh.contain import ContainedErrors
from leanmesh.errors import RemoteError
from leanmesh.identity.peer_id import PeerId
from leanmesh.service.metering import WorkMeter
from leanmesh.service.network_observer import NetworkObserver
from leanmesh.transport.interface import Connection, Stream

Respond = Callable[[PeerId, bytes], Awaitable[bytes]]

DEFAULT_LIMIT_BYTES = 1024 * 1024
DEFAULT_TIMEOUT_S = 10.0
# A peer that asks more at once waits in its own streams.
CONCURRENT_LIMIT = 4


@attrs.define(eq=False)
class TooMuch(RemoteError):
    """A peer sent more than the protocol's limit."""

    protocol: str
    limit_bytes: int

    def __str__(self) -> str:
        return f"{self.protocol}: the peer sent more than {self.limit_bytes} bytes"


@attrs.define(eq=False)
class NoResponse(RemoteError):
    """A peer did not answer in time."""

    peer: PeerId
    protocol: str
    timeout_s: float

    def __str__(self) -> str:
        return f"{self.peer} did not answer {self.protocol} within {self.timeout_s:g} s"


async def read_all(stream: Stream, limit_bytes: int) -> bytes:
    """Everything up to the peer's end.  TooMuch when that is more than the limit."""
    parts: list[bytes] = []
    size = 0
    while chunk := await stream.receive_some():
        size += len(chunk)
        if size > limit_bytes:
            raise TooMuch(stream.protocol, limit_bytes)
        parts.append(chunk)
    return b"".join(parts)


async def request(
    connection: Connection,
    protocol: str,
    data: bytes,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    limit_bytes: int = DEFAULT_LIMIT_BYTES,
) -> bytes:
    """Ask a peer and give its answer.  Raises RemoteError when there is none in time or it is too long."""
    observer = connection.observer
    meter = observer.meter if isinstance(observer, NetworkObserver) else None
    asking = _request(connection, protocol, data, timeout_s, limit_bytes)
    if meter is None:
        return await asking
    return await meter.awaited(meter.requests, None, "request", asking)


async def _request(
    connection: Connection, protocol: str, data: bytes, timeout_s: float, limit_bytes: int
) -> bytes:
    with trio.move_on_after(timeout_s):
        stream = await connection.open_stream([protocol], timeout_s=timeout_s)
        try:
            await stream.send_all(data)
            await stream.send_eof()
            answer = await read_all(stream, limit_bytes)
        except BaseException:
            stream.reset()
            raise
        await stream.aclose()
        return answer
    raise NoResponse(connection.remote_peer, protocol, timeout_s)


def _checked(answer: object) -> bytes:
    if not isinstance(answer, bytes):
        raise TypeError(f"a responder answered {type(answer).__name__}; bytes were due")
    return answer


@attrs.define(eq=False)
class Responder:
    """Answers the requests of one protocol with an application's function.

    An exception of the function is counted under its name and resets the
    request's stream: the peer learns that there is no answer.
    """

    protocol: str
    respond: Respond
    contained: ContainedErrors
    timeout_s: float = DEFAULT_TIMEOUT_S
    limit_bytes: int = DEFAULT_LIMIT_BYTES
    answered: int = 0
    timed_out: int = 0
    meter: WorkMeter | None = None
    _places: dict[PeerId, trio.CapacityLimiter] = attrs.field(
        factory=dict[PeerId, trio.CapacityLimiter], init=False
    )

    async def serve(self, stream: Stream) -> None:
        """Answer one request."""
        peer = stream.connection.remote_peer
        places = self._places.setdefault(peer, trio.CapacityLimiter(CONCURRENT_LIMIT))
        try:
            with trio.move_on_after(self.timeout_s) as scope:
                async with places:
                    await self._answer(peer, stream)
            self.timed_out += scope.cancelled_caught
        finally:
            if not places.borrowed_tokens and not places.statistics().tasks_waiting:
                self._places.pop(peer, None)
            stream.reset()

    async def _answer(self, peer: PeerId, stream: Stream) -> None:
        asked = await read_all(stream, self.limit_bytes)
        answer: bytes | None = None
        with self.contained.contain(f"responder:{self.protocol}"):
            answer = _checked(await self._respond(peer, asked))
        if answer is not None:
            await stream.send_all(answer)
            await stream.aclose()
            self.answered += 1

    async def _respond(self, peer: PeerId, asked: bytes) -> object:
        meter = self.meter
        if meter is None:
            return await self.respond(peer, asked)
        return await meter.awaited(meter.requests, None, "respond", self.respond(peer, asked))
