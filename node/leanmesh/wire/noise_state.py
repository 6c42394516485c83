"""The key schedule of Noise_XX_25519_ChaChaPoly_SHA256: what both sides compute, step by step alike.

Source: noiseprotocol.org revision 34, sections 4 and 5.
"""

import hmac
import struct
from hashlib import sha256

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from leanmesh.wire.noise_session import NoiseError

# 32 characters: it stands in the hash as it is.
PROTOCOL_NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"

KEY_BYTES = 32

_pack_nonce = struct.Struct("<4xQ").pack


def diffie_hellman(private: X25519PrivateKey, public: bytes) -> bytes:
    """The shared secret, or NoiseError for a public key chosen to make it predictable."""
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise NoiseError("the peer's X25519 key is of low order") from None


@attrs.define
class SymmetricState:
    """Chaining key and transcript hash of one handshake, from one side."""

    hash: bytes = PROTOCOL_NAME
    _chaining_key: bytes = attrs.field(default=PROTOCOL_NAME, repr=False)
    _cipher: ChaCha20Poly1305 | None = attrs.field(default=None, repr=False)
    _nonce: int = 0

    def mix_hash(self, data: bytes) -> None:
        """Add bytes that both sides have seen to the transcript."""
        self.hash = sha256(self.hash + data).digest()

    def mix_key(self, secret: bytes) -> None:
        """Add a shared secret: the chaining key and the cipher's key follow from it."""
        self._chaining_key, key = self._derive(secret)
        self._cipher = ChaCha20Poly1305(key)
        self._nonce = 0

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """Encrypt once there is a key; before, the plaintext goes out as it is."""
        if self._cipher is None:
            ciphertext = plaintext
        else:
            ciphertext = self._cipher.encrypt(_pack_nonce(self._nonce), plaintext, self.hash)
            self._nonce += 1
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """Undo encrypt_and_hash of the other side, whose transcript has to be ours."""
        if self._cipher is None:
            plaintext = ciphertext
        else:
            try:
                plaintext = self._cipher.decrypt(_pack_nonce(self._nonce), ciphertext, self.hash)
            except InvalidTag:
                raise NoiseError("it does not decrypt") from None
            self._nonce += 1
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[ChaCha20Poly1305, ChaCha20Poly1305]:
        """The ciphers of the transport phase: initiator to responder, and back."""
        first, second = self._derive(b"")
        return ChaCha20Poly1305(first), ChaCha20Poly1305(second)

    def _derive(self, secret: bytes) -> tuple[bytes, bytes]:
        """HKDF with two outputs, as Noise defines it."""
        seed = hmac.digest(self._chaining_key, secret, "sha256")
        first = hmac.digest(seed, b"\x01", "sha256")
        return first, hmac.digest(seed, first + b"\x02", "sha256")
