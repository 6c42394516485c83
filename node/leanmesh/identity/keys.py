"""Public and private keys of the four libp2p kinds, their protobuf form and their signatures.

We sign with Ed25519 and secp256k1 and verify those, ECDSA and RSA.  Encoded
forms are unique: whatever is not exactly what we would write is refused,
because one key with two encodings would be one peer with two ids.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Self

import attrs
import coincurve
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.message import DecodeError
from nacl.bindings import crypto_sign_BYTES, crypto_sign_open
from nacl.exceptions import BadSignatureError

from leanmesh.errors import LocalError, RemoteError
from leanmesh.identity import keys_pb2
from leanmesh.identity.peer_id import PeerId
from leanmesh.identity.pkix import InvalidDerKey, load_ecdsa, load_rsa

# An RSA key of 8192 bits has 1062 bytes in this form; nothing legal is longer.
ENCODED_LIMIT_BYTES = 1200

# (signature, message) -> whether the signature is right.
Verify = Callable[[bytes, bytes], bool]
Sign = Callable[[bytes], bytes]


class InvalidKey(RemoteError):
    """A public key that cannot be one, or is written in another form than the one allowed."""


class InvalidPrivateKey(LocalError):
    """A private key of ours that cannot be used."""


class KeyKind(IntEnum):
    """The kinds of libp2p, with their numbers on the wire."""

    RSA = 0
    ED25519 = 1
    SECP256K1 = 2
    ECDSA = 3


@attrs.frozen
class PublicKey:
    """A public key that was checked to be one."""

    kind: KeyKind
    data: bytes
    _verify: Verify = attrs.field(eq=False, repr=False)

    @classmethod
    def of_kind(cls, kind: KeyKind, data: bytes) -> Self:
        """The key with these bytes: raw (Ed25519), compressed point (secp256k1) or DER (ECDSA, RSA)."""
        try:
            return cls(kind, data, _LOADERS[kind](data))
        except (ValueError, InvalidDerKey) as error:
            raise InvalidKey(f"{kind.name} key of {len(data)} bytes: {error}") from None

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """Decode the protobuf form that a peer sent."""
        if len(encoded) > ENCODED_LIMIT_BYTES:
            raise InvalidKey(f"key message of {len(encoded)} bytes exceeds {ENCODED_LIMIT_BYTES}")
        try:
            message = keys_pb2.Key.FromString(encoded)
        except DecodeError:
            raise InvalidKey(f"{encoded[:16].hex()}... is no key message") from None
        key = cls.of_kind(KeyKind(message.kind), message.data)
        if key.encode() != encoded:
            raise InvalidKey("the key message is padded or has fields that a key has not")
        return key

    def encode(self) -> bytes:
        """The protobuf form, always the same for the same key."""
        return keys_pb2.Key(kind=_WIRE_KINDS[self.kind], data=self.data).SerializeToString()

    @property
    def peer_id(self) -> PeerId:
        """The peer id that this key gives."""
        return PeerId.from_public_key(self.encode())

    def is_signed(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` over `message` was made with this key.  No bytes make it raise."""
        return self._verify(signature, message)


@attrs.frozen
class PrivateKey:
    """A key that signs: the identity of one of our nodes.  Its text forms do not show the secret."""

    kind: KeyKind
    secret: bytes = attrs.field(repr=False)
    public_key: PublicKey
    _sign: Sign = attrs.field(eq=False, repr=False)

    @classmethod
    def of_kind(cls, kind: KeyKind, secret: bytes) -> Self:
        """The key with this secret: the seed (Ed25519) or the scalar (secp256k1), 32 bytes each."""
        load = _SECRET_LOADERS.get(kind)
        if load is None:
            raise InvalidPrivateKey(f"{kind.name} keys are verified, not used: take ED25519 or SECP256K1")
        if len(secret) != 32:
            raise InvalidPrivateKey(f"{kind.name} secret of {len(secret)} bytes: 32 were due")
        try:
            public_data, sign = load(secret)
        except ValueError as error:
            raise InvalidPrivateKey(f"{kind.name} secret: {error}") from None
        return cls(kind, secret, PublicKey.of_kind(kind, public_data), sign)

    @classmethod
    def generate(cls, kind: KeyKind = KeyKind.ED25519) -> Self:
        """A new key from the system's randomness."""
        if kind is KeyKind.ED25519:
            return cls.of_kind(kind, Ed25519PrivateKey.generate().private_bytes_raw())
        return cls.of_kind(kind, coincurve.PrivateKey().secret)

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """Decode the protobuf form that key files hold."""
        try:
            message = keys_pb2.Key.FromString(encoded)
        except DecodeError:
            raise InvalidPrivateKey("not a libp2p private key message") from None
        kind, data = KeyKind(message.kind), message.data
        if kind is not KeyKind.ED25519:
            return cls.of_kind(kind, data)
        # Seed and public key; older files repeat the public key.
        if len(data) not in (64, 96):
            raise InvalidPrivateKey(f"ED25519 private key of {len(data)} bytes: 64 or 96 were due")
        key = cls.of_kind(kind, data[:32])
        if data[32:] != key.public_key.data * (len(data) // 32 - 1):
            raise InvalidPrivateKey("the public half of this ED25519 key does not belong to its private half")
        return key

    def encode(self) -> bytes:
        """The protobuf form that key files hold."""
        data = self.secret + self.public_key.data if self.kind is KeyKind.ED25519 else self.secret
        return keys_pb2.Key(kind=_WIRE_KINDS[self.kind], data=data).SerializeToString()

    @property
    def peer_id(self) -> PeerId:
        """The peer id of this key's node."""
        return self.public_key.peer_id

    def sign(self, message: bytes) -> bytes:
        """Sign a message in the form that libp2p fixes for this kind."""
        return self._sign(message)


def _load_ed25519_secret(secret: bytes) -> tuple[bytes, Sign]:
    key = Ed25519PrivateKey.from_private_bytes(secret)
    return key.public_key().public_bytes_raw(), key.sign


def _load_secp256k1_secret(secret: bytes) -> tuple[bytes, Sign]:
    key = coincurve.PrivateKey(secret)

    def sign(message: bytes) -> bytes:
        # Over the SHA-256 of the message, in DER, always with the low S.
        return key.sign(message)  # pyright: ignore[reportUnknownMemberType]

    return key.public_key.format(compressed=True), sign


def _load_ed25519(data: bytes) -> Verify:
    """libsodium says yes in half the time; where it says no, OpenSSL decides.

    Peers that disagree on one signature can be set against each other, so there must be one rule: the
    equation without cofactor that OpenSSL, Go and dalek check.  libsodium's is the same, but it also
    refuses points of small order.
    """
    key = Ed25519PublicKey.from_public_bytes(data)

    def verify(signature: bytes, message: bytes) -> bool:
        if len(signature) == crypto_sign_BYTES:
            try:
                crypto_sign_open(signature + message, data)
                return True
            except BadSignatureError:
                pass
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return verify


def _load_secp256k1(data: bytes) -> Verify:
    if len(data) != 33:
        raise ValueError("33 bytes, a compressed point, were due")
    key = coincurve.PublicKey(data)

    def verify(signature: bytes, message: bytes) -> bool:
        try:
            # False for a high S as well: it would be a second signature from the same one.
            return key.verify(signature, message)
        except ValueError:
            return False

    return verify


_LOADERS: dict[KeyKind, Callable[[bytes], Verify]] = {
    KeyKind.RSA: load_rsa,
    KeyKind.ED25519: _load_ed25519,
    KeyKind.SECP256K1: _load_secp256k1,
    KeyKind.ECDSA: load_ecdsa,
}

_SECRET_LOADERS: dict[KeyKind, Callable[[bytes], tuple[bytes, Sign]]] = {
    KeyKind.ED25519: _load_ed25519_secret,
    KeyKind.SECP256K1: _load_secp256k1_secret,
}

_WIRE_KINDS = {
    KeyKind.RSA: keys_pb2.RSA,
    KeyKind.ED25519: keys_pb2.ED25519,
    KeyKind.SECP256K1: keys_pb2.SECP256K1,
    KeyKind.ECDSA: keys_pb2.ECDSA,
}
