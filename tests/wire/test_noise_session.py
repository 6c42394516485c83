import sys

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.errors import RemoteError
from leanmesh.identity.keys import PrivateKey
from leanmesh.wire.noise_session import (
    EMPTY_FRAMES_LIMIT,
    NONCE_LIMIT,
    PLAINTEXT_LIMIT_BYTES,
    NoiseError,
    NoiseSession,
    NoncesExhausted,
)

KEYS = ChaCha20Poly1305(b"\x01" * 32), ChaCha20Poly1305(b"\x02" * 32)
REMOTE_KEY = PrivateKey.generate().public_key


def session(*, is_initiator: bool = True, frames: int = 0) -> NoiseSession:
    sending, receiving = KEYS if is_initiator else reversed(KEYS)
    return NoiseSession(
        remote_key=REMOTE_KEY,
        remote_peer=REMOTE_KEY.peer_id,
        stream_muxer=None,
        handshake_hash=b"",
        sending=sending,
        receiving=receiving,
        sent_frames=frames,
        received_frames=frames,
    )


def frame(number: int, content: bytes) -> bytes:
    """A frame as the initiator sends it."""
    ciphertext = KEYS[0].encrypt(bytes(4) + number.to_bytes(8, "little"), content, None)
    return len(ciphertext).to_bytes(2, "big") + ciphertext


@given(
    writes=st.lists(
        st.binary(max_size=300) | st.sampled_from([65_518, 65_519, 65_520, 140_000]).map(bytes), max_size=6
    ),
    sizes=st.lists(st.integers(0, 70_000) | st.integers(0, 3), max_size=20),
)
def test_what_one_side_encrypts_the_other_decrypts_however_it_is_cut(writes: list[bytes], sizes: list[int]):
    sender, receiver = session(), session(is_initiator=False)
    stream = b"".join(map(sender.encrypt, writes))

    received = b""
    for size in sizes:
        received += receiver.decrypt(stream[:size])
        stream = stream[size:]
    received += receiver.decrypt(stream)

    assert received == b"".join(writes)
    assert not receiver.is_inside_frame


def test_frames_are_filled_to_the_last_byte():
    sender = session()
    full = sender.encrypt(bytes(2 * PLAINTEXT_LIMIT_BYTES + 1))
    assert len(full) == 2 * (2 + 65_535) + 2 + 17
    assert (full[:2], full[65_537:65_539], full[-19:-17]) == (b"\xff\xff", b"\xff\xff", b"\x00\x11")
    assert sender.encrypt(b"") == b""


def test_frames_have_the_form_and_the_nonces_of_the_specification():
    sender = session()
    assert sender.encrypt(b"one") + sender.encrypt(b"two") == frame(0, b"one") + frame(1, b"two")


def test_frames_that_arrive_together_are_opened_together():
    receiver = session(is_initiator=False)
    assert (
        receiver.decrypt(frame(0, b"one") + frame(1, b"") + frame(2, b"three") + frame(3, b"x")[:4])
        == b"onethree"
    )
    assert receiver.is_inside_frame
    assert receiver.decrypt(frame(3, b"x")[4:]) == b"x"


def test_a_frame_dripped_byte_by_byte_is_opened_at_its_last_byte():
    receiver = session(is_initiator=False)
    dripped = frame(0, bytes(5000))
    assert all(receiver.decrypt(bytes((byte,))) == b"" for byte in dripped[:-1])
    assert receiver.decrypt(dripped[-1:]) == bytes(5000)


@pytest.mark.parametrize("position", [2, 10, -1])
def test_a_changed_bit_is_refused(position: int):
    changed = bytearray(frame(0, b"some content"))
    changed[position] ^= 1
    with pytest.raises(NoiseError, match=r"^frame 0 does not decrypt$"):
        session(is_initiator=False).decrypt(bytes(changed))


def test_frames_out_of_order_or_repeated_are_refused():
    with pytest.raises(NoiseError, match=r"^frame 0 does not decrypt$"):
        session(is_initiator=False).decrypt(frame(1, b"second"))
    receiver = session(is_initiator=False)
    with pytest.raises(NoiseError, match=r"^frame 1 does not decrypt$"):
        receiver.decrypt(frame(0, b"first") + frame(0, b"first"))


@pytest.mark.parametrize("size", [0, 15])
def test_a_frame_shorter_than_its_tag_is_refused(size: int):
    with pytest.raises(NoiseError, match=f"frame of {size} bytes: 16 is the least"):
        session(is_initiator=False).decrypt(size.to_bytes(2, "big") + bytes(size))


def test_frames_without_content_end_the_connection_only_in_a_row():
    receiver = session(is_initiator=False)
    empty = b"".join(frame(number, b"") for number in range(EMPTY_FRAMES_LIMIT))
    assert receiver.decrypt(empty + frame(EMPTY_FRAMES_LIMIT, b"x")) == b"x"
    first = EMPTY_FRAMES_LIMIT + 1
    assert (
        receiver.decrypt(b"".join(frame(first + number, b"") for number in range(EMPTY_FRAMES_LIMIT))) == b""
    )
    with pytest.raises(NoiseError, match="more than 16 frames without content in a row"):
        receiver.decrypt(frame(first + EMPTY_FRAMES_LIMIT, b""))


def test_a_nonce_is_never_used_twice():
    last = session(frames=NONCE_LIMIT - 1)
    content = last.encrypt(b"x")
    with pytest.raises(NoncesExhausted, match="for sending"):
        last.encrypt(b"x")
    receiver = session(is_initiator=False, frames=NONCE_LIMIT - 1)
    assert receiver.decrypt(content) == b"x"
    with pytest.raises(NoncesExhausted, match="for receiving"):
        receiver.decrypt(content)


@given(data=st.binary(max_size=200))
def test_bytes_that_nobody_encrypted_are_refused_or_waited_for(data: bytes):
    receiver = session(is_initiator=False)
    try:
        assert receiver.decrypt(data) == b""
    except RemoteError:
        return
    assert receiver.is_inside_frame == bool(data)


def test_a_receiver_holds_at_most_one_frame():
    receiver = session(is_initiator=False)
    before = sys.getallocatedblocks()
    receiver.decrypt(b"\xff\xff")
    for number in range(30_000):
        receiver.decrypt(number.to_bytes(2, "big"))
    assert sys.getallocatedblocks() - before < 100
