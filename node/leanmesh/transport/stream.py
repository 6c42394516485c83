"""A stream on a muxed connection: the waiting around a yamux stream's state."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import trio

from leanmesh.transport.errors import StreamBusy, StreamClosed, StreamReset
from leanmesh.transport.interface import READ_LIMIT_BYTES, Buffer
from leanmesh.transport.wakeup import Wakeup
from leanmesh.wire.yamux_stream import YamuxStream

if TYPE_CHECKING:
    from leanmesh.transport.muxed import MuxedConnection

# A write above this is worth a send of its own.
SMALL_WRITE_BYTES = 4096


class MuxedStream:
    """One stream.  See `interface.Stream` for what its methods promise."""

    __slots__ = ("_is_sending", "_receiver", "_sender", "connection", "finished_at_s", "protocol", "state")

    def __init__(self, connection: "MuxedConnection", state: YamuxStream) -> None:
        self.connection = connection
        self.state = state
        self.protocol = ""
        # When we closed it; the sweep resets it if the peer never does.
        self.finished_at_s: float | None = None
        self._is_sending = False
        self._receiver = Wakeup()
        self._sender = Wakeup()

    def __repr__(self) -> str:
        direction = "to" if self.is_outbound else "from"
        return f"<stream {self.state.stream_id} {self.protocol} {direction} {self.connection.remote_peer}>"

    # ----- state

    @property
    def is_outbound(self) -> bool:
        """Whether we opened it."""
        return self.state.is_outbound

    @property
    def is_receive_finished(self) -> bool:
        """Whether the peer has sent its end and everything before it was received."""
        return self.state.is_remote_finished and not self.state.buffer

    @property
    def is_send_finished(self) -> bool:
        """Whether we have sent our end."""
        return self.state.is_send_finished

    @property
    def is_closed(self) -> bool:
        """Whether nothing can pass any more."""
        state = self.state
        return self.connection.is_closed or (not state.is_open and not state.buffer)

    @property
    def send_room_bytes(self) -> int:
        """How much `send_nowait` would take now."""
        state = self.state
        if not state.is_open or state.is_send_finished:
            return 0
        return min(state.send_window_bytes, self.connection.send_room_bytes)

    # ----- receiving

    async def receive_some(self, max_bytes: int = READ_LIMIT_BYTES) -> bytes:
        """Wait for at least one byte; b"" at the clean end."""
        if self._is_receive_ready():
            # Before anything is taken: a cancelled receive loses nothing.
            await trio.lowlevel.checkpoint()
        while (data := self.receive_nowait(max_bytes)) is None:
            await self._receiver.wait()
        return data

    def receive_nowait(self, max_bytes: int = READ_LIMIT_BYTES) -> bytes | None:
        """What is there now: None when nothing is, b"" at the clean end."""
        state = self.state
        if state.buffer:
            return self.connection.read(state, max_bytes)
        if state.is_reset:
            raise StreamReset(self.connection.remote_peer, self.protocol)
        if state.is_receive_closed:
            raise StreamClosed(self.connection.remote_peer, self.protocol, "receive")
        if state.is_remote_finished:
            return b""
        self.connection.check_open()
        return None

    def agree(self, protocol: str, rest: bytes) -> None:
        """Take the protocol, and back what was read too far."""
        self.protocol = protocol
        self.connection.unread(self.state, rest)

    def _is_receive_ready(self) -> bool:
        state = self.state
        return bool(state.buffer) or state.is_remote_finished or not state.is_open

    # ----- sending

    def send_nowait(self, data: Buffer) -> int:
        """Take what window and buffer permit, and say how much that was."""
        self._check_can_send()
        taken = self.connection.queue(self.state, data)
        self.connection.flush()
        return taken

    async def send_all(self, data: Buffer | Sequence[Buffer]) -> None:
        """Send everything; waits for window and buffer."""
        if self._is_sending:
            # Its bytes would come to lie in the middle of the other's.
            raise StreamBusy(f"another task is sending on {self!r}")
        joined = cast("Buffer", data) if isinstance(data, bytes | bytearray | memoryview) else b"".join(data)
        if len(joined) <= SMALL_WRITE_BYTES:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_can_send()
            if self.connection.queue_for_later(self.state, joined):
                return
        self._is_sending = True
        try:
            await trio.lowlevel.checkpoint()
            rest = memoryview(joined)
            while True:
                # Until nothing is taken: the pipe may have made room while it was offered the last part.
                while rest and (taken := self.send_nowait(rest)):
                    rest = rest[taken:]
                if not rest:
                    return
                self.connection.await_room(self)
                await self._sender.wait()
        finally:
            self._is_sending = False

    async def send_eof(self) -> None:
        """Say that we send no more."""
        await trio.lowlevel.checkpoint()
        self._check_can_send()
        self.connection.finish(self)

    def _check_can_send(self) -> None:
        state = self.state
        if state.is_reset:
            raise StreamReset(self.connection.remote_peer, self.protocol)
        self.connection.check_open()
        if state.is_send_finished:
            raise StreamClosed(self.connection.remote_peer, self.protocol, "send")

    # ----- ending

    def reset(self) -> None:
        """Tear the stream down in both directions, at once."""
        if not self.connection.is_closed:
            self.connection.reset(self)
            self.wake()

    async def aclose(self) -> None:
        """Send our end and receive no more."""
        if not self.is_closed:
            self.finished_at_s = trio.current_time()
            self.connection.finish(self)
            self.connection.close_receive(self)
            self.wake()
        await trio.lowlevel.checkpoint()

    def wake(self) -> None:
        """Something about this stream has changed: let whoever waits have a look."""
        self._receiver.wake()
        self._sender.wake()
