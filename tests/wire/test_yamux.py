"""The yamux session as its driver sees it: streams, windows, ends."""

import pytest
from leanmesh.errors import LocalError
from leanmesh.wire.yamux_frames import GoAwayCode, StreamNotAvailable
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
    make_pair,
    server,
    take_output,
)


def test_a_stream_opens_with_a_window_update_and_is_acknowledged_with_one():
    pair = make_pair()
    pair.client.open_stream(0.0)

    opening = take_output(pair.client)
    pair.server.receive(opening, 0.0)

    assert frames(opening) == [(WINDOW_UPDATE, SYN, 1, 0, b"")]
    assert frames(take_output(pair.server)) == [(WINDOW_UPDATE, ACK, 1, 0, b"")]
    assert [stream.stream_id for stream in pair.server.take_opened()] == [1]
    assert pair.server.take_opened() == []


def test_the_dialer_opens_odd_streams_and_the_listener_even_ones():
    pair = make_pair()
    ours = [pair.client.open_stream(0.0).stream_id for _ in range(3)]
    theirs = [pair.server.open_stream(0.0).stream_id for _ in range(3)]
    pair.exchange()

    assert (ours, theirs) == ([1, 3, 5], [2, 4, 6])


def test_data_arrives_in_order_however_the_chunks_are_cut():
    for size in (1, 2, 5, 11, 12, 13, 1000):
        pair = make_pair()
        stream = pair.client.open_stream(0.0)
        pair.client.send(stream, b"first")
        pair.client.send(stream, b"second" * 100)
        output = take_output(pair.client)

        for start in range(0, len(output), size):
            pair.server.receive(output[start : start + size], 0.0)

        (received,) = pair.server.take_opened()
        assert pair.server.read(received, 1000, 0.0) == b"first" + b"second" * 100
        assert pair.server.buffered_bytes == 0


def test_a_stream_is_reported_once_per_chunk_however_many_frames_it_has():
    pair = make_pair()
    ours, theirs = pair.open()
    pair.server.take_changed()
    for _ in range(50):
        pair.client.send(ours, b"x")
    pair.exchange()

    assert list(pair.server.take_changed()) == [theirs]
    assert list(pair.server.take_changed()) == []


def test_no_more_is_sent_than_the_window_takes_and_credit_comes_when_half_of_it_is_read():
    pair = make_pair()
    ours, theirs = pair.open()

    assert pair.client.send(ours, b"x" * (WINDOW + 1)) == WINDOW
    assert pair.client.send(ours, b"x") == 0
    pair.exchange()
    assert len(theirs.buffer) == WINDOW

    pair.server.read(theirs, WINDOW // 2 - 1, 0.0)
    assert take_output(pair.server) == b""
    pair.server.read(theirs, 1, 0.0)
    assert frames(bytes(pair.server.outgoing)) == [(WINDOW_UPDATE, 0, 1, WINDOW // 2, b"")]
    pair.exchange()
    assert ours.send_window_bytes == WINDOW // 2
    assert list(pair.client.take_changed()) == [ours]


def test_large_writes_are_cut_into_frames_of_64_kib():
    pair = make_pair()
    ours, _ = pair.open()
    pair.client.send(ours, b"x" * 150_000)

    assert [(length) for *_, length, _ in frames(take_output(pair.client))] == [65536, 65536, 18928]


def test_each_side_ends_its_direction_and_the_stream_is_over_when_both_have():
    pair = make_pair()
    ours, theirs = pair.open()
    pair.client.send(ours, b"last words")
    pair.client.finish(ours)
    pair.exchange()

    assert (theirs.is_remote_finished, theirs.is_open, ours.is_open) == (True, True, True)
    pair.server.send(theirs, b"answer")
    pair.server.finish(theirs)
    assert frames(bytes(pair.server.outgoing)) == [
        (DATA, 0, 1, 6, b"answer"),
        (WINDOW_UPDATE, FIN, 1, 0, b""),
    ]
    pair.exchange()

    assert (ours.is_open, theirs.is_open) == (False, False)
    assert pair.client.read(ours, 100, 0.0) == b"answer"
    assert pair.server.read(theirs, 100, 0.0) == b"last words"
    assert (pair.client.streams, pair.server.streams) == ({}, {})


def test_an_end_that_rides_on_data_takes_effect_after_the_data():
    session = server()
    session.receive(frame(WINDOW_UPDATE, SYN, 1, 0) + frame(DATA, FIN, 1, 4, b"ab"), 0.0)
    (stream,) = session.take_opened()
    assert not stream.is_remote_finished

    session.receive(b"cd", 0.0)
    assert stream.is_remote_finished
    assert session.read(stream, 10, 0.0) == b"abcd"


def test_a_stream_may_open_with_data_and_end_in_the_same_frame():
    session = server()
    session.receive(data_frame(1, b"all", SYN | FIN), 0.0)

    (stream,) = session.take_opened()
    assert (session.read(stream, 10, 0.0), stream.is_remote_finished) == (b"all", True)


def test_a_reset_drops_what_was_buffered_on_both_sides():
    pair = make_pair()
    ours, theirs = pair.open()
    pair.client.send(ours, b"unread")
    pair.exchange()
    pair.server.take_changed()
    pair.client.reset(ours)
    assert frames(bytes(pair.client.outgoing)) == [(WINDOW_UPDATE, RST, 1, 0, b"")]
    pair.exchange()

    assert (theirs.is_reset, theirs.is_open, bytes(theirs.buffer)) == (True, False, b"")
    assert list(pair.server.take_changed()) == [theirs]
    assert pair.server.buffered_bytes == 0
    assert (pair.client.streams, pair.server.streams) == ({}, {})


def test_late_frames_of_a_stream_that_we_reset_are_skipped():
    pair = make_pair()
    ours, theirs = pair.open()
    pair.client.send(ours, b"under way")
    pair.server.reset(theirs)
    pair.exchange()

    assert pair.server.buffered_bytes == 0
    second, _ = pair.open()
    assert second.stream_id == 3


def test_data_for_a_stream_whose_reader_has_gone_is_answered_with_a_reset():
    pair = make_pair()
    ours, theirs = pair.open()
    pair.server.close_receive(theirs)
    assert take_output(pair.server) == b""
    pair.client.send(ours, b"anyone?")
    pair.exchange()

    assert ours.is_reset
    assert not theirs.is_open


def test_bytes_read_too_far_can_be_put_back_and_keep_the_books_closed():
    pair = make_pair()
    ours, theirs = pair.open()
    pair.client.send(ours, b"header and body")
    pair.exchange()
    pair.server.unread(theirs, pair.server.read(theirs, 100, 0.0)[7:])

    assert pair.server.read(theirs, 100, 0.0) == b"and body"
    assert theirs.receive_window_bytes + theirs.unreturned_bytes == theirs.window_bytes
    assert pair.server.buffered_bytes == 0


def test_a_ping_is_answered_with_its_value_and_measures_the_round_trip():
    pair = make_pair()
    pair.client.ping(10.0)
    request = take_output(pair.client)
    pair.server.receive(request, 10.0)
    answer = take_output(pair.server)

    assert frames(request) == [(PING, SYN, 0, 1, b"")]
    assert frames(answer) == [(PING, ACK, 0, 1, b"")]
    pair.client.receive(answer, 10.25)
    assert (pair.client.rtt_s, pair.client.ping_sent_at_s) == (0.25, None)


def test_after_a_go_away_no_stream_is_opened_and_those_open_go_on():
    pair = make_pair()
    ours, theirs = pair.open()
    pair.server.go_away(GoAwayCode.NORMAL)
    pair.server.go_away(GoAwayCode.NORMAL)
    assert frames(bytes(pair.server.outgoing)) == [(GO_AWAY, 0, 0, 0, b"")]
    pair.exchange()

    for session in (pair.client, pair.server):
        with pytest.raises(StreamNotAvailable, match="go-away"):
            session.open_stream(0.0)
    pair.client.send(ours, b"still")
    pair.exchange()
    assert pair.server.read(theirs, 10, 0.0) == b"still"


def test_streams_beyond_the_limit_are_refused_with_a_reset_until_one_ends():
    pair = make_pair(inbound_streams_limit=2)
    first, second, third = (pair.client.open_stream(0.0) for _ in range(3))
    pair.exchange()

    assert [first.is_open, second.is_open, third.is_reset] == [True, True, True]
    assert pair.server.refused == {"inbound_streams_limit": 1}
    pair.client.reset(first)
    pair.exchange()
    fourth = pair.client.open_stream(0.0)
    pair.exchange()
    assert fourth.is_open
    assert fourth.is_acknowledged


def test_a_peer_that_does_not_acknowledge_gets_no_more_than_its_backlog():
    pair = make_pair(ack_backlog_limit=3)
    streams = [pair.client.open_stream(0.0) for _ in range(3)]
    with pytest.raises(StreamNotAvailable, match="not yet answered 3"):
        pair.client.open_stream(0.0)

    pair.client.reset(streams[0])
    pair.client.open_stream(0.0)
    pair.exchange()
    pair.client.open_stream(0.0)


def test_a_window_grows_when_its_half_was_used_within_few_round_trips_and_stops_at_the_limit():
    pair = make_pair(window_limit_bytes=4 * WINDOW)
    ours, theirs = pair.open()
    pair.server.ping(0.0)
    request = take_output(pair.server)
    pair.now_s = 0.1
    pair.client.receive(request, 0.1)
    pair.exchange()

    for _ in range(20):
        pair.client.send(ours, b"x" * ours.send_window_bytes)
        pair.exchange()
        pair.server.read(theirs, 10 * WINDOW, pair.now_s)
        pair.exchange()

    assert theirs.window_bytes == 4 * WINDOW
    assert ours.send_window_bytes == 4 * WINDOW


def test_a_window_does_not_grow_for_a_slow_sender_nor_beyond_what_the_session_may_buffer():
    slow = make_pair()
    ours, theirs = slow.open()
    slow.server.rtt_s = 0.1
    slow.client.send(ours, b"x" * WINDOW)
    slow.exchange()
    slow.server.read(theirs, WINDOW, 5.0)
    assert theirs.window_bytes == WINDOW

    narrow = make_pair(receive_limit_bytes=WINDOW)
    pairs = [narrow.open() for _ in range(2)]
    narrow.server.rtt_s = 0.1
    for ours, theirs in pairs:
        narrow.client.send(ours, b"x" * (WINDOW // 2))
        narrow.exchange()
        narrow.server.read(theirs, WINDOW, 0.0)
    assert [theirs.window_bytes for _, theirs in pairs] == [2 * WINDOW, WINDOW]


def test_a_stream_that_would_exceed_what_the_session_may_buffer_is_reset_and_the_others_live():
    pair = make_pair(receive_limit_bytes=WINDOW)
    (first, kept), (second, lost) = pair.open(), pair.open()
    pair.client.send(first, b"x" * WINDOW)
    pair.client.send(second, b"y")
    pair.exchange()

    assert (second.is_reset, lost.is_reset, first.is_open) == (True, True, True)
    assert pair.server.refused == {"receive_limit_bytes": 1}
    assert pair.server.read(kept, WINDOW, 0.0) == b"x" * WINDOW


def test_stream_ids_end_before_they_wrap_around():
    pair = make_pair()
    pair.client._next_stream_id = (1 << 32) - 1
    assert pair.client.open_stream(0.0).stream_id == (1 << 32) - 1
    with pytest.raises(LocalError, match="used up"):
        pair.client.open_stream(0.0)
