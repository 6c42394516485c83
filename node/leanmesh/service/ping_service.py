"""Ping: answers peers that measure us, and measures peers."""

import os
from collections.abc import AsyncGenerator

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
    """The answering side.  A peer has two streams for it at most; the rest is reset."""

    _streams: dict[PeerId, int] = attrs.field(factory=dict[PeerId, int], init=False)
    refused: int = attrs.field(default=0, init=False)

    async def serve(self, stream: Stream) -> None:
        """Give back what comes, until the peer ends it."""
        peer = stream.connection.remote_peer
        if self._streams.get(peer, 0) >= STREAMS_LIMIT:
            self.refused += 1
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


async def ping(
    connection: Connection, *, timeout_s: float = DEFAULT_TIMEOUT_S, interval_s: float = 1.0
) -> AsyncGenerator[float]:
    """Round trips of one peer in seconds, one per `interval_s`, on one stream, for as long as is asked.

    Raises NoPong or another RemoteError when the peer does not answer rightly in time.
    """
    stream = await connection.open_stream([PROTOCOL_ID], timeout_s=timeout_s)
    dialer = PingDialer()
    try:
        while True:
            sent_s = trio.current_time()
            # Shielded by nothing and bounded: a peer that stays silent is an error that says so.
            is_answered = False
            with trio.move_on_after(timeout_s):
                await _ping_once(connection, stream, dialer)
                is_answered = True
            if not is_answered:
                raise NoPong(f"{connection.remote_peer} did not answer a ping within {timeout_s:g} s")
            rtt_s = trio.current_time() - sent_s
            yield rtt_s
            await trio.sleep(max(0.0, interval_s - rtt_s))
    finally:
        stream.reset()


async def _ping_once(connection: Connection, stream: Stream, dialer: PingDialer) -> None:
    await stream.send_all(dialer.ping(os.urandom(PAYLOAD_BYTES)))
    while not dialer.receive(chunk := await stream.receive_some()):
        if not chunk:
            raise NoPong(f"{connection.remote_peer} ended the stream instead of answering a ping")
