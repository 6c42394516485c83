"""Noise handshakes against a peer that sends anything, on the wire and inside its encryption."""

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from fuzz.registry import cut
from leanmesh.identity.keys import KeyKind, PrivateKey
from leanmesh.wire.noise import NoiseCredentials, NoiseHandshake
from leanmesh.wire.noise_state import HandshakeState

STATIC_KEY = X25519PrivateKey.from_private_bytes(b"\x05" * 32)
EPHEMERAL_KEY = X25519PrivateKey.from_private_bytes(b"\x06" * 32)
OURS = NoiseCredentials.of(
    PrivateKey.of_kind(KeyKind.ED25519, b"\x01" * 32), stream_muxers=("/yamux/1.0.0",), static_key=STATIC_KEY
)
# Several kinds and extensions, all signed for the static key that the peer below uses.
PAYLOADS = [
    NoiseCredentials.of(
        PrivateKey.of_kind(kind, b"\x02" * 32), stream_muxers=muxers, static_key=STATIC_KEY
    ).payload
    for kind in (KeyKind.ED25519, KeyKind.SECP256K1)
    for muxers in ((), ("/mplex/6.7.0", "/yamux/1.0.0"))
]
RAW = [
    b"\x00" + bytes((step,)) + len(message).to_bytes(2, "big") + message
    for step in (0, 5)
    for message in (bytes(range(1, 33)), bytes(range(1, 33)) + b"payload")
]
SEEDS = [*RAW, *(bytes((role,)) + payload for role in (1, 2) for payload in PAYLOADS)]


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def target(data: bytes) -> None:
    mode, data = data[:1], data[1:]
    we_dial = mode == b"\x01"
    ours = NoiseHandshake(OURS, is_initiator=we_dial, ephemeral_key=EPHEMERAL_KEY)
    first = ours.start()
    if mode == b"\x00":
        for chunk in cut(data):
            if ours.session is not None:
                break
            ours.receive(chunk)
        return
    peer = HandshakeState(is_initiator=not we_dial, static_key=STATIC_KEY, ephemeral_key=EPHEMERAL_KEY)
    payload = data[:4000]
    if we_dial:
        peer.read(first[2:])
        ours.receive(frame(peer.write(payload)))
    else:
        peer.read(ours.receive(frame(peer.write(b"")))[2:])
        ours.receive(frame(peer.write(payload)))
    assert ours.session is not None
    assert ours.session.stream_muxer in (None, "/yamux/1.0.0")
