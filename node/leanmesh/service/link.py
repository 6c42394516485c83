"""A link: what carries gossip between us and one peer, in both directions.

Each side opens a stream of its own and only writes to it.  The link lasts as
long as the stream that we opened; the one that the peer opened may be replaced.
"""

import logging
from collections.abc import Callable

import attrs
import trio

from leanmesh.errors import RemoteError
from leanmesh.gossip.outbox import Outbox
from leanmesh.identity.peer_id import PeerId
from leanmesh.transport.errors import ConnectionClosed, StreamClosed, StreamReset
from leanmesh.transport.interface import Stream

LOGGER = logging.getLogger(__name__)

# As much as is taken from an outbox at once: about four Noise frames, what one send of the system takes.
BATCH_BYTES = 256 * 1024


class UnexpectedBytes(RemoteError):
    """A peer wrote to a stream that is ours to write."""


@attrs.define(eq=False)
class Link:
    """The sending half: an outbox that empties into our stream.

    `flush` is the common way and never waits.  What the stream does not take at
    once is left to the writer task, and until that has caught up `flush` does
    nothing: the order of the bytes is the writer's.
    """

    peer: PeerId
    stream: Stream
    outbox: Outbox
    _take: Callable[[int], list[bytes]]
    """What takes RPCs out of the outbox: about so many bytes."""
    _on_sent: Callable[[int, int], None]
    """RPCs and bytes that were taken out of the outbox."""
    _on_written: Callable[[PeerId, Outbox], None]
    """The stream has taken all of that."""
    is_blocked: bool = attrs.field(default=False, init=False)
    """Whether writing is left to the writer task: what was taken out may not be written yet."""
    _rest: memoryview = attrs.field(factory=lambda: memoryview(b""), init=False)
    _writer: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    @property
    def is_idle(self) -> bool:
        """Whether everything that was put into the outbox has been taken by the stream."""
        return self.outbox.is_empty and not self._rest

    def flush(self) -> None:
        """Write what the stream takes without waiting; leave the rest to the writer.

        A stream that broke is left to the writer too: there the error ends the link and nothing else.
        """
        if self.is_blocked:
            return
        try:
            self._flush()
        except (ConnectionClosed, StreamReset):
            self._block()

    def _flush(self) -> None:
        outbox = self.outbox
        room = self.stream.send_room_bytes
        while room > 0 and not outbox.is_empty:
            data = self._drain(min(room, BATCH_BYTES))
            taken = self.stream.send_nowait(data)
            if taken < len(data):
                self._rest = memoryview(data)[taken:]
                self._block()
                return
            self._on_written(self.peer, outbox)
            room -= taken
        if not outbox.is_empty:
            self._block()

    def _drain(self, limit_bytes: int) -> bytes:
        rpcs = self._take(limit_bytes)
        data = b"".join(rpcs)
        self._on_sent(len(rpcs), len(data))
        return data

    def _block(self) -> None:
        self.is_blocked = True
        self._writer.unpark()

    async def run(self) -> None:
        """Write what has to wait, and watch the stream's other direction.

        Ends cleanly when the peer ends the stream, or by `end`.  Raises RemoteError
        when the peer writes to it, resets it, or when the connection ends.
        """
        with self._scope:
            try:
                await self._run()
            except* StreamClosed:
                # Ours, by `end`: the writer or the watcher had been woken already.
                LOGGER.debug("%s: the gossip stream was ended here", self.peer.short)

    def end(self) -> None:
        """Have `run` return."""
        self._scope.cancel()

    async def _run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            # What a peer may do on a stream that we write is to end it.
            if await self.stream.receive_some():
                raise UnexpectedBytes(f"{self.peer} wrote to the gossip stream that we opened")
            nursery.cancel_scope.cancel()

    async def _write(self) -> None:
        while True:
            while not self.is_blocked:
                await self._writer.park()
            while self._rest or not self.outbox.is_empty:
                if not self._rest:
                    self._rest = memoryview(self._drain(BATCH_BYTES))
                await self.stream.send_all(self._rest)
                self._rest = memoryview(b"")
                self._on_written(self.peer, self.outbox)
            self.is_blocked = False
