import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from leanmesh.errors import RemoteError
from leanmesh.identity.keys import KeyKind, PrivateKey
from leanmesh.wire import noise_pb2
from leanmesh.wire.noise import (
    HANDSHAKE_LIMIT_BYTES,
    NoiseCredentials,
    NoiseHandshake,
    WrongPeer,
)
from leanmesh.wire.noise_session import NoiseError, NoiseSession
from noise.connection import Keypair, NoiseConnection

ALICE = PrivateKey.generate(KeyKind.ED25519)
BOB = PrivateKey.generate(KeyKind.SECP256K1)
ALICE_CREDENTIALS = NoiseCredentials.of(ALICE)
BOB_CREDENTIALS = NoiseCredentials.of(BOB)
YAMUX, MPLEX = "/yamux/1.0.0", "/mplex/6.7.0"


def connect(
    dialer: NoiseHandshake, listener: NoiseHandshake, *, step_bytes: int
) -> tuple[NoiseSession, NoiseSession]:
    """Carry bytes between the two until both have a session."""
    to_listener, to_dialer = dialer.start(), listener.start()
    while dialer.session is None or listener.session is None:
        if to_listener:
            to_dialer += listener.receive(to_listener[:step_bytes])
            to_listener = to_listener[step_bytes:]
        if to_dialer:
            to_listener += dialer.receive(to_dialer[:step_bytes])
            to_dialer = to_dialer[step_bytes:]
    return dialer.session, listener.session


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + bytes(message)


@pytest.mark.parametrize("step_bytes", [1, 50, 10_000])
@pytest.mark.parametrize(("dialer", "listener"), [(ALICE, BOB), (BOB, ALICE), (ALICE, ALICE)])
def test_both_sides_know_each_other_and_understand_each_other(dialer, listener, step_bytes: int):
    near, far = connect(
        NoiseHandshake(NoiseCredentials.of(dialer), is_initiator=True, expected_peer=listener.peer_id),
        NoiseHandshake(NoiseCredentials.of(listener), is_initiator=False),
        step_bytes=step_bytes,
    )

    assert (near.remote_peer, near.remote_key) == (listener.peer_id, listener.public_key)
    assert (far.remote_peer, far.remote_key) == (dialer.peer_id, dialer.public_key)
    assert near.handshake_hash == far.handshake_hash
    assert (near.stream_muxer, far.stream_muxer) == (None, None)
    assert far.decrypt(near.encrypt(b"there")) == b"there"
    assert near.decrypt(far.encrypt(b"and back")) == b"and back"


def test_bytes_behind_the_handshake_wait_in_the_session():
    dialer = NoiseHandshake(ALICE_CREDENTIALS, is_initiator=True)
    listener = NoiseHandshake(BOB_CREDENTIALS, is_initiator=False)
    last = dialer.receive(listener.receive(dialer.start()))
    early = dialer.session.encrypt(b"early")

    assert listener.receive(last + early[:7]) == b""

    assert listener.session.decrypt(b"") == b""
    assert listener.session.decrypt(early[7:]) == b"early"


def test_another_peer_than_the_one_dialed_is_an_error_before_it_learns_who_dialed():
    carol = PrivateKey.generate()
    dialer = NoiseHandshake(ALICE_CREDENTIALS, is_initiator=True, expected_peer=carol.peer_id)
    listener = NoiseHandshake(BOB_CREDENTIALS, is_initiator=False)
    answer = listener.receive(dialer.start())

    with pytest.raises(WrongPeer) as caught:
        dialer.receive(answer)

    assert str(caught.value) == f"{BOB.peer_id} answered where {carol.peer_id} was dialed"
    assert (caught.value.expected, caught.value.actual) == (carol.peer_id, BOB.peer_id)
    assert dialer.session is None


@pytest.mark.parametrize(
    ("dialer", "listener", "muxer"),
    [
        ((YAMUX,), (YAMUX,), YAMUX),
        ((MPLEX, YAMUX), (YAMUX, MPLEX), MPLEX),
        ((MPLEX, YAMUX), (YAMUX,), YAMUX),
        ((), (YAMUX,), None),
        ((YAMUX,), (), None),
    ],
)
def test_the_muxer_is_the_dialers_first_that_both_have(dialer, listener, muxer):
    near, far = connect(
        NoiseHandshake(NoiseCredentials.of(ALICE, stream_muxers=dialer), is_initiator=True),
        NoiseHandshake(NoiseCredentials.of(BOB, stream_muxers=listener), is_initiator=False),
        step_bytes=10_000,
    )
    assert (near.stream_muxer, far.stream_muxer) == (muxer, muxer)


def test_no_muxer_in_common_ends_the_handshake():
    dialer = NoiseHandshake(NoiseCredentials.of(ALICE, stream_muxers=(YAMUX,)), is_initiator=True)
    listener = NoiseHandshake(NoiseCredentials.of(BOB, stream_muxers=(MPLEX,)), is_initiator=False)
    with pytest.raises(NoiseError, match="noise message 2: no stream muxer in common"):
        dialer.receive(listener.receive(dialer.start()))


# The package noiseprotocol, which knows nothing of us, plays the other side.


def oracle(*, is_initiator: bool, static_key: X25519PrivateKey) -> NoiseConnection:
    connection = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
    if is_initiator:
        connection.set_as_initiator()
    else:
        connection.set_as_responder()
    connection.set_keypair_from_private_bytes(Keypair.STATIC, static_key.private_bytes_raw())
    connection.start_handshake()
    return connection


def payload_of(identity: PrivateKey, static_key: X25519PrivateKey, **changes: bytes) -> bytes:
    signed = b"noise-libp2p-static-key:" + static_key.public_key().public_bytes_raw()
    fields = {"identity_key": identity.public_key.encode(), "identity_signature": identity.sign(signed)}
    return noise_pb2.NoisePayload(**(fields | changes)).SerializeToString()


def check_transport(session: NoiseSession, other: NoiseConnection) -> None:
    for content in (b"a", b"bc" * 1000):
        assert other.decrypt(session.encrypt(content)[2:]) == content
        assert session.decrypt(framed(other.encrypt(content))) == content


def test_we_dial_the_noiseprotocol_package():
    static_key = X25519PrivateKey.generate()
    other = oracle(is_initiator=False, static_key=static_key)
    dialer = NoiseHandshake(ALICE_CREDENTIALS, is_initiator=True, expected_peer=BOB.peer_id)

    assert other.read_message(dialer.start()[2:]) == b""
    last = dialer.receive(framed(other.write_message(payload_of(BOB, static_key))))
    assert other.read_message(last[2:]) == ALICE_CREDENTIALS.payload

    assert dialer.session.handshake_hash == other.get_handshake_hash()
    check_transport(dialer.session, other)


def test_the_noiseprotocol_package_dials_us():
    static_key = X25519PrivateKey.generate()
    other = oracle(is_initiator=True, static_key=static_key)
    listener = NoiseHandshake(BOB_CREDENTIALS, is_initiator=False)

    answer = listener.receive(framed(other.write_message(b"early data, which is ignored")))
    assert other.read_message(answer[2:]) == BOB_CREDENTIALS.payload
    assert listener.receive(framed(other.write_message(payload_of(ALICE, static_key)))) == b""

    assert listener.session.remote_peer == ALICE.peer_id
    assert listener.session.handshake_hash == other.get_handshake_hash()
    check_transport(listener.session, other)


OTHER_SIGNATURE = ALICE.sign(b"noise-libp2p-static-key:" + bytes(32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identity_signature": OTHER_SIGNATURE}, "its signature is not that of 12D3Koo"),
        ({"identity_signature": b""}, "its signature is not that of 12D3Koo"),
        ({"identity_key": BOB.public_key.encode()}, "its signature is not that of 16Uiu2H"),
        ({"identity_key": b""}, "its identity: "),
        ({"identity_key": b"\x08\x01\x12\x03abc"}, "its identity: ED25519 key of 3 bytes"),
    ],
)
def test_a_payload_that_does_not_prove_its_identity_is_refused(changes: dict[str, bytes], message: str):
    static_key = X25519PrivateKey.generate()
    other = oracle(is_initiator=True, static_key=static_key)
    listener = NoiseHandshake(BOB_CREDENTIALS, is_initiator=False)
    other.read_message(listener.receive(framed(other.write_message()))[2:])
    with pytest.raises(NoiseError, match=f"^noise message 3: {message}"):
        listener.receive(framed(other.write_message(payload_of(ALICE, static_key, **changes))))
    assert listener.session is None


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\xff", "its payload is no handshake payload"),
        (
            payload_of(ALICE, X25519PrivateKey.generate()) + b"\x22\x03\x12\x01\xff",
            "its payload is no handshake",
        ),
        (
            payload_of(ALICE, X25519PrivateKey.generate()) + b"\x22\x22" + b"\x12\x00" * 17,
            "17 stream muxers exceed 16",
        ),
    ],
)
def test_a_payload_that_is_none_is_refused(payload: bytes, message: str):
    other = oracle(is_initiator=True, static_key=X25519PrivateKey.generate())
    listener = NoiseHandshake(BOB_CREDENTIALS, is_initiator=False)
    other.read_message(listener.receive(framed(other.write_message()))[2:])
    with pytest.raises(NoiseError, match=f"^noise message 3: {message}"):
        listener.receive(framed(other.write_message(payload)))


def test_a_long_message_is_refused_at_its_length():
    listener = NoiseHandshake(BOB_CREDENTIALS, is_initiator=False)
    with pytest.raises(
        NoiseError, match=r"^noise message 1: 8193 bytes exceed the 8192 of a handshake message$"
    ):
        listener.receive((HANDSHAKE_LIMIT_BYTES + 1).to_bytes(2, "big"))


@pytest.mark.parametrize("position", [5, 40, 100, -1])
def test_a_changed_bit_in_the_second_message_is_refused(position: int):
    dialer = NoiseHandshake(ALICE_CREDENTIALS, is_initiator=True)
    answer = bytearray(NoiseHandshake(BOB_CREDENTIALS, is_initiator=False).receive(dialer.start()))
    answer[position] ^= 1
    with pytest.raises(NoiseError, match=r"^noise message 2: it does not decrypt$"):
        dialer.receive(bytes(answer))


@settings(max_examples=50)
@given(chunks=st.lists(st.binary(max_size=200), max_size=5), is_initiator=st.booleans())
def test_whatever_a_peer_sends_ends_in_silence_or_a_remote_error(chunks: list[bytes], is_initiator: bool):
    handshake = NoiseHandshake(ALICE_CREDENTIALS, is_initiator=is_initiator)
    handshake.start()
    try:
        for chunk in chunks:
            handshake.receive(chunk)
    except RemoteError:
        pass
    assert handshake.session is None


def test_credentials_do_not_show_their_secret():
    assert "static_key" not in repr(ALICE_CREDENTIALS)
