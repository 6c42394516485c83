"""The group of Ed25519 in plain integers (RFC 8032), to make the signatures that no signer makes."""

import hashlib

FIELD = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, FIELD) % FIELD
_ROOT_OF_MINUS_ONE = pow(2, (FIELD - 1) // 4, FIELD)

Point = tuple[int, int]
IDENTITY: Point = (0, 1)


def add(left: Point, right: Point) -> Point:
    (x1, y1), (x2, y2) = left, right
    product = _D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, FIELD) % FIELD,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, FIELD) % FIELD,
    )


def multiply(scalar: int, point: Point) -> Point:
    total = IDENTITY
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def point_at(y: int) -> Point | None:
    """The point with this y and an even x, where there is one."""
    square = (y * y - 1) * pow(_D * y * y + 1, -1, FIELD) % FIELD
    x = pow(square, (FIELD + 3) // 8, FIELD)
    if (x * x - square) % FIELD:
        x = x * _ROOT_OF_MINUS_ONE % FIELD
    if (x * x - square) % FIELD:
        return None
    return (FIELD - x if x & 1 else x), y


def encoded(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def _base() -> Point:
    base = point_at(4 * pow(5, -1, FIELD) % FIELD)
    assert base is not None
    return base


def _torsion() -> Point:
    """A point of order 8: what is left of any point when its part of prime order is taken away."""
    for y in range(2, 100):
        point = point_at(y)
        if point is not None and multiply(4, left := multiply(ORDER, point)) != IDENTITY:
            return left
    raise AssertionError("no point of order 8")


BASE = _base()
TORSION = _torsion()


def challenge(nonce: Point, key: Point, message: bytes) -> int:
    digest = hashlib.sha512(encoded(nonce) + encoded(key) + message).digest()
    return int.from_bytes(digest, "little") % ORDER


def signature(nonce: Point, scalar: int) -> bytes:
    return encoded(nonce) + scalar.to_bytes(32, "little")
