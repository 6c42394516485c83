"""What a peer must not do: each ends the session, names the fault, and leaves memory bounded."""

import pytest
from leanmesh.wire.yamux import YamuxSession
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
    take_output,
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


UNKNOWN = 0x10

# In a session whose stream 1 is open, whose stream 2 is ours, and whose stream 3 is over: frames without
# effect, what the violation calls them, and how many have an effect before the rest has none.
LOOPS = {
    "empty data": (frame(DATA, 0, 1, 0), "empty data frames", 0),
    "empty data that acknowledges": (frame(DATA, ACK, 1, 0), "empty data frames", 0),
    "empty data that acknowledges ours again": (frame(DATA, ACK, 2, 0), "empty data frames", 1),
    "empty data with an unknown flag": (frame(DATA, UNKNOWN, 1, 0), "empty data frames", 0),
    "empty data that ends again": (frame(DATA, FIN, 1, 0), "empty data frames", 1),
    "empty data for a stream that is over": (frame(DATA, 0, 3, 0), "empty data frames", 0),
    "the end of a stream that is over": (frame(DATA, FIN, 3, 0), "empty data frames", 0),
    "no credit": (frame(WINDOW_UPDATE, 0, 1, 0), "window updates without effect", 0),
    "no credit that acknowledges": (frame(WINDOW_UPDATE, ACK, 1, 0), "window updates without effect", 0),
    "no credit that acknowledges ours again": (
        frame(WINDOW_UPDATE, ACK, 2, 0),
        "window updates without effect",
        1,
    ),
    "no credit with an unknown flag": (
        frame(WINDOW_UPDATE, UNKNOWN, 1, 0),
        "window updates without effect",
        0,
    ),
    "no credit that ends again": (frame(WINDOW_UPDATE, FIN, 1, 0), "window updates without effect", 1),
    "no credit that does all again": (
        frame(WINDOW_UPDATE, ACK | FIN | UNKNOWN, 1, 0),
        "window updates without effect",
        1,
    ),
    "credit at the ceiling": (
        frame(WINDOW_UPDATE, 0, 1, 0xFFFFFFFF),
        "window updates without effect",
        1,
    ),
    "credit at the ceiling with flags": (
        frame(WINDOW_UPDATE, ACK | UNKNOWN, 1, 0xFFFFFFFF),
        "window updates without effect",
        1,
    ),
    "credit for a stream that is over": (frame(WINDOW_UPDATE, 0, 3, 9), "window updates without effect", 0),
    "a reset of a stream that is over": (frame(WINDOW_UPDATE, RST, 3, 0), "window updates without effect", 0),
    "go-aways": (frame(GO_AWAY, 0, 0, 0), "go-aways after the first", 1),
    "go-aways with another code": (frame(GO_AWAY, 0, 0, 7), "go-aways after the first", 1),
    "pings": (frame(PING, SYN, 0, 7), "pings", 0),
    "answers to no ping": (frame(PING, ACK, 0, 7), "answers to no ping", 0),
    "streams opened, and reset": (
        frame(WINDOW_UPDATE, SYN, 5, 0) + frame(WINDOW_UPDATE, RST, 5, 0),
        "streams opened and reset",
        0,
    ),
    "streams opened and reset in one": (frame(WINDOW_UPDATE, SYN | RST, 5, 0), "streams opened and reset", 0),
}


@pytest.mark.parametrize("name", LOOPS)
def test_frames_that_carry_nothing_are_bounded_in_rate(name: str):
    repeated, what, free = LOOPS[name]
    session = server(idle_frames_burst=100, idle_frames_per_s=10.0)
    session.receive(OPEN + frame(WINDOW_UPDATE, SYN, 3, 0), 0.0)
    session.open_stream(0.0)
    session.reset(session.streams[3])
    session.outgoing.clear()

    session.receive(repeated * (free + 100), 0.0)
    with pytest.raises(YamuxViolation, match=f"frames that carry nothing \\({what}\\) than a burst of 100"):
        session.receive(repeated, 0.0)
    assert len(session.outgoing) < 101 * 36


# What peers of every make send in the life of a stream, each frame once.
LIVES = {
    "go-yamux": (frame(WINDOW_UPDATE, ACK, 2, 0), data_frame(2, b"x"), frame(WINDOW_UPDATE, FIN, 2, 0)),
    "an answer with credit": (frame(WINDOW_UPDATE, ACK, 2, 1000), frame(WINDOW_UPDATE, RST, 2, 0)),
    "an end that is empty data": (frame(DATA, ACK, 2, 0), frame(DATA, FIN, 2, 0)),
    "everything at once": (frame(WINDOW_UPDATE, ACK | FIN | RST, 2, 0),),
    "an end and a reset": (frame(DATA, FIN | RST, 2, 0),),
    "an end with the last data": (data_frame(2, b"x", ACK | FIN),),
    "credit and an end": (frame(WINDOW_UPDATE, ACK | FIN, 2, 1000),),
    "a stream of theirs, opened with data and ended with nothing": (
        data_frame(1, b"x", SYN),
        frame(DATA, FIN, 1, 0),
    ),
    "a stream of theirs, opened and ended at once": (frame(WINDOW_UPDATE, SYN | FIN, 1, 0),),
    "a stream of theirs, opened with credit": (
        frame(WINDOW_UPDATE, SYN, 1, 1000),
        frame(WINDOW_UPDATE, FIN, 1, 0),
    ),
    "the end of the session": (frame(GO_AWAY, 0, 0, 0),),
}


@pytest.mark.parametrize("name", LIVES)
def test_what_every_stream_needs_is_free(name: str):
    session = server(idle_frames_burst=1, idle_frames_per_s=0.001)
    session.open_stream(0.0)
    for part in LIVES[name]:
        session.receive(part, 0.0)

    # All of the allowance is still there.
    session.receive(frame(PING, SYN, 0, 7), 0.0)
    with pytest.raises(YamuxViolation, match="frames that carry nothing"):
        session.receive(frame(PING, SYN, 0, 7), 0.0)


def test_streams_beyond_the_limit_are_bounded_in_rate():
    session = server(inbound_streams_limit=5, idle_frames_burst=100)
    openings = b"".join(frame(WINDOW_UPDATE, SYN, stream_id, 0) for stream_id in range(1, 1000, 2))
    with pytest.raises(YamuxViolation, match="streams beyond inbound_streams_limit"):
        session.receive(openings, 0.0)

    assert len(session.streams) == 5
    assert session.refused == {"inbound_streams_limit": 101}


def streams_that_end_at_once(session: YamuxSession, start: int, count: int, now_s: float) -> int:
    """Open so many, each of which ends in its first frame; says how many were taken in."""
    for stream_id in range(start, start + 2 * count, 2):
        session.receive(frame(WINDOW_UPDATE, SYN | FIN, stream_id, 0), now_s)
    opened = session.take_opened()
    for stream in opened:
        session.finish(stream)
    return len(opened)


def test_streams_that_come_faster_than_their_rate_are_refused_with_a_reset():
    session = server(inbound_streams_burst=10, inbound_streams_per_s=5.0, idle_frames_burst=100)
    assert streams_that_end_at_once(session, 1, 10, 0.0) == 10
    take_output(session)
    assert streams_that_end_at_once(session, 21, 3, 0.0) == 0

    assert frames(take_output(session)) == [(WINDOW_UPDATE, RST, number, 0, b"") for number in (21, 23, 25)]
    assert session.refused == {"inbound_streams_per_s": 3}
    # Two seconds bring ten more, and silence no more than the burst.
    assert streams_that_end_at_once(session, 27, 11, 2.0) == 10
    assert streams_that_end_at_once(session, 49, 11, 1000.0) == 10


def test_a_peer_that_opens_streams_within_the_rate_opens_them_for_ever():
    session = server(inbound_streams_burst=5, inbound_streams_per_s=5.0, idle_frames_burst=1)
    taken = sum(streams_that_end_at_once(session, 1 + 10 * second, 5, float(second)) for second in range(500))
    assert taken == 2500


def test_streams_refused_for_their_rate_are_frames_that_carry_nothing():
    session = server(inbound_streams_burst=10, idle_frames_burst=100)
    with pytest.raises(YamuxViolation, match="streams beyond inbound_streams_per_s"):
        streams_that_end_at_once(session, 1, 200, 0.0)
    assert session.refused == {"inbound_streams_per_s": 101}


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
