"""What a peer must not do: each ends the session, names the fault, and leaves memory bounded."""

import pytest
from leanmesh.wire.yamux_frames import GoAwayCode, YamuxViolation
from wire.yamux_pair import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    PING,
    RST,
    SYN,
    WINDOW,
    WINDOW_UPDATE,
    data_frame,
    frame,
    frames,
    server,
)

OPEN = frame(WINDOW_UPDATE, SYN, 1, 0)

VIOLATIONS = {
    "another version": (frame(DATA, 0, 1, 0, version=1), "version 1"),
    "an unknown type": (frame(4, 0, 0, 0), "frame of type 4"),
    "an even stream id from a dialer": (frame(WINDOW_UPDATE, SYN, 2, 0), "opened stream 2"),
    "stream 0 as a stream": (frame(WINDOW_UPDATE, SYN, 0, 0), "opened stream 0"),
    "data for stream 0": (data_frame(0, b"x"), "stream 0, which was never opened"),
    "a stream opened twice": (OPEN + OPEN, "which is open already"),
    "data for a stream of ours that we did not open": (
        data_frame(2, b"x"),
        "stream 2, which was never opened",
    ),
    "data for a stream that was never opened": (data_frame(1, b"x"), "stream 1, which was never opened"),
    "credit for a stream that was never opened": (frame(WINDOW_UPDATE, 0, 3, 9), "never opened"),
    "more than the window": (
        OPEN + frame(DATA, 0, 1, WINDOW + 1),
        "sent 262145 bytes on stream 1, whose window had 262144",
    ),
    "more than is left of the window": (
        OPEN + data_frame(1, b"x" * WINDOW) + frame(DATA, 0, 1, 1),
        "had 0 left",
    ),
    "more than the window with the opening frame": (frame(DATA, SYN, 1, 0xFFFFFFFF), "4294967295 bytes"),
    "data after the end": (OPEN + frame(WINDOW_UPDATE, FIN, 1, 0) + data_frame(1, b"x"), "after its end"),
    "a ping on a stream": (frame(PING, SYN, 1, 0), "ping with stream id 1"),
    "a ping that is neither question nor answer": (frame(PING, 0, 0, 0), "ping with stream id 0 and flags 0"),
    "a go-away on a stream": (frame(GO_AWAY, 0, 1, 0), "go-away for stream 1"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_the_session_ends_with(name: str):
    data, message = VIOLATIONS[name]
    session = server()
    with pytest.raises(YamuxViolation, match=message):
        session.receive(data, 0.0)

    assert frames(bytes(session.outgoing))[-1] == (GO_AWAY, 0, 0, GoAwayCode.PROTOCOL_ERROR, b"")


LOOPS = {
    "empty data frames": frame(DATA, 0, 1, 0),
    "window updates without effect": frame(WINDOW_UPDATE, 0, 1, 0),
    "pings": frame(PING, SYN, 0, 7),
    "answers to no ping": frame(PING, ACK, 0, 7),
    "streams opened and reset": frame(WINDOW_UPDATE, SYN, 3, 0) + frame(WINDOW_UPDATE, RST, 3, 0),
    "frames for streams that are over": (
        frame(WINDOW_UPDATE, SYN, 3, 0) + frame(WINDOW_UPDATE, RST, 3, 0) + frame(WINDOW_UPDATE, FIN, 3, 0)
    ),
}


@pytest.mark.parametrize("what", LOOPS)
def test_frames_that_carry_nothing_are_bounded_in_rate(what: str):
    session = server(idle_frames_burst=100, idle_frames_per_s=10.0)
    session.receive(OPEN, 0.0)

    with pytest.raises(YamuxViolation, match="frames that carry nothing"):
        session.receive(LOOPS[what] * 101, 0.0)
    assert len(session.outgoing) < 101 * 36


def test_streams_beyond_the_limit_are_bounded_in_rate():
    session = server(inbound_streams_limit=5, idle_frames_burst=100)
    openings = b"".join(frame(WINDOW_UPDATE, SYN, stream_id, 0) for stream_id in range(1, 1000, 2))
    with pytest.raises(YamuxViolation, match="streams beyond the limit"):
        session.receive(openings, 0.0)

    assert len(session.streams) == 5


def test_a_peer_that_pings_within_the_rate_pings_for_ever():
    session = server(idle_frames_burst=10, idle_frames_per_s=10.0)
    for second in range(1000):
        for _ in range(10):
            session.receive(frame(PING, SYN, 0, 7), float(second))

    assert len(frames(bytes(session.outgoing))) == 10_000


def test_the_allowance_does_not_grow_with_silence():
    session = server(idle_frames_burst=10, idle_frames_per_s=10.0)
    for _ in range(10):
        session.receive(frame(PING, SYN, 0, 7), 1_000_000.0)
    with pytest.raises(YamuxViolation):
        session.receive(frame(PING, SYN, 0, 7), 1_000_000.0)


def test_credit_without_end_is_clamped():
    session = server()
    session.receive(OPEN, 0.0)
    (stream,) = session.take_opened()
    for _ in range(3):
        session.receive(frame(WINDOW_UPDATE, 0, 1, 0xFFFFFFFF), 0.0)

    assert stream.send_window_bytes == 0xFFFFFFFF


def test_tiny_frames_keep_no_more_than_their_bytes():
    session = server()
    session.receive(OPEN, 0.0)
    (stream,) = session.take_opened()
    session.receive(data_frame(1, b"x") * WINDOW, 0.0)

    assert len(stream.buffer) == WINDOW
    assert stream.buffer.__sizeof__() < 2 * WINDOW


def test_a_promised_payload_that_never_comes_keeps_nothing():
    session = server()
    session.receive(OPEN + frame(DATA, 0, 1, WINDOW), 0.0)

    assert session.buffered_bytes == 0
