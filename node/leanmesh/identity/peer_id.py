"""Peer ids: the multihash of a public key.

A peer id is a `bytes` subclass, so that it hashes and compares at the speed
of bytes: it is the key of nearly every table of the node.
"""

import base64
import binascii
import hashlib
from functools import lru_cache
from typing import Self

import base58

from leanmesh.errors import LocalError, RemoteError

# Keys up to this size stand in the peer id as they are, longer ones as their SHA-256.
INLINE_KEY_LIMIT_BYTES = 42
# One text per peer id in sight: connected peers plus those that addresses and exchanges name.
_TEXT_CACHE_SIZE = 8192
# A peer id has 56 characters as base58 and 66 as base32; nothing longer is worth decoding.
_TEXT_LIMIT_CHARS = 128

_IDENTITY_CODE = 0x00
_SHA256_PREFIX = b"\x12\x20"
_CID_V1_LIBP2P_KEY = b"\x01\x72"


class InvalidPeerId(RemoteError):
    """Bytes from a peer that are no peer id."""


class InvalidPeerIdText(LocalError):
    """Text that is no peer id."""


class PeerId(bytes):
    """The multihash of a peer's public key.

    The constructor takes the bytes on trust; `from_bytes` and `from_text`
    check what came from outside.
    """

    __slots__ = ()

    @classmethod
    def from_public_key(cls, encoded: bytes) -> Self:
        """The peer id of a public key in its protobuf form."""
        if len(encoded) <= INLINE_KEY_LIMIT_BYTES:
            return cls(bytes((_IDENTITY_CODE, len(encoded))) + encoded)
        return cls(_SHA256_PREFIX + hashlib.sha256(encoded).digest())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Check bytes that a peer sent: an inlined key or a SHA-256, of the length it states."""
        if len(data) == 34 and data.startswith(_SHA256_PREFIX):
            return cls(data)
        if (
            2 < len(data) <= 2 + INLINE_KEY_LIMIT_BYTES
            and data[0] == _IDENTITY_CODE
            and data[1] == len(data) - 2
        ):
            return cls(data)
        raise InvalidPeerId(
            f"{data[:48].hex() or 'nothing'} is no peer id: an inlined key or a SHA-256 was due"
        )

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse either text form: base58 (`12D3...`, `16Uiu2...`, `Qm...`) or a CID (`bafz...`)."""
        if len(text) > _TEXT_LIMIT_CHARS:
            raise InvalidPeerIdText(f"{text[:16]}... has {len(text)} characters, too many for a peer id")
        try:
            if text.startswith(("1", "Qm")):
                return cls.from_bytes(_decode_base58(text))
            cid = _decode_multibase(text)
            if not cid.startswith(_CID_V1_LIBP2P_KEY):
                raise InvalidPeerIdText(f"{text!r} is a CID, but not one of a libp2p key")
            return cls.from_bytes(cid[len(_CID_V1_LIBP2P_KEY) :])
        except (ValueError, InvalidPeerId) as error:
            raise InvalidPeerIdText(f"{text!r} is no peer id: {error}") from None

    @property
    def text(self) -> str:
        """The base58 form, which is the one to show and to configure."""
        return _to_text(self)

    @property
    def cid(self) -> str:
        """The form as a CIDv1 in base32."""
        encoded = base64.b32encode(_CID_V1_LIBP2P_KEY + self).decode("ascii")
        return "b" + encoded.rstrip("=").lower()

    @property
    def short(self) -> str:
        """A form for log lines: the beginning tells the key type, the end tells peers apart."""
        text = self.text
        return f"{text[:4]}..{text[-6:]}"

    @property
    def inlined_public_key(self) -> bytes | None:
        """The public key's protobuf form when the peer id holds it, None when it holds a hash."""
        return self[2:] if self[:1] == b"\x00" else None

    def __str__(self) -> str:
        return _to_text(self)

    def __repr__(self) -> str:
        return f"PeerId({self.short})"


@lru_cache(maxsize=_TEXT_CACHE_SIZE)
def _to_text(peer: PeerId) -> str:
    return base58.b58encode(bytes(peer)).decode("ascii")


@lru_cache(maxsize=_TEXT_CACHE_SIZE)
def _decode_base58(text: str) -> bytes:
    # 120 us each, and an address is asked for its peer some ten times while it is dialed.
    return base58.b58decode(text)


def _decode_multibase(text: str) -> bytes:
    """Decode the multibases that peer ids are written in: base32 (the default), base58, base16."""
    prefix, body = text[:1], text[1:]
    if prefix == "b" and body.islower():
        return base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    if prefix == "z":
        return base58.b58decode(body)
    if prefix == "f":
        return binascii.unhexlify(body)
    raise ValueError("it starts neither with 1 or Qm (base58) nor with b, z or f (CID)")
