"""Ping: answers peers that measure us, and measures peers."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from leanmesh.errors import RemoteError
from leanmesh.identity.peer_id import PeerId
from leanmesh.transport.interface import Connection, Stream
from leanmesh.wire.ping import PAYLOAD_BYTES, PROTOCOL_ID, STREAMS_LIMIT, PingDialer, PingListener

DEFAULT_TIMEOUT_S = 10.0


class NoPong(RemoteError):
    """A peer did not answer a ping, or ended the stream instead."""


@attrs.define(eq=False)
class PingService:
    """The answering side.  A peer has two streams at most; one more is reset and told to `on_refused`."""

    on_refused: Callable[[], None] = lambda: None
    _streams: dict[PeerId, int] = attrs.field(factory=dict[PeerId, int], init=False)

    async def serve(self, stream: Stream) -> None:
        """Give back what comes, until the peer ends it."""
        peer = stream.connection.remote_peer
        if self._streams.get(peer, 0) >= STREAMS_LIMIT:
            self.on_refused()
            stream.reset()
            await trio.lowlevel.checkpoint()
            return
        self._streams[peer] = self._streams.get(peer, 0) + 1
        listener = PingListener()
        try:
            while chunk := await stream.receive_some():
                if answer := listener.receive(chunk):
                    await stream.send_all(answer)
            await stream.aclose()
        finally:
            stream.reset()
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]


@attrs.define(eq=False)
class RoundTrips:
    """Measures one peer again and again: an async iterator of seconds, one per `interval_s`.

    Raises NoPong or another RemoteError when the peer does not answer rightly in time.
    """

    _stream: Stream
    _timeout_s: float
    _interval_s: float
    _dialer: PingDialer = attrs.field(factory=PingDialer, init=False)
    _due_s: float = attrs.field(factory=trio.current_time, init=False)

    def __aiter__(self) -> "RoundTrips":
        return self

    async def __anext__(self) -> float:
        await trio.sleep_until(self._due_s)
        sent_s = trio.current_time()
        self._due_s = sent_s + self._interval_s
        with trio.move_on_after(self._timeout_s):
            await self._ping()
            return trio.current_time() - sent_s
        peer = self._stream.connection.remote_peer
        raise NoPong(f"{peer} did not answer a ping within {self._timeout_s:g} s")

    async def _ping(self) -> None:
        await self._stream.send_all(self._dialer.ping(os.urandom(PAYLOAD_BYTES)))
        while not self._dialer.receive(chunk := await self._stream.receive_some()):
            if not chunk:
                peer = self._stream.connection.remote_peer
                raise NoPong(f"{peer} ended the stream instead of answering a ping")


@asynccontextmanager
async def ping(
    connection: Connection, *, timeout_s: float = DEFAULT_TIMEOUT_S, interval_s: float = 1.0
) -> AsyncGenerator[RoundTrips]:
    """Measure a peer on one stream, for as long as the context lasts."""
    stream = await connection.open_stream([PROTOCOL_ID], timeout_s=timeout_s)
    try:
        yield RoundTrips(stream, timeout_s, interval_s)
    finally:
        stream.reset()
