"""Signed envelopes: a payload, what it is, who signed it, and for which purpose.

The purpose (`domain`) is signed but not sent: an envelope made for one
purpose does not verify for another.  Source: libp2p RFC 0002.
"""

from typing import Self

import attrs
from google.protobuf.message import DecodeError

from leanmesh.errors import RemoteError
from leanmesh.identity import records_pb2
from leanmesh.identity.keys import InvalidKey, PrivateKey, PublicKey
from leanmesh.wire.varint import encode_varint

# A record with 64 addresses and an RSA key stays below 8 KiB.
ENCODED_LIMIT_BYTES = 16 * 1024


class InvalidEnvelope(RemoteError):
    """An envelope that cannot be read or was not signed by the key in it."""


@attrs.frozen
class SignedEnvelope:
    """An envelope whose signature was made or checked here."""

    public_key: PublicKey
    payload_type: bytes
    payload: bytes
    signature: bytes

    @classmethod
    def seal(cls, key: PrivateKey, domain: str, payload_type: bytes, payload: bytes) -> Self:
        """Sign a payload."""
        return cls(key.public_key, payload_type, payload, key.sign(_signed(domain, payload_type, payload)))

    @classmethod
    def decode(cls, encoded: bytes, domain: str) -> Self:
        """Decode an envelope from a peer and check its signature for this purpose."""
        if len(encoded) > ENCODED_LIMIT_BYTES:
            raise InvalidEnvelope(f"envelope of {len(encoded)} bytes exceeds {ENCODED_LIMIT_BYTES}")
        try:
            message = records_pb2.Envelope.FromString(encoded)
            key = PublicKey.decode(message.public_key)
        except DecodeError:
            raise InvalidEnvelope("the envelope cannot be decoded") from None
        except InvalidKey as error:
            raise InvalidEnvelope(f"the envelope's key: {error}") from None
        if not key.is_signed(message.signature, _signed(domain, message.payload_type, message.payload)):
            raise InvalidEnvelope(f"the envelope is not signed by {key.peer_id} for {domain}")
        return cls(key, message.payload_type, message.payload, message.signature)

    def encode(self) -> bytes:
        """The bytes to send."""
        return records_pb2.Envelope(
            public_key=self.public_key.encode(),
            payload_type=self.payload_type,
            payload=self.payload,
            signature=self.signature,
        ).SerializeToString()


def _signed(domain: str, payload_type: bytes, payload: bytes) -> bytes:
    """The bytes that the signature is over: each part behind its length."""
    parts = (domain.encode(), payload_type, payload)
    return b"".join(encode_varint(len(part)) + part for part in parts)
