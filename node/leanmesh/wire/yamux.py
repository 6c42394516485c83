"""The yamux session: bytes in, changed streams and bytes out.

The session owns its streams' states and what waits to be sent (`outgoing`).
`receive` takes a chunk of any size and handles every frame in it; the streams
it touched are then in `changed`, those the peer opened in `opened`.  Whoever
drives the session takes both after each chunk, so that a stream's reader is
woken once per chunk and not once per frame.

Every violation raises YamuxViolation, after a go-away was queued.
"""

from collections.abc import Iterable

import attrs

from leanmesh.wire.yamux_allowance import Allowance
from leanmesh.wire.yamux_frames import (
    ACK,
    DATA,
    DATA_FRAME_LIMIT_BYTES,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_BYTES,
    INITIAL_WINDOW_BYTES,
    LAST_STREAM_ID,
    PING,
    RST,
    SEND_WINDOW_CEILING_BYTES,
    SYN,
    VERSION,
    WINDOW_UPDATE,
    GoAwayCode,
    StreamNotAvailable,
    YamuxViolation,
    encode_header,
)
from leanmesh.wire.yamux_params import YamuxParams
from leanmesh.wire.yamux_stream import YamuxStream

# A window grows when half of it was used up within this many round trips:
# then the window, and not the reader, is what limits the sender (go-yamux does the same).
GROWTH_ROUND_TRIPS = 4

Buffer = bytes | bytearray | memoryview


@attrs.define(eq=False)
class YamuxSession:
    """Both directions of one session.  The dialer is the client and opens odd stream ids."""

    is_client: bool
    params: YamuxParams
    outgoing: bytearray = attrs.field(factory=bytearray)
    streams: dict[int, YamuxStream] = attrs.field(factory=dict[int, YamuxStream])
    opened: list[YamuxStream] = attrs.field(factory=list[YamuxStream])
    # A dict for its order: streams are woken in the order in which the peer served them.
    changed: dict[YamuxStream, None] = attrs.field(factory=dict[YamuxStream, None])
    # Received and not yet read, over all streams.
    buffered_bytes: int = 0
    # What limits turned away, by the name of the limit.
    refused: dict[str, int] = attrs.field(factory=dict[str, int])
    go_away_received: int | None = None
    go_away_sent: int | None = None
    rtt_s: float | None = None
    ping_sent_at_s: float | None = None

    _next_stream_id: int = attrs.field(init=False)
    _last_remote_id: int = 0
    _inbound_count: int = 0
    _unacknowledged_count: int = 0
    _grown_bytes: int = 0
    _ping_value: int = 0
    _idle_frames: Allowance = attrs.field(init=False)
    _inbound_streams: Allowance = attrs.field(init=False)
    # The frame in the middle of which the last chunk ended.
    _header: bytearray = attrs.field(factory=bytearray)
    _payload_missing_bytes: int = 0
    _payload_stream: YamuxStream | None = None
    _payload_flags: int = 0

    def __attrs_post_init__(self) -> None:
        self._next_stream_id = 1 if self.is_client else 2
        params = self.params
        self._idle_frames = Allowance(params.idle_frames_burst, params.idle_frames_per_s)
        self._inbound_streams = Allowance(params.inbound_streams_burst, params.inbound_streams_per_s)

    # ----- what we do

    def open_stream(self, now_s: float) -> YamuxStream:
        """Open a stream; it may be used at once, the peer's answer comes later."""
        if self.go_away_received is not None or self.go_away_sent is not None:
            raise StreamNotAvailable("the session is ending: a go-away was exchanged")
        if self._unacknowledged_count >= self.params.ack_backlog_limit:
            raise StreamNotAvailable(
                f"the peer has not yet answered {self._unacknowledged_count} opened streams"
            )
        if self._next_stream_id > LAST_STREAM_ID:
            raise StreamNotAvailable("all stream ids of this session are used up")
        stream = YamuxStream(self._next_stream_id, is_outbound=True, opened_at_s=now_s, credited_at_s=now_s)
        self._next_stream_id += 2
        self._unacknowledged_count += 1
        self.streams[stream.stream_id] = stream
        self.outgoing += encode_header(WINDOW_UPDATE, SYN, stream.stream_id, 0)
        return stream

    def send(self, stream: YamuxStream, data: Buffer) -> int:
        """Queue as much of `data` as the peer's window takes, and say how much that was."""
        assert not stream.is_send_finished
        size = min(len(data), stream.send_window_bytes)
        if size <= 0 or not stream.is_open:
            return 0
        outgoing = self.outgoing
        if size == len(data) and size <= DATA_FRAME_LIMIT_BYTES:
            outgoing += HEADER.pack(VERSION, DATA, 0, stream.stream_id, size)
            outgoing += data
        else:
            view = memoryview(data)
            for start in range(0, size, DATA_FRAME_LIMIT_BYTES):
                part = view[start : min(start + DATA_FRAME_LIMIT_BYTES, size)]
                outgoing += HEADER.pack(VERSION, DATA, 0, stream.stream_id, len(part))
                outgoing += part
        stream.send_window_bytes -= size
        return size

    def finish(self, stream: YamuxStream) -> None:
        """Say that we send no more on this stream."""
        if stream.is_send_finished or not stream.is_open:
            return
        stream.is_send_finished = True
        self.outgoing += encode_header(WINDOW_UPDATE, FIN, stream.stream_id, 0)
        if stream.is_remote_finished:
            self._remove(stream)

    def reset(self, stream: YamuxStream) -> None:
        """Tear the stream down from our side.  What it had buffered is dropped."""
        if stream.is_open:
            self.outgoing += encode_header(WINDOW_UPDATE, RST, stream.stream_id, 0)
            self._remove(stream)
        stream.is_receive_closed = stream.is_send_finished = True
        self._drop_buffer(stream)

    def close_receive(self, stream: YamuxStream) -> None:
        """Read no more.  Data that is here or still comes was in vain: its sender gets a reset."""
        stream.is_receive_closed = True
        if stream.buffer:
            self.reset(stream)

    def read(self, stream: YamuxStream, max_bytes: int, now_s: float) -> bytes:
        """Take up to `max_bytes` of what is buffered, and give credit back once half the window was used."""
        buffer = stream.buffer
        if len(buffer) <= max_bytes:
            data = bytes(buffer)
            buffer.clear()
        else:
            data = bytes(memoryview(buffer)[:max_bytes])
            del buffer[:max_bytes]
        size = len(data)
        self.buffered_bytes -= size
        stream.unreturned_bytes += size
        if (
            stream.unreturned_bytes * 2 >= stream.window_bytes
            and not stream.is_remote_finished
            and stream.is_open
        ):
            self._give_credit(stream, now_s)
        return data

    def unread(self, stream: YamuxStream, data: bytes) -> None:
        """Put bytes back that were read too far; the credit for them is taken back as well."""
        stream.buffer[:0] = data
        self.buffered_bytes += len(data)
        stream.unreturned_bytes -= len(data)

    def ping(self, now_s: float) -> None:
        """Ask for a sign of life; its answer sets `rtt_s` and clears `ping_sent_at_s`."""
        self._ping_value = (self._ping_value + 1) & 0xFFFFFFFF
        self.ping_sent_at_s = now_s
        self.outgoing += encode_header(PING, SYN, 0, self._ping_value)

    def go_away(self, code: GoAwayCode) -> None:
        """Announce the end of the session.  Said once."""
        if self.go_away_sent is None:
            self.go_away_sent = code
            self.outgoing += encode_header(GO_AWAY, 0, 0, code)

    def take_changed(self) -> Iterable[YamuxStream]:
        """The streams that the chunks since the last call have touched."""
        changed = self.changed
        self.changed = {}
        return changed

    def take_opened(self) -> list[YamuxStream]:
        """The streams that the peer has opened since the last call, oldest first."""
        opened = self.opened
        self.opened = []
        return opened

    # ----- what the peer does

    def receive(self, data: Buffer, now_s: float) -> None:
        """Handle every frame of a chunk; a frame that is cut off is continued by the next chunk."""
        view = memoryview(data)
        offset = 0
        end = len(view)
        streams = self.streams
        while offset < end:
            if self._payload_missing_bytes:
                offset += self._receive_payload(view[offset : offset + self._payload_missing_bytes])
                continue
            if self._header or end - offset < HEADER_BYTES:
                taken = HEADER_BYTES - len(self._header)
                self._header += view[offset : offset + taken]
                offset += taken
                if offset > end:
                    return
                version, kind, flags, stream_id, length = HEADER.unpack(self._header)
                self._header.clear()
            else:
                version, kind, flags, stream_id, length = HEADER.unpack_from(view, offset)
                offset += HEADER_BYTES
            if version != VERSION:
                self._violated(f"sent version {version}, only 0 exists")
            if kind == DATA:
                # The common frame, kept flat: data for a stream that is open.
                stream = streams.get(stream_id)
                if flags or stream is None or not length:
                    self._handle_data(stream_id, flags, length, now_s)
                else:
                    self._expect_payload(stream, 0, length)
            elif kind == WINDOW_UPDATE:
                self._handle_window_update(stream_id, flags, length, now_s)
            elif kind == PING:
                self._handle_ping(stream_id, flags, length, now_s)
            elif kind == GO_AWAY:
                self._handle_go_away(stream_id, length, now_s)
            else:
                self._violated(f"sent a frame of type {kind}")

    def _receive_payload(self, part: memoryview) -> int:
        size = len(part)
        self._payload_missing_bytes -= size
        stream = self._payload_stream
        if stream is not None and stream.is_open:
            # The reader may have closed the stream between two chunks of one frame.
            if stream.is_receive_closed:
                self.reset(stream)
            else:
                stream.buffer += part
                self.buffered_bytes += size
            self.changed[stream] = None
        if not self._payload_missing_bytes:
            self._payload_stream = None
            if stream is not None and stream.is_open and self._payload_flags & FIN:
                self._remote_finished(stream)
        return size

    def _expect_payload(self, stream: YamuxStream, flags: int, length: int) -> None:
        """Admit a data frame by its header alone: nothing is kept for a frame that may not come."""
        if stream.is_remote_finished:
            self._violated(f"sent {length} bytes on stream {stream.stream_id} after its end")
        if length > stream.receive_window_bytes:
            left = stream.receive_window_bytes
            self._violated(f"sent {length} bytes on stream {stream.stream_id}, whose window had {left} left")
        stream.receive_window_bytes -= length
        self._payload_missing_bytes = length
        self._payload_flags = flags
        if self.buffered_bytes + length > self.params.receive_limit_bytes:
            self._refuse("receive_limit_bytes")
            self.reset(stream)
            stream.is_reset = True
            self.changed[stream] = None
            self._payload_stream = None
        else:
            self._payload_stream = stream

    def _handle_data(self, stream_id: int, flags: int, length: int, now_s: float) -> None:
        stream, has_effect = self._handle_stream_flags("data", stream_id, flags, now_s)
        if length:
            if stream is None:
                # Late data of a stream that is over: skipped, and paid for by its sender alone.
                self._payload_missing_bytes = length
                self._payload_stream = None
            else:
                self._expect_payload(stream, flags, length)
            return
        if stream is not None and flags & FIN:
            has_effect |= self._remote_finished(stream)
        if not has_effect:
            self._spend_idle_frame("empty data frames", now_s)

    def _handle_window_update(self, stream_id: int, flags: int, length: int, now_s: float) -> None:
        stream, has_effect = self._handle_stream_flags("window update", stream_id, flags, now_s)
        if stream is not None:
            credit = min(length, SEND_WINDOW_CEILING_BYTES - stream.send_window_bytes)
            if credit:
                stream.send_window_bytes += credit
                self.changed[stream] = None
                has_effect = True
            if flags & FIN:
                has_effect |= self._remote_finished(stream)
        if not has_effect:
            self._spend_idle_frame("window updates without effect", now_s)

    def _handle_stream_flags(
        self, frame: str, stream_id: int, flags: int, now_s: float
    ) -> tuple[YamuxStream | None, bool]:
        """Apply SYN, ACK and RST: the stream that the rest of the frame is about, or None.

        And whether they had an effect, or were charged for.  What has none, in
        flags, data and credit, is an idle frame: there is no other that is free.
        """
        if flags & SYN:
            return self._handle_syn(frame, stream_id, flags, now_s), True
        stream = self.streams.get(stream_id)
        if stream is None:
            self._check_was_open(frame, stream_id)
            return None, False
        has_effect = False
        if flags & ACK and not stream.is_acknowledged:
            stream.is_acknowledged = has_effect = True
            if stream.is_outbound:
                self._unacknowledged_count -= 1
        if flags & RST:
            if not stream.is_outbound:
                # Opening and resetting at once costs the peer nothing and us a task.
                self._spend_idle_frame("streams opened and reset", now_s)
            self._remove(stream)
            stream.is_reset = True
            self._drop_buffer(stream)
            self.changed[stream] = None
            return None, True
        return stream, has_effect

    def _handle_syn(self, frame: str, stream_id: int, flags: int, now_s: float) -> YamuxStream | None:
        if stream_id == 0 or stream_id % 2 == (1 if self.is_client else 0):
            self._violated(f"opened stream {stream_id} with a {frame}: such ids are not the peer's to open")
        if stream_id in self.streams:
            self._violated(f"opened stream {stream_id} with a {frame}, which is open already")
        # Not strictly rising: go-yamux numbers its streams before it queues their first frames.
        self._last_remote_id = max(self._last_remote_id, stream_id)
        if flags & RST:
            self._spend_idle_frame("streams opened and reset", now_s)
            return None
        limit = self._limit_for_stream(now_s)
        if limit is not None:
            self._refuse(limit)
            self._spend_idle_frame(f"streams beyond {limit}", now_s)
            self.outgoing += encode_header(WINDOW_UPDATE, RST, stream_id, 0)
            return None
        stream = YamuxStream(stream_id, is_outbound=False, opened_at_s=now_s, credited_at_s=now_s)
        stream.is_acknowledged = True
        self._inbound_count += 1
        self.streams[stream_id] = stream
        self.opened.append(stream)
        self.outgoing += encode_header(WINDOW_UPDATE, ACK, stream_id, 0)
        return stream

    def _limit_for_stream(self, now_s: float) -> str | None:
        """The limit that forbids the peer one more stream, if any."""
        if self._inbound_count >= self.params.inbound_streams_limit:
            return "inbound_streams_limit"
        if not self._inbound_streams.spend(now_s):
            return "inbound_streams_per_s"
        return None

    def _check_was_open(self, frame: str, stream_id: int) -> None:
        is_ours = stream_id % 2 == (1 if self.is_client else 0)
        was_open = stream_id < self._next_stream_id if is_ours else stream_id <= self._last_remote_id
        if stream_id == 0 or not was_open:
            self._violated(f"sent a {frame} for stream {stream_id}, which was never opened")

    def _handle_ping(self, stream_id: int, flags: int, value: int, now_s: float) -> None:
        if stream_id != 0 or flags not in (SYN, ACK):
            self._violated(f"sent a ping with stream id {stream_id} and flags {flags}")
        if flags == SYN:
            self._spend_idle_frame("pings", now_s)
            self.outgoing += encode_header(PING, ACK, 0, value)
        elif self.ping_sent_at_s is not None and value == self._ping_value:
            self.rtt_s = now_s - self.ping_sent_at_s
            self.ping_sent_at_s = None
        else:
            self._spend_idle_frame("answers to no ping", now_s)

    def _handle_go_away(self, stream_id: int, code: int, now_s: float) -> None:
        if stream_id != 0:
            self._violated(f"sent a go-away for stream {stream_id}")
        if self.go_away_received is not None:
            self._spend_idle_frame("go-aways after the first", now_s)
        self.go_away_received = code

    # ----- helpers

    def _remote_finished(self, stream: YamuxStream) -> bool:
        """Take the end that the peer has sent; False when it had sent it before."""
        if stream.is_remote_finished:
            return False
        stream.is_remote_finished = True
        self.changed[stream] = None
        if stream.is_send_finished:
            self._remove(stream)
        return True

    def _remove(self, stream: YamuxStream) -> None:
        """Forget a stream that is over.  What it has buffered stays readable."""
        stream.is_open = False
        del self.streams[stream.stream_id]
        self._grown_bytes -= stream.window_bytes - INITIAL_WINDOW_BYTES
        if not stream.is_outbound:
            self._inbound_count -= 1
        elif not stream.is_acknowledged:
            self._unacknowledged_count -= 1

    def _drop_buffer(self, stream: YamuxStream) -> None:
        self.buffered_bytes -= len(stream.buffer)
        stream.buffer.clear()

    def _give_credit(self, stream: YamuxStream, now_s: float) -> None:
        credit = stream.unreturned_bytes
        if self._may_grow(stream, now_s):
            grown = min(stream.window_bytes, self.params.window_limit_bytes - stream.window_bytes)
            stream.window_bytes += grown
            self._grown_bytes += grown
            credit += grown
        stream.unreturned_bytes = 0
        stream.credited_at_s = now_s
        stream.receive_window_bytes += credit
        self.outgoing += encode_header(WINDOW_UPDATE, 0, stream.stream_id, credit)

    def _may_grow(self, stream: YamuxStream, now_s: float) -> bool:
        return (
            self.rtt_s is not None
            and stream.window_bytes < self.params.window_limit_bytes
            and now_s - stream.credited_at_s < GROWTH_ROUND_TRIPS * self.rtt_s
            and self._grown_bytes + stream.window_bytes <= self.params.receive_limit_bytes
        )

    def _refuse(self, limit: str) -> None:
        self.refused[limit] = self.refused.get(limit, 0) + 1

    def _spend_idle_frame(self, what: str, now_s: float) -> None:
        """Frames that move nothing are free for their sender: their rate is bounded."""
        if not self._idle_frames.spend(now_s):
            params = self.params
            self._violated(
                f"sent more frames that carry nothing ({what}) than a burst of {params.idle_frames_burst} "
                f"and {params.idle_frames_per_s:g} per second"
            )

    def _violated(self, what: str) -> None:
        self.go_away(GoAwayCode.PROTOCOL_ERROR)
        raise YamuxViolation(f"yamux: the peer {what}")
