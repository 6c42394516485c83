import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.errors import RemoteError
from leanmesh.identity.keys import KeyKind, PrivateKey, PublicKey
from leanmesh.identity.peer_id import InvalidPeerId, InvalidPeerIdText, PeerId
from vectors import VectorCase, unhex, vector_cases

INLINED = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
HASHED = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
HASHED_CID = "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe"


@pytest.mark.parametrize("text", [INLINED, HASHED])
def test_base58_is_read_and_written(text: str):
    assert str(PeerId.from_text(text)) == text
    assert PeerId.from_text(text).text == text


def test_the_cid_of_the_specification_and_its_base58_are_one_peer():
    peer = PeerId.from_text(HASHED_CID)
    assert peer == PeerId.from_text(HASHED)
    assert (str(peer), peer.cid) == (HASHED, HASHED_CID)
    cid = b"\x01\x72" + peer
    assert PeerId.from_text("f" + cid.hex()) == peer


def test_short_forms_tell_kind_and_peer():
    peer = PeerId.from_text(INLINED)
    assert peer.short == "12D3..AJU5SA"
    assert repr(peer) == "PeerId(12D3..AJU5SA)"


def test_a_peer_id_is_a_key_like_its_bytes():
    peer = PeerId.from_text(INLINED)
    assert {bytes(peer): "here"}[peer] == "here"
    assert pickle.loads(pickle.dumps(peer)) == peer


def test_short_keys_stand_in_the_id_and_long_ones_are_hashed():
    inlined = PeerId.from_public_key(b"k" * 42)
    assert inlined == b"\x00\x2a" + b"k" * 42
    assert inlined.inlined_public_key == b"k" * 42
    hashed = PeerId.from_public_key(b"k" * 43)
    assert (len(hashed), hashed[:2], hashed.inlined_public_key) == (34, b"\x12\x20", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "starts neither with 1 or Qm"),
        ("x", "starts neither with 1 or Qm"),
        ("12D3KooW", "is no peer id"),
        (INLINED[:-1], "is no peer id"),
        (INLINED + "1", "is no peer id"),
        ("1" * 129, "129 characters, too many for a peer id"),
        ("Qm0OIl", "is no peer id"),
        (HASHED_CID.upper().replace("B", "b", 1), "starts neither"),
        ("bafzb", "is no peer id"),
        ("bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", "not one of a libp2p key"),
        ("f0172zz", "is no peer id"),
        ("12D3KooWä", "is no peer id"),
    ],
)
def test_wrong_text_is_a_local_error(text: str, message: str):
    with pytest.raises(InvalidPeerIdText, match=message):
        PeerId.from_text(text)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\x00\x00", b"\x00\x02a", b"\x00\x2b" + b"k" * 43, b"\x12\x20" + b"h" * 31, b"\x13" * 34],
)
def test_wrong_bytes_are_a_remote_error(data: bytes):
    with pytest.raises(InvalidPeerId, match="is no peer id: an inlined key or a SHA-256 was due"):
        PeerId.from_bytes(data)


@given(data=st.binary(max_size=60) | st.binary(max_size=43).map(lambda key: bytes((0, len(key))) + key))
def test_any_bytes_are_a_peer_id_that_both_texts_lead_back_to_or_are_refused(data: bytes):
    try:
        peer = PeerId.from_bytes(data)
    except RemoteError:
        return
    assert PeerId.from_text(peer.text) == PeerId.from_text(peer.cid) == peer == data


@given(text=st.text(max_size=80))
def test_any_text_is_a_peer_id_or_refused(text: str):
    try:
        peer = PeerId.from_text(text)
    except InvalidPeerIdText:
        return
    assert PeerId.from_bytes(peer) == peer


KINDS = {
    "ed25519": KeyKind.ED25519,
    "secp256k1": KeyKind.SECP256K1,
    "ecdsa": KeyKind.ECDSA,
    "rsa": KeyKind.RSA,
}


@vector_cases("peer_id")
def test_vectors_of_peer_ids(case: VectorCase):
    codec, output = case["codec"], case["output"]
    key = PublicKey.of_kind(KINDS[codec["keyType"]], unhex(codec["publicKey"]))
    assert key.encode() == unhex(output["protobufEncoded"])
    assert PublicKey.decode(unhex(output["protobufEncoded"])) == key
    assert str(key.peer_id) == output["peerId"]


@vector_cases("peer_ids")
def test_vectors_of_devnet_keys(case: VectorCase):
    key = PrivateKey.of_kind(KeyKind.SECP256K1, unhex(case["privkey"]))
    assert str(key.peer_id) == case["peer_id_leanspec"]
    assert case["peer_id_in_config_comment"] in (None, str(key.peer_id))
