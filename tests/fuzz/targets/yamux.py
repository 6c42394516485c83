"""The frames of a yamux peer, in chunks, to a session whose reader keeps up now and then."""

import struct

from fuzz.registry import cut
from leanmesh.wire.yamux import YamuxSession
from leanmesh.wire.yamux_params import YamuxParams
from leanmesh.wire.yamux_stream import YamuxStream

PARAMS = YamuxParams(inbound_streams_limit=4, receive_limit_bytes=300_000, idle_frames_burst=50)
WINDOW_BYTES = 256 * 1024


def frame(kind: int, flags: int, stream_id: int, length: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BBHII", 0, kind, flags, stream_id, length) + payload


OPENED = frame(1, 1, 1, 0) + frame(0, 0, 1, 5, b"hello")
SEEDS = [
    # The first byte says how the rest is cut into chunks.
    b"\x00" + OPENED + frame(1, 4, 1, 0),
    b"\x0d" + OPENED + frame(0, 4, 1, 3, b"end") + frame(3, 0, 0, 0),
    b"\x07" + frame(0, 5, 1, 2, b"ab") + frame(1, 1, 3, 1000) + frame(1, 8, 3, 0),
    b"\x00" + frame(2, 1, 0, 7) + frame(2, 2, 0, 1) + frame(1, 2, 2, 4096) + frame(0, 0, 2, 1, b"x"),
    b"\x00" + OPENED + frame(0, 0, 1, 262_139, bytes(262_139)) + frame(1, 0, 1, 0xFFFFFFFF),
]


def target(data: bytes) -> None:
    session = YamuxSession(is_client=False, params=PARAMS)
    ours = session.open_stream(0.0)
    session.ping(0.0)
    seen = [ours]
    for number, chunk in enumerate(cut(data)):
        session.receive(chunk, 0.0)
        seen += session.take_opened()
        assert session.buffered_bytes == sum(len(stream.buffer) for stream in seen)
        assert session.buffered_bytes <= PARAMS.receive_limit_bytes
        assert len(session.streams) <= PARAMS.inbound_streams_limit + 1
        # No frame of a peer is answered by more than two of ours.
        assert len(session.outgoing) <= 24 * (len(data) // 12 + 3)
        for stream in session.streams.values():
            check_windows(stream)
            if number % 3 == 0:
                session.read(stream, 100_000, 0.0)
    if ours.is_open:
        assert session.send(ours, b"x" * 10) <= 10


def check_windows(stream: YamuxStream) -> None:
    assert 0 <= stream.receive_window_bytes <= stream.window_bytes
    assert 0 <= stream.send_window_bytes <= 0xFFFFFFFF
    # What is missing is the part of a frame that has not arrived.
    waiting = stream.receive_window_bytes + len(stream.buffer) + stream.unreturned_bytes
    assert stream.window_bytes - WINDOW_BYTES <= waiting <= stream.window_bytes
