"""Ed25519 at its edges: two libraries verify, and the rule is one."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from identity import edwards
from identity.edwards import BASE, IDENTITY, ORDER, TORSION, Point
from leanmesh.identity.keys import KeyKind, PrivateKey, PublicKey

MESSAGE = b"a message"
SECRET = 0x1234_5678_9ABC_DEF0
KEY = edwards.multiply(SECRET, BASE)
MIXED_KEY = edwards.add(KEY, TORSION)


def signed(nonce: int, *, key: Point = KEY, secret: int = SECRET, nonce_torsion: Point = IDENTITY) -> bytes:
    """What a signer makes that knows the secret, and chooses what it pleases."""
    nonce_point = edwards.add(edwards.multiply(nonce, BASE), nonce_torsion)
    scalar = (nonce + edwards.challenge(nonce_point, key, MESSAGE) * secret) % ORDER
    return edwards.signature(nonce_point, scalar)


def nonce_with_challenge_of(multiple_of_8: bool) -> int:
    """With a key that has a torsion part, the equation without cofactor holds for one challenge in eight."""
    for nonce in range(1, 1000):
        point = edwards.multiply(nonce, BASE)
        if (edwards.challenge(point, MIXED_KEY, MESSAGE) % 8 == 0) is multiple_of_8:
            return nonce
    raise AssertionError("no such nonce")


HONEST = signed(7)
CASES = {
    "honest": (KEY, HONEST, True),
    "nonce with torsion": (KEY, signed(7, nonce_torsion=TORSION), False),
    "key with torsion, which the challenge takes away": (
        MIXED_KEY,
        signed(nonce_with_challenge_of(True), key=MIXED_KEY),
        True,
    ),
    "key with torsion, which stays": (
        MIXED_KEY,
        signed(nonce_with_challenge_of(False), key=MIXED_KEY),
        False,
    ),
    "key of small order": (IDENTITY, signed(7, key=IDENTITY, secret=0), True),
    "nonce of small order": (KEY, signed(0), True),
    "scalar beyond the order": (
        KEY,
        HONEST[:32] + (int.from_bytes(HONEST[32:], "little") + ORDER).to_bytes(32, "little"),
        False,
    ),
    "one bit of the nonce": (KEY, bytes((HONEST[0] ^ 1,)) + HONEST[1:], False),
    "one bit of the scalar": (KEY, HONEST[:32] + bytes((HONEST[32] ^ 1,)) + HONEST[33:], False),
    "empty": (KEY, b"", False),
}


@pytest.mark.parametrize(("point", "signature", "is_right"), CASES.values(), ids=CASES.keys())
def test_a_signature_is_right_where_the_equation_without_cofactor_holds(
    point: Point, signature: bytes, is_right: bool
):
    data = edwards.encoded(point)
    assert PublicKey.of_kind(KeyKind.ED25519, data).is_signed(signature, MESSAGE) is is_right
    # The rule is OpenSSL's.
    try:
        Ed25519PublicKey.from_public_bytes(data).verify(signature, MESSAGE)
    except InvalidSignature:
        assert not is_right
    else:
        assert is_right


@pytest.mark.parametrize("moved", [1, -1, 60, -4])
def test_bytes_cannot_move_between_signature_and_message(moved: int):
    key = PrivateKey.generate()
    both = key.sign(MESSAGE) + MESSAGE
    cut = 64 + moved
    assert key.public_key.is_signed(both[:64], both[64:])
    assert not key.public_key.is_signed(both[:cut], both[cut:])
