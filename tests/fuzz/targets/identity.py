"""What identities are made of: peer ids, public keys, private key files, envelopes, peer records."""

from fuzz.registry import check_text
from leanmesh.identity.envelope import SignedEnvelope
from leanmesh.identity.keys import InvalidPrivateKey, KeyKind, PrivateKey, PublicKey
from leanmesh.identity.peer_id import InvalidPeerIdText, PeerId
from leanmesh.identity.peer_record import DOMAIN, PAYLOAD_TYPE, PeerRecord

KEYS = [PrivateKey.of_kind(kind, b"\x03" * 32) for kind in (KeyKind.ED25519, KeyKind.SECP256K1)]
ECDSA = bytes.fromhex(
    "0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004de3d300fa36ae0e8f5d530899d83abab44abf3"
    "161f162a4bc901d8e6ecda020e8b6d5f8da30525e71d6851510c098e5c47c646a597fb4dcec034e9f77c409e62"
)
RECORDS = [PeerRecord(key.peer_id, 7, (b"address", b"")).seal(key) for key in KEYS]
SEEDS = [
    *(b"i" + key.peer_id for key in KEYS),
    *(b"t" + text.encode() for key in KEYS for text in (key.peer_id.text, key.peer_id.cid)),
    *(b"k" + encoded for encoded in (ECDSA, *(key.public_key.encode() for key in KEYS))),
    *(b"p" + key.encode() for key in KEYS),
    *(b"r" + record for record in RECORDS),
    *(b"s" + SignedEnvelope.decode(record, DOMAIN).payload for record in RECORDS[:1]),
]


def target(data: bytes) -> None:
    mode, data = data[:1], data[1:]
    if mode == b"i":
        peer = PeerId.from_bytes(data)
        assert PeerId.from_text(peer.text) == PeerId.from_text(peer.cid) == data
    elif mode == b"t":
        try:
            PeerId.from_bytes(PeerId.from_text(data.decode(errors="replace")))
        except InvalidPeerIdText as error:
            check_text(error)
    elif mode == b"k":
        key = PublicKey.decode(data)
        assert key.encode() == data
        assert not key.is_signed(data[:100], data)
    elif mode == b"p":
        try:
            assert PrivateKey.decode(data).public_key.is_signed
        except InvalidPrivateKey as error:
            check_text(error)
    elif mode == b"r":
        assert PeerRecord.open(data).addresses is not None
    else:
        # Signed as it should be, with anything inside.
        PeerRecord.open(SignedEnvelope.seal(KEYS[0], DOMAIN, PAYLOAD_TYPE, data).encode())
