"""The transport phase of Noise: raw bytes, and honest ciphertext that arrives in any chunks."""

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from fuzz.registry import cut
from leanmesh.identity.keys import KeyKind, PrivateKey
from leanmesh.wire.noise_session import NoiseSession

REMOTE_KEY = PrivateKey.of_kind(KeyKind.ED25519, b"\x01" * 32).public_key
FORTH, BACK = ChaCha20Poly1305(b"\x01" * 32), ChaCha20Poly1305(b"\x02" * 32)


def session(sending: ChaCha20Poly1305, receiving: ChaCha20Poly1305) -> NoiseSession:
    return NoiseSession(
        remote_key=REMOTE_KEY,
        remote_peer=REMOTE_KEY.peer_id,
        stream_muxer=None,
        handshake_hash=b"",
        sending=sending,
        receiving=receiving,
    )


SENDER = session(FORTH, BACK)
STREAM = b"".join(map(SENDER.encrypt, (b"a", b"bc" * 50, b"d")))
SEEDS = [b"\x01\x03" + b"some content " * 9, b"\x01\x00x", b"\x00\x00" + STREAM, b"\x00\x11" + STREAM]


def target(data: bytes) -> None:
    receiver = session(BACK, FORTH)
    is_honest, chunks = data[:1] == b"\x01", cut(data[1:])
    if not is_honest:
        for chunk in chunks:
            receiver.decrypt(chunk)
        return
    # Each chunk is a write; the stream is then cut in the same places, which are no frame boundaries.
    sender = session(FORTH, BACK)
    stream = b"".join(map(sender.encrypt, chunks))
    received = b"".join(map(receiver.decrypt, cut(data[1:2] + stream)))
    assert received == b"".join(chunks)
    assert not receiver.is_inside_frame
