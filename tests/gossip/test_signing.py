"""Signature policies: every wrong message has a word for what is wrong with it."""

import tracemalloc

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from leanmesh.gossip import entries, wire
from leanmesh.gossip.rpc import Message
from leanmesh.gossip.signing import (
    Claim,
    Invalid,
    SignaturePolicy,
    Signer,
    check,
    claim_of,
    plain_message,
)
from leanmesh.gossip.wire_params import WireLimits
from leanmesh.identity.keys import KeyKind, PrivateKey, PublicKey
from leanmesh.identity.peer_id import PeerId

STRICT_SIGN, STRICT_NO_SIGN = SignaturePolicy.STRICT_SIGN, SignaturePolicy.STRICT_NO_SIGN
KEYS = {kind: PrivateKey.of_kind(kind, bytes(31) + b"\x07") for kind in (KeyKind.ED25519, KeyKind.SECP256K1)}
KEY = KEYS[KeyKind.ED25519]
OTHER = PrivateKey.of_kind(KeyKind.ED25519, bytes(31) + b"\x08")
SIGNED = Signer(KEY).message("topic", b"data", 258)


def received(field: bytes) -> Message:
    return wire.decode(field, WireLimits()).publish[0]


@pytest.mark.parametrize("key", KEYS.values(), ids=[kind.name for kind in KEYS])
def test_what_we_sign_is_accepted_by_who_receives_it(key: PrivateKey):
    message = Signer(key).message("topic", b"data", 258)

    assert (message.source, message.seqno, message.key) == (key.peer_id, b"\0\0\0\0\0\0\x01\x02", None)
    assert received(message.field) == message
    assert check(received(message.field), STRICT_SIGN) is None


def test_the_signature_is_over_a_prefix_and_the_message_without_signature_and_key():
    signed = b"libp2p-pubsub:" + entries.message_body(b"topic", b"data", KEY.peer_id, b"\0\0\0\0\0\0\x01\x02")

    assert SIGNED.signature == KEY.sign(signed)
    assert claim_of(SIGNED) == Claim(KEY.public_key, KEY.sign(signed), signed)


def test_a_plain_message_has_topic_and_data_alone():
    message = plain_message("topic", b"data")

    assert message.field == entries.message(b"topic", b"data")
    assert received(message.field) == message
    assert check(message, STRICT_NO_SIGN) is None


@pytest.mark.parametrize("data", [None, b""])
def test_absent_and_empty_data_are_signed_as_they_are(data: bytes | None):
    seqno = bytes(8)
    signed = b"libp2p-pubsub:" + entries.message_body(b"t", data, KEY.peer_id, seqno)
    field = entries.message(b"t", data, KEY.peer_id, seqno, KEY.sign(signed))

    assert check(received(field), STRICT_SIGN) is None


def test_a_key_that_the_author_id_holds_already_may_come_with_the_message():
    assert check(attrs.evolve(SIGNED, key=KEY.public_key.encode()), STRICT_SIGN) is None
    assert check(attrs.evolve(SIGNED, key=b""), STRICT_SIGN) is None


def test_an_author_whose_id_is_a_hash_brings_the_key_along():
    secret = rsa.generate_private_key(65_537, 2048)
    public = PublicKey.of_kind(
        KeyKind.RSA, secret.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    body = entries.message_body(b"t", b"data", public.peer_id, bytes(8))
    signature = secret.sign(b"libp2p-pubsub:" + body, PKCS1v15(), SHA256())
    message = received(entries.message(b"t", b"data", public.peer_id, bytes(8), signature, public.encode()))

    assert check(message, STRICT_SIGN) is None
    assert check(attrs.evolve(message, key=None), STRICT_SIGN) is Invalid.NO_KEY


HASHED_AUTHOR = PeerId.from_public_key(bytes(50))

WRONG = {
    Invalid.NO_AUTHOR: [{"source": None}, {"source": b""}],
    Invalid.AUTHOR_MALFORMED: [{"source": b"nobody"}, {"source": bytes(KEY.peer_id) + b"x"}],
    Invalid.SEQNO_MALFORMED: [{"seqno": None}, {"seqno": b""}, {"seqno": bytes(7)}, {"seqno": bytes(9)}],
    Invalid.NO_SIGNATURE: [{"signature": None}, {"signature": b""}],
    Invalid.NO_KEY: [{"source": HASHED_AUTHOR}],
    Invalid.KEY_MALFORMED: [{"key": b"\xff" * 36}, {"key": b"\x08\x01"}, {"key": bytes(100_000)}],
    Invalid.KEY_OF_ANOTHER: [
        {"key": OTHER.public_key.encode()},
        {"source": HASHED_AUTHOR, "key": KEY.public_key.encode()},
    ],
    Invalid.SIGNATURE_WRONG: [
        {"data": b"other"},
        {"topic": "other"},
        {"seqno": bytes(8)},
        {"source": OTHER.peer_id},
        {"signature": b"x"},
        {"signature": bytes(64)},
        {"signature": SIGNED.signature + b"x"},
    ],
}


@pytest.mark.parametrize(
    ("reason", "change"), [(reason, change) for reason, changes in WRONG.items() for change in changes]
)
def test_a_wrong_message_is_invalid_and_the_reason_is_named(reason: Invalid, change: dict[str, object]):
    assert check(attrs.evolve(SIGNED, **change), STRICT_SIGN) is reason


@pytest.mark.parametrize("name", ["source", "seqno", "signature", "key"])
@pytest.mark.parametrize("value", [b"", b"x"])
def test_strict_no_sign_refuses_a_field_even_when_it_is_empty(name: str, value: bytes):
    message = attrs.evolve(plain_message("topic", b"data"), **{name: value})
    assert check(message, STRICT_NO_SIGN) is Invalid.NOT_PLAIN


def test_an_unsigned_message_is_refused_where_signatures_are_due():
    assert check(plain_message("topic", b"data"), STRICT_SIGN) is Invalid.NO_AUTHOR


def test_the_verifier_decides_about_well_formed_messages_alone():
    asked: list[PublicKey] = []

    def refuse(key: PublicKey, signature: bytes, signed: bytes) -> bool:
        asked.append(key)
        return False

    assert check(SIGNED, STRICT_SIGN, refuse) is Invalid.SIGNATURE_WRONG
    assert check(attrs.evolve(SIGNED, seqno=b""), STRICT_SIGN, refuse) is Invalid.SEQNO_MALFORMED
    assert asked == [KEY.public_key]


@pytest.mark.parametrize("name", ["source", "key"])
@pytest.mark.parametrize(
    "start", [b"", bytes(KEY.peer_id), KEY.public_key.encode()], ids=["zeros", "id", "key"]
)
def test_what_is_no_key_is_not_held_after_its_message_was_refused(name: str, start: bytes):
    tracemalloc.start()
    for number in range(50):
        junk = start + number.to_bytes(4, "big") + bytes(100_000)
        assert isinstance(check(attrs.evolve(SIGNED, **{name: junk}), STRICT_SIGN), Invalid)
    del junk
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 100_000


maybe = st.none() | st.binary(max_size=80)


@given(st.binary(max_size=20), maybe | st.just(bytes(KEY.peer_id)), maybe | st.just(bytes(8)), maybe, maybe)
@settings(max_examples=300)
def test_no_message_makes_the_check_raise(
    data: bytes, source: bytes | None, seqno: bytes | None, signature: bytes | None, key: bytes | None
):
    message = received(entries.message(b"t", data, source, seqno, signature, key))
    assert isinstance(check(message, STRICT_SIGN), Invalid)
    assert (check(message, STRICT_NO_SIGN) is None) is ((source, seqno, signature, key) == (None,) * 4)


@given(st.binary(min_size=34, max_size=50), st.integers(0, 49), st.integers(1, 255))
def test_no_key_makes_the_check_raise(noise: bytes, position: int, flip: int):
    key = bytearray(KEYS[KeyKind.SECP256K1].public_key.encode())
    key[position % len(key)] ^= flip
    for encoded in (bytes(key), noise):
        assert isinstance(check(attrs.evolve(SIGNED, key=encoded), STRICT_SIGN), Invalid)
