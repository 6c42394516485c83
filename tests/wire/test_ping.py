import pytest
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.wire.ping import PingDialer, PingError, PingListener

PAYLOAD = bytes(range(32))


def test_a_ping_is_answered_by_its_own_bytes():
    dialer, listener = PingDialer(), PingListener()
    assert dialer.receive(listener.receive(dialer.ping(PAYLOAD)))
    assert dialer.receive(listener.receive(dialer.ping(PAYLOAD[::-1])))


def test_an_answer_may_arrive_in_pieces():
    dialer = PingDialer()
    dialer.ping(PAYLOAD)
    assert [dialer.receive(bytes((byte,))) for byte in PAYLOAD] == [False] * 31 + [True]
    assert not dialer.receive(b"")


@given(sizes=st.lists(st.integers(0, 70), max_size=20))
def test_a_listener_sends_back_whole_payloads_however_they_are_cut(sizes: list[int]):
    listener = PingListener()
    stream = bytes(range(256)) * 6
    sent, back = 0, b""
    for size in sizes:
        back += listener.receive(stream[sent : sent + size])
        sent += size
        whole_bytes = min(sent, len(stream)) // 32 * 32
        assert back == stream[:whole_bytes]
        assert listener.is_inside_payload == (whole_bytes < min(sent, len(stream)))


@pytest.mark.parametrize("answer", [PAYLOAD[::-1], PAYLOAD[:31] + b"x", PAYLOAD + b"x"])
def test_another_answer_is_refused(answer: bytes):
    dialer = PingDialer()
    dialer.ping(PAYLOAD)
    with pytest.raises(PingError, match=f"came back where {PAYLOAD.hex()} was due"):
        dialer.receive(answer)


def test_an_answer_that_nobody_asked_for_is_refused():
    with pytest.raises(PingError, match="ff came back where nothing was due"):
        PingDialer().receive(b"\xff")
