import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.errors import RemoteError
from leanmesh.identity.keys import KeyKind, PrivateKey
from leanmesh.wire import identify_pb2
from leanmesh.wire.frames import FrameSplitter, FrameTooLarge, encode_frame
from leanmesh.wire.identify import (
    ADDRESSES_LIMIT,
    FRAME_LIMIT_BYTES,
    FRAMES_LIMIT,
    MESSAGE_LIMIT_BYTES,
    PROTOCOLS_LIMIT,
    Identify,
    IdentifyError,
    IdentifyReader,
)
from leanmesh.wire.multiaddr import Multiaddr

KEY = PrivateKey.of_kind(KeyKind.SECP256K1, bytes(31) + b"\x07").public_key
OTHER_KEY = PrivateKey.of_kind(KeyKind.ED25519, bytes(32)).public_key
FULL = Identify(
    protocol_version="ipfs/0.1.0",
    agent_version="leanmesh/1",
    public_key=KEY,
    listen_addresses=(
        Multiaddr.from_text("/ip4/1.2.3.4/tcp/9"),
        Multiaddr.from_text("/ip6/::1/udp/9/quic-v1"),
    ),
    observed_address=Multiaddr.from_text("/ip4/4.3.2.1/tcp/1"),
    protocols=("/meshsub/1.1.0", "/ipfs/id/1.0.0"),
    signed_peer_record=b"an envelope",
)


def read(stream: bytes, *, step_bytes: int = 1000) -> Identify:
    reader = IdentifyReader()
    for offset in range(0, len(stream), step_bytes):
        reader.receive(stream[offset : offset + step_bytes])
    return reader.finish(KEY.peer_id)


@pytest.mark.parametrize("step_bytes", [1, 1000])
@pytest.mark.parametrize(
    "identify", [FULL, Identify(), Identify(protocols=("/a",))], ids=["full", "empty", "short"]
)
def test_what_a_peer_says_is_what_is_read(identify: Identify, step_bytes: int):
    assert read(identify.encode(), step_bytes=step_bytes) == identify


def test_the_fields_have_the_numbers_of_the_specification():
    assert Identify(protocol_version="v", agent_version="a", protocols=("/p",)).encode().hex() == (
        "0a" + "1a022f70" + "2a0176" + "320161"
    )
    assert (
        identify_pb2.Identify(
            public_key=b"k", listen_addresses=[b"l"], observed_address=b"o", signed_peer_record=b"s"
        )
        .SerializeToString()
        .hex()
        == "0a016b" + "12016c" + "22016f" + "420173"
    )


def test_a_long_message_has_its_record_in_a_second_frame():
    long = attrs.evolve(FULL, signed_peer_record=bytes(2000))
    frames = FrameSplitter(limit_bytes=FRAME_LIMIT_BYTES).split(long.encode())
    assert [len(frame) for frame in frames] == [
        len(attrs.evolve(FULL, signed_peer_record=b"").encode()) - 2,
        2003,
    ]
    assert read(long.encode()) == long


@pytest.mark.parametrize("stream", [b"", b"\x00", b"\x00\x00"], ids=["no frame", "empty", "two empty"])
def test_a_peer_that_says_nothing_breaks_no_rule(stream: bytes):
    assert read(stream) == Identify()


def test_a_push_changes_what_it_names_and_nothing_else():
    push = Identify(protocols=("/new",), agent_version="leanmesh/2", skipped_addresses=3)
    assert FULL.updated_by(push) == attrs.evolve(FULL, protocols=("/new",), agent_version="leanmesh/2")
    assert FULL.updated_by(Identify()) == FULL


def test_a_key_that_is_not_the_connections_is_refused():
    stream = attrs.evolve(FULL, public_key=OTHER_KEY).encode()
    with pytest.raises(
        IdentifyError, match=f"^{KEY.peer_id} identifies with the key of {OTHER_KEY.peer_id}$"
    ):
        read(stream)


def test_addresses_of_unknown_forms_are_counted_and_left_out():
    message = identify_pb2.Identify(
        listen_addresses=[b"\x04\x01\x02\x03\x04\x06\x00\x09", b"\xa2\x02", b""], observed_address=b"\xa2\x02"
    )
    assert read(encode_frame(message.SerializeToString())) == Identify(
        listen_addresses=(Multiaddr.from_text("/ip4/1.2.3.4/tcp/9"),), skipped_addresses=2
    )


def test_lists_beyond_their_limits_are_cut_and_counted():
    message = identify_pb2.Identify(
        listen_addresses=[
            Multiaddr.of_socket("1.2.3.4", port).to_bytes() for port in range(ADDRESSES_LIMIT + 5)
        ],
        protocols=[b"/%d" % number for number in range(PROTOCOLS_LIMIT + 7)],
    )
    identify = read(encode_frame(message.SerializeToString()))
    assert (len(identify.listen_addresses), identify.skipped_addresses) == (ADDRESSES_LIMIT, 5)
    assert (len(identify.protocols), identify.skipped_protocols) == (PROTOCOLS_LIMIT, 7)


def test_versions_are_made_fit_for_a_log_line():
    message = identify_pb2.Identify(
        agent_version=b"a\nb\xff\x00c" + b"x" * 1000, protocol_version="ä".encode() * 200
    )
    identify = read(encode_frame(message.SerializeToString()))
    assert identify.agent_version == "a�b��c" + "x" * 122
    assert identify.protocol_version == "ä" * 128


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"\x05abc", "ended before its message"),
        (b"\x00\x85", "ended before its message"),
        (b"\x01\xff", "cannot be decoded"),
        (b"\x03\x1a\x01\xff", "cannot be decoded"),
        (b"\x03\x0a\x01\xff", "the key in the identify message: "),
        (b"\x00" * (FRAMES_LIMIT + 1), "in more than 10 frames"),
        (
            encode_frame(b"\x42\xfd\x3f" + bytes(8189)) * 5,
            f"message of 40960 bytes exceeds {MESSAGE_LIMIT_BYTES}",
        ),
    ],
)
def test_a_message_that_is_none_is_refused(stream: bytes, message: str):
    with pytest.raises(IdentifyError, match=message):
        read(stream)


def test_a_frame_over_the_limit_is_refused():
    with pytest.raises(FrameTooLarge, match=r"^frame of 8193 bytes exceeds 8192$"):
        read(b"\x81\x40")


@given(st.binary(max_size=300) | st.binary(max_size=200).map(encode_frame))
def test_whatever_a_peer_says_is_read_or_refused(stream: bytes):
    try:
        identify = read(stream)
    except RemoteError:
        return
    assert isinstance(identify, Identify)
