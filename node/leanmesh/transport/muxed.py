"""A connection made of a pipe, a cipher and a yamux session: one pass per chunk in, coalesced writes out.

The reader takes chunks without a checkpoint while there are any, opens and
demultiplexes each in one pass, and wakes a stream's reader once per chunk.
Whoever has something to send queues it and tries the pipe inline; what is
queued while the reader works leaves in one write at the end of its turn.
"""

from collections.abc import Callable, Mapping, Sequence

import attrs
import trio

from leanmesh.errors import RemoteError
from leanmesh.identity.peer_id import PeerId
from leanmesh.transport.errors import CloseReason, ConnectionClosed, StreamRefused
from leanmesh.transport.flusher import Flusher
from leanmesh.transport.interface import Buffer, StreamHandler
from leanmesh.transport.negotiation import propose, serve
from leanmesh.transport.observer import TransportObserver
from leanmesh.transport.outlet import Cipher, Outlet
from leanmesh.transport.params import ConnectionParams
from leanmesh.transport.pipe import Pipe
from leanmesh.transport.stream import MuxedStream
from leanmesh.wire.multiaddr import Multiaddr
from leanmesh.wire.yamux import YamuxSession
from leanmesh.wire.yamux_frames import GoAwayCode, StreamNotAvailable
from leanmesh.wire.yamux_stream import YamuxStream

READ_BYTES = 65536
# Chunks taken in one turn before other tasks get theirs.
READS_PER_TURN = 16
# Small writes this soon after the last send are collected, for one tick of Trio or up to so many bytes.
COLLECT_WITHIN_S = 0.0005
COLLECT_BYTES = 16384


@attrs.define(eq=False, kw_only=True)
class MuxedConnection:
    """One connection.  See `interface.Connection` for what its methods promise; `run` makes it live."""

    transport: str
    pipe: Pipe
    cipher: Cipher
    local_peer: PeerId
    remote_peer: PeerId
    is_outbound: bool
    opened_at_s: float
    params: ConnectionParams
    # Shared with the owner: handlers that are added later serve streams that come later.
    handlers: Mapping[str, StreamHandler]
    observer: TransportObserver
    flusher: Flusher
    # Called once, when it ends: before the handlers that still read what had arrived are through.
    on_end: Callable[[], None] = lambda: None
    # Plaintext that was read together with the end of the handshake.
    early: bytes = b""

    # Including those of the handshake.
    received_bytes: int = 0
    sent_bytes: int = 0
    close_reason: CloseReason | None = None
    close_detail: str = ""

    _session: YamuxSession = attrs.field(init=False)
    _outlet: Outlet = attrs.field(init=False)
    _streams: dict[YamuxStream, MuxedStream] = attrs.field(init=False, factory=dict[YamuxStream, MuxedStream])
    _waiting_for_room: dict[MuxedStream, None] = attrs.field(init=False, factory=dict[MuxedStream, None])
    _nursery: trio.Nursery | None = attrs.field(init=False, default=None)
    _closed: trio.Event = attrs.field(init=False, factory=trio.Event)
    _received_at_s: float = attrs.field(init=False)
    _used_at_s: float = attrs.field(init=False)
    _write_error: OSError | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._session = YamuxSession(is_client=self.is_outbound, params=self.params.yamux)
        self._outlet = Outlet(
            self.pipe,
            self.cipher,
            self._session.outgoing,
            on_sent=self._on_sent,
            on_blocked=self._on_blocked,
            on_broken=self._on_broken,
        )
        self._received_at_s = self._used_at_s = self.opened_at_s

    def __repr__(self) -> str:
        direction = "to" if self.is_outbound else "from"
        return f"<{self.transport} connection {direction} {self.remote_peer} at {self.remote_address}>"

    # ----- state

    @property
    def remote_address(self) -> Multiaddr:
        """Where the other end is, without its peer id."""
        return self.pipe.remote_address

    @property
    def local_address(self) -> Multiaddr:
        """Our end of it."""
        return self.pipe.local_address

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self.close_reason is not None

    @property
    def rtt_s(self) -> float | None:
        """The last measured round trip."""
        return self._session.rtt_s

    @property
    def streams(self) -> Sequence[MuxedStream]:
        """The streams that are open now, oldest first."""
        return tuple(self._streams.values())

    @property
    def used_at_s(self) -> float:
        """When it last had a stream, to the tick of the sweep."""
        return trio.current_time() if self._streams else self._used_at_s

    @property
    def send_room_bytes(self) -> int:
        """How much more may be queued for the network, over all streams."""
        return max(0, self.params.send_limit_bytes - self._outlet.waiting_bytes)

    def check_open(self) -> None:
        """Raise the error that says how it ended, if it has."""
        if self.close_reason is not None:
            raise ConnectionClosed(self.remote_peer, self.close_reason, self.close_detail)

    # ----- life

    async def run(self) -> None:
        """Read, and serve the streams that the peer opens, until the connection has ended."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                # Its answer gives the round trip that windows grow by.
                self._session.ping(trio.current_time())
                if self._outlet.is_blocked:
                    self._on_blocked()
                await self._read()
                # Streams keep what arrived before the end: their handlers may finish reading it.
                nursery.cancel_scope.deadline = trio.current_time() + self.params.close_timeout_s
        finally:
            self._nursery = None
            self._end(CloseReason.LOCAL_CLOSE, "its owner stopped")

    async def wait_closed(self) -> None:
        """Wait until it has ended."""
        await self._closed.wait()

    async def aclose(self, detail: str = "closed by its owner") -> None:
        """Say go-away, send what is queued within the close timeout, and end."""
        try:
            self._session.go_away(GoAwayCode.NORMAL)
            with trio.move_on_after(self.params.close_timeout_s):
                await self._outlet.drain()
            await trio.lowlevel.checkpoint()
        finally:
            self.abort(CloseReason.LOCAL_CLOSE, detail)

    def abort(self, reason: CloseReason, detail: str) -> None:
        """End it at once, with a go-away as far as the network takes it now."""
        self._end(reason, detail)
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def sweep(self, now_s: float) -> None:
        """Look after the timeouts.  Called once per tick by the owner of all connections."""
        params = self.params
        session = self._session
        asked_at_s = session.ping_sent_at_s
        if self._streams:
            self._used_at_s = now_s
        if self._outlet.is_blocked and now_s - self._outlet.sent_at_s > params.write_timeout_s:
            self.abort(CloseReason.TIMEOUT, f"the peer took no data for {params.write_timeout_s:g} s")
        elif now_s - self._used_at_s > params.idle_timeout_s:
            self.abort(CloseReason.LOCAL_CLOSE, f"no stream for {params.idle_timeout_s:g} s")
        elif session.go_away_received is not None and not self._streams:
            self.abort(CloseReason.REMOTE_CLOSE, "the peer said go-away")
        elif asked_at_s is None and now_s - self._received_at_s > params.keepalive_interval_s:
            session.ping(now_s)
            self.flush()
        elif (
            asked_at_s is not None
            and now_s - max(asked_at_s, self._received_at_s) > params.keepalive_timeout_s
        ):
            self.abort(
                CloseReason.TIMEOUT, f"the peer left a ping unanswered for {params.keepalive_timeout_s:g} s"
            )
        else:
            self._reset_lingering(now_s)

    def _reset_lingering(self, now_s: float) -> None:
        for stream in self.streams:
            if (
                stream.finished_at_s is not None
                and now_s - stream.finished_at_s > self.params.stream_linger_s
            ):
                stream.reset()

    def _end(self, reason: CloseReason, detail: str) -> None:
        if self.close_reason is not None:
            return
        self.close_reason = reason
        self.close_detail = detail
        if reason is not CloseReason.TIMEOUT:
            self._session.go_away(
                GoAwayCode.PROTOCOL_ERROR if reason is CloseReason.ERROR else GoAwayCode.NORMAL
            )
            self._outlet.is_held = False
            self._outlet.flush()
        self._outlet.close()
        self.pipe.close(is_abrupt=reason is CloseReason.TIMEOUT)
        streams = self.streams
        self._streams.clear()
        self._waiting_for_room.clear()
        for stream in streams:
            stream.wake()
        self._closed.set()
        self.on_end()

    # ----- receiving

    async def _read(self) -> None:
        """Take chunks in turns until the connection ends, from either side."""
        # What the other side sent behind its last handshake message was read with it.
        self._turn(self._take_early)
        while not self.is_closed:
            try:
                await self.pipe.wait_readable()
            except trio.ClosedResourceError:
                return
            self._turn(self._take_chunks)

    def _turn(self, take: Callable[[], None]) -> None:
        """Handle input that is there, then send what it caused.  A connection that breaks, breaks here."""
        self._outlet.is_held = True
        try:
            take()
        except BlockingIOError:
            pass
        except OSError as error:
            self._end(CloseReason.REMOTE_CLOSE, self._describe_end(error))
        except RemoteError as error:
            self.abort(CloseReason.ERROR, str(error))
        finally:
            self._outlet.is_held = False
        self.flush()

    def _take_early(self) -> None:
        self._receive(self.early)

    def _take_chunks(self) -> None:
        """Take the chunks that are there.  Ends with BlockingIOError, or after its share."""
        for _ in range(READS_PER_TURN):
            chunk = self.pipe.receive_nowait(READ_BYTES)
            if not chunk:
                self._end(CloseReason.REMOTE_CLOSE, self._describe_end())
                return
            self.received_bytes += len(chunk)
            self.observer.bytes_received(self.transport, len(chunk))
            self._receive(self.cipher.decrypt(chunk))
            if len(chunk) < READ_BYTES:
                return

    def _receive(self, content: bytes) -> None:
        """One pass over a chunk that was opened: demultiplex it, then wake each stream that it touched."""
        session = self._session
        now_s = self._received_at_s = trio.current_time()
        try:
            session.receive(content, now_s)
        finally:
            # Also those of a chunk that ends in a violation.
            if session.refused:
                self._report_refused()
        if session.opened:
            for state in session.take_opened():
                if not state.is_reset:
                    self._serve(state)
        if session.changed:
            for state in session.take_changed():
                if (stream := self._streams.get(state)) is not None:
                    stream.wake()
                    self._forget_if_over(stream)
        if self._outlet.waiting_bytes > self.params.send_limit_bytes + self.params.control_limit_bytes:
            raise RemoteError("the peer makes us answer and takes no answers")

    def _describe_end(self, error: OSError | None = None) -> str:
        """Who said go-away has closed it, though the end of its socket may come to us as a reset."""
        code = self._session.go_away_received
        error = error or self._write_error
        if code is None and error is not None:
            return f"the connection broke: {error.strerror or error}"
        if code is None:
            return "the peer closed it without go-away"
        if code == GoAwayCode.NORMAL:
            return "the peer closed it"
        return f"the peer closed it with go-away code {code}"

    def _report_refused(self) -> None:
        for limit, count in self._session.refused.items():
            for _ in range(count):
                self.observer.refused(self.transport, limit)
        self._session.refused.clear()

    # ----- sending

    def flush(self) -> None:
        """Offer the network all that waits."""
        self._outlet.flush()

    def _on_sent(self, size_bytes: int) -> None:
        """Count, and let those go on who waited for room."""
        self.sent_bytes += size_bytes
        self.observer.bytes_sent(self.transport, size_bytes)
        if self._waiting_for_room and self._outlet.waiting_bytes * 2 <= self.params.send_limit_bytes:
            waiting = tuple(self._waiting_for_room)
            self._waiting_for_room.clear()
            for stream in waiting:
                stream.wake()

    def _on_blocked(self) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._write_blocked)

    async def _write_blocked(self) -> None:
        await self._outlet.write_blocked()

    def _on_broken(self, error: OSError) -> None:
        if self.is_closed:
            return
        # Whoever reads finds a plain end now: the error is told once.
        self._write_error = error
        self._outlet.close()
        if self._nursery is not None:
            # What the peer sent before it went can still be read, and its go-away with it.
            self._turn(self._take_chunks)
        self._end(CloseReason.REMOTE_CLOSE, self._describe_end())

    # ----- what streams ask for

    def read(self, state: YamuxStream, max_bytes: int) -> bytes:
        """Take what a stream has buffered; credit that becomes due is sent."""
        data = self._session.read(state, max_bytes, trio.current_time())
        if self._session.outgoing:
            self.flush()
        return data

    def unread(self, state: YamuxStream, data: bytes) -> None:
        """Put back what was read too far."""
        self._session.unread(state, data)

    def queue(self, state: YamuxStream, data: Buffer) -> int:
        """Queue what window and buffer take, and say how much that was."""
        room = self.send_room_bytes
        if len(data) > room:
            data = memoryview(data)[:room]
        return self._session.send(state, data)

    def queue_for_later(self, state: YamuxStream, data: Buffer) -> bool:
        """Queue a small write that follows another, to leave with others; False when it must go now."""
        size = len(data)
        outlet = self._outlet
        if (
            size + len(outlet.queued) > COLLECT_BYTES
            or size > state.send_window_bytes
            or outlet.is_blocked
            or trio.current_time() - outlet.sent_at_s > COLLECT_WITHIN_S
        ):
            return False
        self._session.send(state, data)
        self.flusher.soon(self)
        return True

    def await_room(self, stream: MuxedStream) -> None:
        """Wake this stream when the network has taken a good part of what waits."""
        self._waiting_for_room[stream] = None

    def finish(self, stream: MuxedStream) -> None:
        """Send a stream's end."""
        self._session.finish(stream.state)
        self._forget_if_over(stream)
        self.flush()

    def close_receive(self, stream: MuxedStream) -> None:
        """Receive no more on a stream."""
        self._session.close_receive(stream.state)
        self._forget_if_over(stream)
        self.flush()

    def reset(self, stream: MuxedStream) -> None:
        """Tear a stream down."""
        self._session.reset(stream.state)
        self._forget_if_over(stream)
        self.flush()

    def _forget_if_over(self, stream: MuxedStream) -> None:
        if not stream.state.is_open:
            self._streams.pop(stream.state, None)
            self._waiting_for_room.pop(stream, None)

    # ----- opening and serving

    async def open_stream(self, protocols: Sequence[str], *, timeout_s: float | None = None) -> MuxedStream:
        """Open a stream for the first of these protocols that the peer speaks."""
        self.check_open()
        try:
            state = self._session.open_stream(trio.current_time())
        except StreamNotAvailable as error:
            raise StreamRefused(self.remote_peer, protocols, str(error)) from None
        stream = self._streams[state] = MuxedStream(self, state)
        await propose(stream, protocols, timeout_s or self.params.negotiation_timeout_s)
        return stream

    def _serve(self, state: YamuxStream) -> None:
        stream = self._streams[state] = MuxedStream(self, state)
        assert self._nursery is not None, "streams are taken in by run, which has the nursery"
        self._nursery.start_soon(serve, stream, self.handlers, self.params.negotiation_timeout_s)
