import contextlib

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.errors import RemoteError
from leanmesh.identity import records_pb2
from leanmesh.identity.envelope import ENCODED_LIMIT_BYTES, InvalidEnvelope, SignedEnvelope
from leanmesh.identity.keys import KeyKind, PrivateKey
from leanmesh.identity.peer_record import ADDRESSES_LIMIT, DOMAIN, PAYLOAD_TYPE, PeerRecord

KEY = PrivateKey.of_kind(KeyKind.SECP256K1, bytes(31) + b"\x07")
OTHER = PrivateKey.of_kind(KeyKind.ED25519, bytes(32))
RECORD = PeerRecord(KEY.peer_id, 2**64 - 1, (b"\x04\x01\x02\x03\x04\x06\x00\x09", b"anything"))


@pytest.mark.parametrize("key", [KEY, OTHER], ids=["secp256k1", "ed25519"])
def test_an_envelope_opens_for_its_purpose_only(key: PrivateKey):
    envelope = SignedEnvelope.seal(key, "purpose", b"/type", b"payload" * 100)
    assert SignedEnvelope.decode(envelope.encode(), "purpose") == envelope
    with pytest.raises(InvalidEnvelope, match=f"not signed by {key.peer_id} for another purpose"):
        SignedEnvelope.decode(envelope.encode(), "another purpose")


def test_the_signature_is_over_each_part_behind_its_length():
    envelope = SignedEnvelope.seal(KEY, "domain", b"\x03\x01", b"x" * 200)
    signed = b"\x06domain" + b"\x02\x03\x01" + b"\xc8\x01" + b"x" * 200
    assert KEY.public_key.is_signed(envelope.signature, signed)


def test_an_envelope_has_the_fields_of_the_specification():
    envelope = SignedEnvelope(KEY.public_key, b"t", b"p", b"s")
    key = KEY.public_key.encode()
    assert (
        envelope.encode() == b"\x0a" + bytes((len(key),)) + key + b"\x12\x01t" + b"\x1a\x01p" + b"\x2a\x01s"
    )


@pytest.mark.parametrize("field", ["payload_type", "payload", "signature"])
def test_a_changed_envelope_does_not_open(field: str):
    envelope = SignedEnvelope.seal(KEY, "purpose", b"type", b"payload")
    changed = attrs.evolve(envelope, **{field: getattr(envelope, field) + b"x"})
    with pytest.raises(InvalidEnvelope, match="is not signed by"):
        SignedEnvelope.decode(changed.encode(), "purpose")


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"\xff", "the envelope cannot be decoded"),
        (b"", "the envelope's key: "),
        (b"\x0a\x03abc", "the envelope's key: "),
        (bytes(ENCODED_LIMIT_BYTES + 1), "envelope of 16385 bytes exceeds 16384"),
    ],
)
def test_bytes_that_are_no_envelope_are_refused(encoded: bytes, message: str):
    with pytest.raises(InvalidEnvelope, match=message):
        SignedEnvelope.decode(encoded, "purpose")


def test_a_record_survives_its_envelope():
    assert PeerRecord.open(RECORD.seal(KEY)) == RECORD
    empty = PeerRecord(OTHER.peer_id, 0, ())
    assert PeerRecord.open(empty.seal(OTHER)) == empty


def test_a_record_names_its_purpose_and_type_as_deployed_peers_do():
    opened = SignedEnvelope.decode(RECORD.seal(KEY), "libp2p-peer-record")
    assert opened.payload_type == bytes.fromhex("0301")
    assert opened.payload == (
        b"\x0a\x27" + KEY.peer_id + b"\x10" + b"\xff" * 9 + b"\x01"
        b"\x1a\x0a\x0a\x08\x04\x01\x02\x03\x04\x06\x00\x09" + b"\x1a\x0a\x0a\x08anything"
    )


def sealed(payload: bytes, *, payload_type: bytes = PAYLOAD_TYPE) -> bytes:
    return SignedEnvelope.seal(KEY, DOMAIN, payload_type, payload).encode()


@pytest.mark.parametrize(
    ("envelope", "message"),
    [
        (sealed(b"", payload_type=b"\x03\x02"), "payload type 0302 where 0301 was due"),
        (sealed(b"\xff"), "the peer record cannot be decoded"),
        (sealed(b""), "the peer record: nothing is no peer id"),
        (
            sealed(records_pb2.PeerRecord(peer_id=OTHER.peer_id).SerializeToString()),
            f"the record of {OTHER.peer_id} is signed by {KEY.peer_id}",
        ),
    ],
)
def test_a_record_that_is_not_the_signers_is_refused(envelope: bytes, message: str):
    with pytest.raises(InvalidEnvelope, match=message):
        PeerRecord.open(envelope)


def test_only_so_many_addresses_of_a_record_are_kept():
    record = attrs.evolve(RECORD, addresses=(b"a",) * (ADDRESSES_LIMIT + 1))
    assert len(PeerRecord.open(record.seal(KEY)).addresses) == ADDRESSES_LIMIT


def test_a_record_is_sealed_by_its_own_peer():
    with pytest.raises(AssertionError, match="signed by the peer it is about"):
        RECORD.seal(OTHER)


@given(payload=st.binary(max_size=100))
def test_any_signed_payload_is_a_record_or_refused(payload: bytes):
    with contextlib.suppress(RemoteError):
        assert PeerRecord.open(sealed(payload)).peer == KEY.peer_id


# Peer records of nodes on 127.0.0.1, as other implementations sealed them.
SEALED_BY_OTHERS = {
    "go-libp2p/0.51.0": (
        "0a2408011220a4fc7080f0e1832068b4ec1e2c29ef07ed8cd0a722ee69e4b61171323c01a701120203011a3e0a260024"
        "08011220a4fc7080f0e1832068b4ec1e2c29ef07ed8cd0a722ee69e4b61171323c01a70110bfc2c5b5d9a2faf4181a0a"
        "0a08047f0000010697592a40b32fb883e824750f8517157101011c97c15938fafe93cbd41836e5a357fcd49102b7de11"
        "95a940d882aafd4a331b0b4aa850aa8ac728c13b17a90156ed813503"
    ),
    "js-libp2p/3.3.11": (
        "0a2408011220173fec732d9114c34c801919fcde61cdc72999a5250ab67fbb5f9d0ac840c834120203011a3b0a260024"
        "08011220173fec732d9114c34c801919fcde61cdc72999a5250ab67fbb5f9d0ac840c83410d282d4dc9f341a0a0a0804"
        "7f00000106b1712a40edaa3245b62c705994fb2bb0dfe58a1700bf1e736c23410fa02e172d505acec6186af9809727d2"
        "82e916e88052eaeba4b1b327419166f969ae4effc7f300f508"
    ),
    "py-libp2p/0.8.1": (
        "0a24080112200b4a2bbe32793f7cb3c7669b0eaa0f7363685669dcce235828d4b0bbf063db58120203011a670a260024"
        "080112200b4a2bbe32793f7cb3c7669b0eaa0f7363685669dcce235828d4b0bbf063db5810fe8c8790ffa2faf4181a33"
        "0a31047f00000106851ba503260024080112200b4a2bbe32793f7cb3c7669b0eaa0f7363685669dcce235828d4b0bbf0"
        "63db582a40ebf8a1b76e48a0eeebba36c0b1d4fbfedf7c6c596c2d375a422aad2652b1ecd6b819d3f3ec17338bca53c9"
        "82c7f2ee4feda40cc348bd4d35ea26685487b73205"
    ),
}


@pytest.mark.parametrize("sealed_by", SEALED_BY_OTHERS)
def test_records_of_other_implementations_open(sealed_by: str):
    envelope = bytes.fromhex(SEALED_BY_OTHERS[sealed_by])
    record = PeerRecord.open(envelope)
    assert record.peer.text.startswith("12D3KooW")
    assert record.sequence_number > 1_700_000_000_000
    assert [address[:5].hex() for address in record.addresses] == ["047f000001"]
    assert SignedEnvelope.decode(envelope, DOMAIN).encode() == envelope
