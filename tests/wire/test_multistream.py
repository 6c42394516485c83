import pytest
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.errors import RemoteError
from leanmesh.wire.multistream import (
    MESSAGE_LIMIT_BYTES,
    PROPOSALS_LIMIT,
    MultistreamDialer,
    MultistreamListener,
    NegotiationError,
    ProtocolsRefused,
    encode_message,
)
from leanmesh.wire.varint import MalformedVarint, encode_varint

HEADER = b"\x13/multistream/1.0.0\n"


def negotiate(dialer: MultistreamDialer, listener: MultistreamListener, *, step_bytes: int) -> None:
    """Carry bytes between the two until both agree or both are silent."""
    to_listener, to_dialer = dialer.start(), listener.start()
    while to_listener or to_dialer:
        chunk, to_listener = to_listener[:step_bytes], to_listener[step_bytes:]
        if chunk:
            to_dialer += listener.receive(chunk)
        chunk, to_dialer = to_dialer[:step_bytes], to_dialer[step_bytes:]
        if chunk:
            to_listener += dialer.receive(chunk)


def test_the_messages_are_those_of_the_specification():
    assert encode_message("na") == bytes.fromhex("036e610a")
    assert MultistreamDialer(["/noise"]).start() == HEADER + b"\x07/noise\n"
    assert MultistreamListener(["/noise"]).receive(HEADER + b"\x07/noise\n") == HEADER + b"\x07/noise\n"


@pytest.mark.parametrize("step_bytes", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("proposed", "supported", "agreed"),
    [
        (["/a"], {"/a"}, "/a"),
        (["/a", "/b"], {"/b", "/a"}, "/a"),
        (["/a", "/b", "/c"], {"/c"}, "/c"),
        (["/" + "x" * 1022], {"/" + "x" * 1022}, "/" + "x" * 1022),
    ],
)
def test_the_first_proposal_that_the_listener_speaks_is_agreed_on(proposed, supported, agreed, step_bytes):
    dialer, listener = MultistreamDialer(proposed), MultistreamListener(supported)

    negotiate(dialer, listener, step_bytes=step_bytes)

    assert (dialer.agreed, listener.agreed) == (agreed, agreed)
    assert (dialer.rest, listener.rest) == (b"", b"")


def test_a_listener_that_speaks_nothing_proposed_is_an_error_that_names_the_proposals():
    dialer, listener = MultistreamDialer(["/a", "/b"]), MultistreamListener(set())
    with pytest.raises(ProtocolsRefused, match=r"^the peer refused /a and /b$"):
        negotiate(dialer, listener, step_bytes=100)
    assert listener.agreed is None


def test_data_behind_a_single_proposal_reaches_the_protocol():
    dialer, listener = MultistreamDialer(["/a"]), MultistreamListener({"/a"})
    answer = listener.receive(dialer.start() + b"early data")
    assert (listener.agreed, listener.rest) == ("/a", b"early data")
    assert dialer.receive(answer + b"early answer") == b""
    assert (dialer.agreed, dialer.rest) == ("/a", b"early answer")


def test_a_listener_answers_the_header_before_there_is_a_proposal():
    listener = MultistreamListener({"/a"})
    assert listener.receive(HEADER[:5]) == b""
    assert listener.receive(HEADER[5:]) == HEADER
    assert listener.receive(b"\x03/b\n") == b"\x03na\n"
    assert listener.receive(b"\x03/a\n") == b"\x03/a\n"


def test_a_dialer_that_never_stops_proposing_is_dropped():
    listener = MultistreamListener({"/a"})
    listener.receive(HEADER + b"\x03/b\n" * (PROPOSALS_LIMIT - 1))
    with pytest.raises(NegotiationError, match="made 32 proposals, the last '/b'"):
        listener.receive(b"\x03/b\n")


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"\x07/noise\n", "began with '/noise' instead of /multistream/1.0.0"),
        (b"\x00", "message of 0 bytes"),
        (HEADER + b"\x00", "message of 0 bytes"),
        (HEADER + encode_varint(MESSAGE_LIMIT_BYTES + 1), "message of 1025 bytes: 1 to 1024 are taken"),
        (HEADER + b"\x03/aa", "does not end in a newline"),
        (HEADER + b"\x03\xff\xfe\n", "is not UTF-8"),
    ],
)
def test_a_broken_message_is_refused_by_both_sides(stream: bytes, message: str):
    for side in (MultistreamDialer(["/a"]), MultistreamListener({"/a"})):
        side.start()
        with pytest.raises(NegotiationError, match=message):
            side.receive(stream)


def test_a_malformed_length_is_refused():
    with pytest.raises(MalformedVarint):
        MultistreamListener({"/a"}).receive(b"\x80\x00")


def test_an_answer_that_is_neither_echo_nor_refusal_is_refused():
    dialer = MultistreamDialer(["/a", "/b"])
    with pytest.raises(NegotiationError, match="the peer answered '/b' to /a"):
        dialer.receive(HEADER + b"\x03/b\n")


@given(
    chunks=st.lists(st.binary(max_size=80) | st.sampled_from([HEADER, b"\x03/a\n", b"\x03na\n"]), max_size=40)
)
def test_whatever_a_peer_sends_ends_in_agreement_silence_or_a_remote_error(chunks: list[bytes]):
    for side in (MultistreamDialer(["/b", "/a"]), MultistreamListener({"/a"})):
        try:
            for chunk in chunks:
                assert len(side.receive(chunk)) <= len(HEADER) + 4 * PROPOSALS_LIMIT
                if side.agreed is not None:
                    break
                assert len(side.rest) <= MESSAGE_LIMIT_BYTES + 2
        except RemoteError:
            pass
