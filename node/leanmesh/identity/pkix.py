"""The two kinds of key that travel as DER (SubjectPublicKeyInfo): ECDSA and RSA.  We verify them only."""

from collections.abc import Callable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

# Below is forgeable, above costs more than 1 ms to verify: a peer could keep us busy.
RSA_MIN_BITS = 2048
RSA_MAX_BITS = 8192
# 65537 everywhere.  Large exponents make verification as slow as signing.
RSA_MAX_EXPONENT = (1 << 32) - 1
CURVES = ("secp256r1", "secp384r1", "secp521r1")


class InvalidDerKey(ValueError):
    """DER that is no key, or a key that we do not take."""


def load_ecdsa(data: bytes) -> Callable[[bytes, bytes], bool]:
    """A verifier of ECDSA over SHA-256, for a key on one of the NIST curves."""
    key = _load_der(data)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise InvalidDerKey(f"a key on one of the curves {', '.join(CURVES)} was due")

    def verify(signature: bytes, message: bytes) -> bool:
        try:
            key.verify(signature, message, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True

    return verify


def load_rsa(data: bytes) -> Callable[[bytes, bytes], bool]:
    """A verifier of RSASSA-PKCS1-v1_5 over SHA-256, for a key of a sane size."""
    key = _load_der(data)
    if not isinstance(key, rsa.RSAPublicKey):
        raise InvalidDerKey("an RSA key was due")
    if not RSA_MIN_BITS <= key.key_size <= RSA_MAX_BITS:
        raise InvalidDerKey(f"{key.key_size} bits: {RSA_MIN_BITS} to {RSA_MAX_BITS} are taken")
    if key.public_numbers().e > RSA_MAX_EXPONENT:
        raise InvalidDerKey(f"its exponent exceeds {RSA_MAX_EXPONENT}")

    def verify(signature: bytes, message: bytes) -> bool:
        try:
            key.verify(signature, message, padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True

    return verify


def _load_der(data: bytes) -> object:
    """Load a key whose bytes are exactly what we would write for it."""
    try:
        key = load_der_public_key(data)
        encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidDerKey("not a public key in DER") from None
    if encoded != data:
        raise InvalidDerKey("its DER is not in the canonical form")
    return key
