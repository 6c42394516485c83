"""Noise_XX_25519_ChaChaPoly_SHA256 itself: the three messages and the keys that follow from them.

Knows nothing of libp2p: payloads are bytes.  Source: noiseprotocol.org,
revision 34, sections 5 and 7.
"""

import hmac
import struct
from hashlib import sha256

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from leanmesh.wire.noise_session import TAG_BYTES, NoiseError

# 32 characters: it stands in the hash as it is.
PROTOCOL_NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
KEY_BYTES = 32

# What each message carries before its payload.  The initiator writes the first and the third.
_MESSAGES = (("e",), ("e", "ee", "s", "es"), ("s", "se"))
# Four zero bytes, then the counter in little endian.
_pack_nonce = struct.Struct("<4xQ").pack


@attrs.define
class SymmetricState:
    """Chaining key and transcript hash of one handshake, from one side."""

    transcript_hash: bytes = PROTOCOL_NAME
    _chaining_key: bytes = attrs.field(init=False, default=PROTOCOL_NAME, repr=False)
    _cipher: ChaCha20Poly1305 | None = attrs.field(init=False, default=None, repr=False)
    _nonce: int = attrs.field(init=False, default=0)

    @property
    def overhead_bytes(self) -> int:
        """How much longer a ciphertext is than its plaintext at this step."""
        return 0 if self._cipher is None else TAG_BYTES

    def mix_hash(self, data: bytes) -> None:
        """Add bytes that both sides have seen to the transcript."""
        self.transcript_hash = sha256(self.transcript_hash + data).digest()

    def mix_key(self, secret: bytes) -> None:
        """Add a shared secret: the chaining key and the cipher's key follow from it."""
        self._chaining_key, key = self._derive(secret)
        self._cipher = ChaCha20Poly1305(key)
        self._nonce = 0

    def encrypt(self, plaintext: bytes) -> bytes:
        """Encrypt under the transcript so far, once there is a key; before, bytes go out as they are."""
        ciphertext = plaintext
        if self._cipher is not None:
            ciphertext = self._cipher.encrypt(_pack_nonce(self._nonce), plaintext, self.transcript_hash)
            self._nonce += 1
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Undo `encrypt` of the other side, whose transcript has to be ours."""
        plaintext = ciphertext
        if self._cipher is not None:
            try:
                plaintext = self._cipher.decrypt(_pack_nonce(self._nonce), ciphertext, self.transcript_hash)
            except InvalidTag:
                raise NoiseError("it does not decrypt") from None
            self._nonce += 1
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[ChaCha20Poly1305, ChaCha20Poly1305]:
        """The ciphers of the transport phase: initiator to responder, and back."""
        forth, back = self._derive(b"")
        return ChaCha20Poly1305(forth), ChaCha20Poly1305(back)

    def _derive(self, secret: bytes) -> tuple[bytes, bytes]:
        """HKDF with two outputs, as Noise defines it."""
        seed = hmac.digest(self._chaining_key, secret, "sha256")
        first = hmac.digest(seed, b"\x01", "sha256")
        return first, hmac.digest(seed, first + b"\x02", "sha256")


class HandshakeState:
    """One side of the three messages.  `write` and `read` take turns."""

    def __init__(
        self,
        *,
        is_initiator: bool,
        static_key: X25519PrivateKey,
        ephemeral_key: X25519PrivateKey,
        prologue: bytes = b"",
    ) -> None:
        self.symmetric = SymmetricState()
        self.symmetric.mix_hash(prologue)
        self.remote_static = b""
        # Messages read and written so far.
        self.messages = 0
        self._is_initiator = is_initiator
        self._static_key = static_key
        self._ephemeral_key = ephemeral_key
        self._remote_ephemeral = b""

    @property
    def is_complete(self) -> bool:
        """Whether all three messages have passed."""
        return self.messages == len(_MESSAGES)

    def write(self, payload: bytes) -> bytes:
        """The next message, with this payload."""
        parts: list[bytes] = []
        for token in _MESSAGES[self.messages]:
            if token == "e":
                ephemeral = self._ephemeral_key.public_key().public_bytes_raw()
                self.symmetric.mix_hash(ephemeral)
                parts.append(ephemeral)
            elif token == "s":
                parts.append(self.symmetric.encrypt(self._static_key.public_key().public_bytes_raw()))
            else:
                self._mix_shared(token)
        self.messages += 1
        return b"".join(parts) + self.symmetric.encrypt(payload)

    def read(self, message: bytes) -> bytes:
        """Take the other side's next message; gives its payload."""
        offset = 0
        for token in _MESSAGES[self.messages]:
            if token in ("e", "s"):
                size = KEY_BYTES + (self.symmetric.overhead_bytes if token == "s" else 0)
                field = message[offset : offset + size]
                offset += size
                if len(field) < size:
                    raise NoiseError(f"{len(message)} bytes are too few for its keys")
                if token == "e":
                    self._remote_ephemeral = field
                    self.symmetric.mix_hash(field)
                else:
                    self.remote_static = self.symmetric.decrypt(field)
            else:
                self._mix_shared(token)
        self.messages += 1
        return self.symmetric.decrypt(message[offset:])

    def _mix_shared(self, token: str) -> None:
        """Do the exchange that a token names: the initiator's key first, then the responder's."""
        own, remote = token if self._is_initiator else reversed(token)
        private = self._ephemeral_key if own == "e" else self._static_key
        public = self._remote_ephemeral if remote == "e" else self.remote_static
        try:
            self.symmetric.mix_key(private.exchange(X25519PublicKey.from_public_bytes(public)))
        except ValueError:
            # Such a key gives the same secret with everyone.
            raise NoiseError("its X25519 key is of low order") from None
