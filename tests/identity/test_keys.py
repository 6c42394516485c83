import pytest
from coincurve.utils import GROUP_ORDER_INT
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.errors import RemoteError
from leanmesh.identity.keys import InvalidKey, InvalidPrivateKey, KeyKind, PrivateKey, PublicKey

SIGNING_KINDS = [KeyKind.ED25519, KeyKind.SECP256K1]

# The test vectors of the peer id specification.
ED25519_PRIVATE = bytes.fromhex(
    "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"
    "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
)
ED25519_PUBLIC = bytes.fromhex("080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e")
SECP256K1_PRIVATE = bytes.fromhex("0802122053dadf1d5a164d6b4acdb15e24aa4c5b1d3461bdbd42abedb0a4404d56ced8fb")
SECP256K1_PUBLIC = bytes.fromhex("08021221037777e994e452c21604f91de093ce415f5432f701dd8cd1a7a6fea0e630bfca99")


def spki(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("private", "public"), [(ED25519_PRIVATE, ED25519_PUBLIC), (SECP256K1_PRIVATE, SECP256K1_PUBLIC)]
)
def test_the_vectors_of_the_specification_hold(private: bytes, public: bytes):
    key = PrivateKey.decode(private)
    assert key.encode() == private
    assert key.public_key.encode() == public
    assert PublicKey.decode(public) == key.public_key


def test_an_old_ed25519_key_repeats_its_public_half():
    old = b"\x08\x01\x12\x60" + ED25519_PRIVATE[4:] + ED25519_PRIVATE[36:]
    assert PrivateKey.decode(old) == PrivateKey.decode(ED25519_PRIVATE)
    with pytest.raises(InvalidPrivateKey, match="does not belong to its private half"):
        PrivateKey.decode(old[:-1] + b"\x00")


@pytest.mark.parametrize("kind", SIGNING_KINDS)
def test_what_a_key_signs_only_its_public_key_verifies(kind: KeyKind):
    key, other = PrivateKey.generate(kind), PrivateKey.generate(kind)
    signature = key.sign(b"message")
    assert key.public_key.is_signed(signature, b"message")
    assert not key.public_key.is_signed(signature, b"another message")
    assert not other.public_key.is_signed(signature, b"message")
    assert key.peer_id == key.public_key.peer_id


@pytest.mark.parametrize("kind", SIGNING_KINDS)
def test_a_private_key_survives_its_encoding_and_hides_its_secret(kind: KeyKind):
    key = PrivateKey.generate(kind)
    assert PrivateKey.decode(key.encode()) == key
    assert key.secret.hex() not in repr(key)
    assert repr(key.secret)[2:-1] not in repr(key)


def test_secp256k1_signatures_have_the_low_s_and_no_other_is_taken():
    key = PrivateKey.decode(SECP256K1_PRIVATE)
    for number in range(50):
        message = b"%d" % number
        signature = key.sign(message)
        r, s = decode_dss_signature(signature)
        assert s <= GROUP_ORDER_INT // 2
        assert not key.public_key.is_signed(encode_dss_signature(r, GROUP_ORDER_INT - s), message)


def test_secp256k1_signatures_are_those_of_the_cryptography_package():
    key = PrivateKey.decode(SECP256K1_PRIVATE)
    other = ec.derive_private_key(int.from_bytes(key.secret, "big"), ec.SECP256K1())
    other.public_key().verify(key.sign(b"message"), b"message", ec.ECDSA(SHA256()))


@pytest.mark.parametrize(
    "curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name
)
def test_ecdsa_keys_are_verified(curve: ec.EllipticCurve):
    private = ec.generate_private_key(curve)
    key = PublicKey.of_kind(KeyKind.ECDSA, spki(private.public_key()))
    signature = private.sign(b"message", ec.ECDSA(SHA256()))
    assert key.is_signed(signature, b"message")
    assert not key.is_signed(signature, b"another message")
    assert not key.is_signed(b"", b"message")
    assert PublicKey.decode(key.encode()) == key


def test_rsa_keys_are_verified():
    private = rsa.generate_private_key(65537, 2048)
    key = PublicKey.of_kind(KeyKind.RSA, spki(private.public_key()))
    signature = private.sign(b"message", padding.PKCS1v15(), SHA256())
    assert key.is_signed(signature, b"message")
    assert not key.is_signed(signature, b"another message")
    assert not key.is_signed(b"", b"message")
    assert PublicKey.decode(key.encode()) == key
    assert str(key.peer_id).startswith("Qm")


def rsa_of(modulus_bits: int, exponent: int) -> bytes:
    return spki(rsa.RSAPublicNumbers(exponent, (1 << (modulus_bits - 1)) | 1).public_key())


P256 = ec.derive_private_key(7, ec.SECP256R1()).public_key()


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        (KeyKind.ED25519, bytes(31), "ED25519 key of 31 bytes"),
        (KeyKind.SECP256K1, bytes(33), "SECP256K1 key of 33 bytes"),
        (KeyKind.SECP256K1, b"\x02" + b"\xff" * 32, "SECP256K1 key of 33 bytes"),
        (KeyKind.SECP256K1, b"\x04" + bytes(64), "33 bytes, a compressed point, were due"),
        (KeyKind.ECDSA, b"\x30\x00", "not a public key in DER"),
        (
            KeyKind.ECDSA,
            spki(ec.derive_private_key(7, ec.SECP256K1()).public_key()),
            "a key on one of the curves",
        ),
        (KeyKind.ECDSA, rsa_of(2048, 65537), "a key on one of the curves"),
        (KeyKind.ECDSA, spki(P256) + b"\x00", "not a public key in DER"),
        (KeyKind.RSA, spki(P256), "an RSA key was due"),
        (KeyKind.RSA, rsa_of(2047, 65537), "2047 bits: 2048 to 8192 are taken"),
        (KeyKind.RSA, rsa_of(1024, 65537), "1024 bits"),
        (KeyKind.RSA, rsa_of(8193, 65537), "8193 bits"),
        (KeyKind.RSA, rsa_of(2048, (1 << 33) + 1), "its exponent exceeds"),
    ],
)
def test_keys_that_are_none_or_too_costly_are_refused(kind: KeyKind, data: bytes, message: str):
    with pytest.raises(InvalidKey, match=message):
        PublicKey.of_kind(kind, data)


def test_a_point_in_compressed_form_would_be_a_second_name_for_one_key():
    compressed = P256.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    header = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    with pytest.raises(InvalidKey, match="its DER is not in the canonical form"):
        PublicKey.of_kind(KeyKind.ECDSA, header + compressed)


def test_a_key_message_is_measured_before_it_is_decoded():
    with pytest.raises(InvalidKey, match="key message of 1201 bytes exceeds 1200"):
        PublicKey.decode(bytes(1201))


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\x08\x01",
        ED25519_PUBLIC[2:],
        ED25519_PUBLIC[2:] + ED25519_PUBLIC[:2],
        ED25519_PUBLIC + b"\x18\x00",
        b"\x08\x81\x00" + ED25519_PUBLIC[2:],
        b"\x08\x04" + ED25519_PUBLIC[2:],
    ],
    ids=["empty", "no data", "no kind", "order", "third field", "padded", "unknown kind"],
)
def test_only_the_one_encoding_of_a_key_is_taken(encoded: bytes):
    with pytest.raises(InvalidKey):
        PublicKey.decode(encoded)


@pytest.mark.parametrize(
    ("kind", "secret"),
    [
        (KeyKind.ED25519, bytes(31)),
        (KeyKind.SECP256K1, bytes(32)),
        (KeyKind.SECP256K1, b"\xff" * 32),
        (KeyKind.RSA, bytes(32)),
        (KeyKind.ECDSA, bytes(32)),
    ],
)
def test_secrets_that_are_none_are_refused(kind: KeyKind, secret: bytes):
    with pytest.raises(InvalidPrivateKey, match=kind.name):
        PrivateKey.of_kind(kind, secret)


@given(st.binary(max_size=120) | st.binary(max_size=110).map(ED25519_PUBLIC[:4].__add__))
def test_any_bytes_are_a_key_with_that_encoding_or_refused(encoded: bytes):
    try:
        key = PublicKey.decode(encoded)
    except RemoteError:
        return
    assert key.encode() == encoded


ALL_KEYS = [
    PrivateKey.decode(ED25519_PRIVATE).public_key,
    PrivateKey.decode(SECP256K1_PRIVATE).public_key,
    PublicKey.of_kind(KeyKind.ECDSA, spki(P256)),
    PublicKey.of_kind(KeyKind.RSA, rsa_of(2048, 65537)),
]


@pytest.mark.parametrize("key", ALL_KEYS, ids=lambda key: key.kind.name)
@given(signature=st.binary(max_size=300), message=st.binary(max_size=20))
def test_no_bytes_make_verification_raise(key: PublicKey, signature: bytes, message: bytes):
    assert not key.is_signed(signature, message)
