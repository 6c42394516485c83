"""Whatever the order of events and the cuts: bytes arrive in order, windows add up, memory is bounded."""

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from leanmesh.wire.yamux import YamuxSession
from leanmesh.wire.yamux_frames import YamuxViolation
from leanmesh.wire.yamux_params import YamuxParams
from wire.yamux_pair import DATA, SYN, WINDOW, frame, make_pair, take_output

kinds = st.integers(0, 4)
flags = st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 8, 9, 15])
stream_ids = st.sampled_from([0, 1, 1, 1, 2, 3, 5, 0xFFFFFFFF])
lengths = st.sampled_from([0, 1, 5, 100, WINDOW, WINDOW + 1, 0xFFFFFFFF])
hostile_frames = st.builds(
    lambda kind, flag, stream_id, length: frame(
        kind, flag, stream_id, length, b"p" * length if kind == DATA and length <= WINDOW else b""
    ),
    kinds,
    flags,
    stream_ids,
    lengths,
)


def feed(session: YamuxSession, data: bytes, cut_bytes: int) -> None:
    for start in range(0, len(data), cut_bytes):
        session.receive(data[start : start + cut_bytes], 0.0)
        for stream in session.take_opened():
            if len(stream.buffer) > 10:
                session.read(stream, 10, 0.0)


@settings(deadline=None)
@given(st.lists(hostile_frames, max_size=30), st.sampled_from([7, 4096, 65536]), st.booleans())
def test_hostile_frames_end_in_a_violation_or_bounded(parts: list[bytes], cut_bytes: int, is_client: bool):
    params = YamuxParams(receive_limit_bytes=2 * WINDOW, inbound_streams_limit=3)
    session = YamuxSession(is_client=is_client, params=params)
    session.open_stream(0.0)
    with contextlib.suppress(YamuxViolation):
        feed(session, b"".join(parts), cut_bytes)

    buffered = [len(stream.buffer) for stream in session.streams.values()]
    assert max(buffered, default=0) <= WINDOW
    assert session.buffered_bytes <= 2 * WINDOW
    assert len(session.streams) <= 4
    assert len(session.outgoing) <= 12 * (2 * len(parts) + 2)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_violation_or_in_nothing(data: bytes):
    session = YamuxSession(is_client=False, params=YamuxParams())
    with contextlib.suppress(YamuxViolation):
        session.receive(data, 0.0)


class TwoSessions(RuleBasedStateMachine):
    """A client and a server use streams as they like; a model holds what was sent and received."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = make_pair(inbound_streams_limit=4)
        self.ends = {}  # stream id -> (client's stream, server's stream)
        self.sent = {}  # (stream id, is_client) -> bytes
        self.received = {}
        self.was_reset = set()

    def session(self, is_client: bool) -> YamuxSession:
        return self.pair.client if is_client else self.pair.server

    def pick(self, index: int, is_client: bool):
        stream_id = sorted(self.ends)[index % len(self.ends)]
        return stream_id, self.ends[stream_id][0 if is_client else 1]

    @precondition(lambda self: len(self.ends) < 4)
    @rule(is_client=st.booleans())
    def open(self, is_client: bool):
        stream = self.session(is_client).open_stream(0.0)
        self.pair.exchange()
        (other,) = self.session(not is_client).take_opened()
        self.ends[stream.stream_id] = (stream, other) if is_client else (other, stream)
        for side in (True, False):
            self.sent[stream.stream_id, side] = self.received[stream.stream_id, side] = b""

    @precondition(lambda self: self.ends)
    @rule(
        index=st.integers(0, 3), is_client=st.booleans(), size=st.sampled_from([0, 1, 1000, 70_000, 300_000])
    )
    def send(self, index: int, is_client: bool, size: int):
        stream_id, stream = self.pick(index, is_client)
        if not stream.is_send_finished:
            data = random.Random(size).randbytes(size)
            taken = self.session(is_client).send(stream, data)
            self.sent[stream_id, is_client] += data[:taken]

    @precondition(lambda self: self.ends)
    @rule(index=st.integers(0, 3), is_client=st.booleans(), size=st.sampled_from([1, 1000, 200_000]))
    def read(self, index: int, is_client: bool, size: int):
        stream_id, stream = self.pick(index, is_client)
        self.received[stream_id, not is_client] += self.session(is_client).read(stream, size, 0.0)

    @precondition(lambda self: self.ends)
    @rule(index=st.integers(0, 3), is_client=st.booleans())
    def finish(self, index: int, is_client: bool):
        self.session(is_client).finish(self.pick(index, is_client)[1])

    @precondition(lambda self: self.ends)
    @rule(index=st.integers(0, 3), is_client=st.booleans())
    def reset(self, index: int, is_client: bool):
        stream_id, stream = self.pick(index, is_client)
        self.was_reset.add(stream_id)
        self.session(is_client).reset(stream)

    @rule(is_client=st.booleans(), cut_bytes=st.sampled_from([1, 11, 1000, 65536]))
    def deliver(self, is_client: bool, cut_bytes: int):
        output = take_output(self.session(is_client))
        cut_bytes = max(cut_bytes, len(output) // 100)
        for start in range(0, len(output), cut_bytes):
            self.session(not is_client).receive(output[start : start + cut_bytes], 0.0)

    @invariant()
    def windows_add_up_and_bytes_are_in_order(self):
        for stream_id, ends in self.ends.items():
            for is_client, stream in ((True, ends[0]), (False, ends[1])):
                assert self.sent[stream_id, not is_client].startswith(self.received[stream_id, not is_client])
                if stream.is_open:
                    waiting = len(stream.buffer) + stream.unreturned_bytes
                    assert stream.receive_window_bytes + waiting == stream.window_bytes
        for session in (self.pair.client, self.pair.server):
            buffered = {id(stream): stream for ends in self.ends.values() for stream in ends}
            ours = [stream for stream in buffered.values() if self.owner(stream) is session]
            assert session.buffered_bytes == sum(len(stream.buffer) for stream in ours)

    def owner(self, stream) -> YamuxSession:
        is_client_end = any(stream is ends[0] for ends in self.ends.values())
        return self.pair.client if is_client_end else self.pair.server

    def teardown(self):
        self.pair.exchange()
        for stream_id, ends in self.ends.items():
            if stream_id in self.was_reset:
                continue
            for is_client, stream in ((True, ends[0]), (False, ends[1])):
                rest = self.session(is_client).read(stream, 1 << 30, 0.0)
                assert self.received[stream_id, not is_client] + rest == self.sent[stream_id, not is_client]


TestTwoSessions = TwoSessions.TestCase
TestTwoSessions.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_the_bound_on_hostile_memory_is_not_vacuous():
    session = YamuxSession(is_client=False, params=YamuxParams())
    with pytest.raises(YamuxViolation):
        session.receive(frame(DATA, SYN, 1, WINDOW + 1), 0.0)
