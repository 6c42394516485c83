"""The transport phase of Noise: plaintext in, framed ciphertext out, and back.

A frame is two bytes of length and a ChaCha20-Poly1305 ciphertext of at most
65,535 bytes.  A cipher call costs about 1 us plus its bytes, so both
directions work on as much as is at hand: one `encrypt` call fills whole
frames, one `decrypt` call opens every complete frame of a chunk.
"""

import struct

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from leanmesh.errors import RemoteError
from leanmesh.identity.keys import PublicKey
from leanmesh.identity.peer_id import PeerId

TAG_BYTES = 16
FRAME_LIMIT_BYTES = 65_535
# What fits one frame; writers that have more at hand lose nothing by handing all of it over.
PLAINTEXT_LIMIT_BYTES = FRAME_LIMIT_BYTES - TAG_BYTES
# 2^64 - 1 is reserved by Noise.  At 64 KiB a frame no connection gets near it.
NONCE_LIMIT = (1 << 64) - 1
# Frames without content cost a cipher call each and move nothing.  No known peer sends two in a row.
EMPTY_FRAMES_LIMIT = 16

_HEADER_BYTES = 2
# Four zero bytes, then the counter in little endian.
_pack_nonce = struct.Struct("<4xQ").pack
_pack_header = struct.Struct(">H").pack


class NoiseError(RemoteError):
    """A peer broke the Noise protocol, or someone between us changed its bytes."""


class NoncesExhausted(NoiseError):
    """Nobody's fault: this connection's keys are used up, a new connection has new ones."""


@attrs.define
class NoiseSession:
    """An encrypted connection to a peer whose identity is proven.

    After an error the connection is lost: neither direction may be used
    again.  Holds at most one incomplete frame.
    """

    remote_key: PublicKey
    remote_peer: PeerId
    # The muxer agreed on inside the handshake; None when it has to be negotiated the usual way.
    stream_muxer: str | None
    # Equal on both sides and unique to this connection.
    handshake_hash: bytes
    _sending: ChaCha20Poly1305 = attrs.field(alias="sending", repr=False)
    _receiving: ChaCha20Poly1305 = attrs.field(alias="receiving", repr=False)
    # Bytes behind the handshake's last message; decrypt(b"") opens what is complete in them.
    _early: bytes = attrs.field(alias="early", default=b"", repr=False)
    _sent_frames: int = attrs.field(alias="sent_frames", default=0)
    _received_frames: int = attrs.field(alias="received_frames", default=0)
    # The frame that has not arrived whole: the first byte of its header, or its content so far.
    _header: bytes = attrs.field(init=False, default=b"", repr=False)
    _content: bytearray = attrs.field(init=False, factory=bytearray, repr=False)
    _missing_bytes: int = attrs.field(init=False, default=0, repr=False)
    _empty_frames: int = attrs.field(init=False, default=0, repr=False)

    @property
    def is_inside_frame(self) -> bool:
        """Whether the connection would end in the middle of a frame if it ended now."""
        return bool(self._early or self._header or self._missing_bytes)

    def encrypt(self, data: bytes | bytearray | memoryview) -> bytes:
        """Encrypt all of `data` into as few frames as it takes, ready to be sent.  No data, no frame."""
        size = len(data)
        view = memoryview(data)
        encrypt = self._sending.encrypt
        frame = self._sent_frames
        if frame + size // PLAINTEXT_LIMIT_BYTES + 1 > NONCE_LIMIT:
            raise NoncesExhausted("all nonces for sending are used up")
        parts: list[bytes] = []
        for offset in range(0, size, PLAINTEXT_LIMIT_BYTES):
            ciphertext = encrypt(_pack_nonce(frame), view[offset : offset + PLAINTEXT_LIMIT_BYTES], None)
            parts += (_pack_header(len(ciphertext)), ciphertext)
            frame += 1
        self._sent_frames = frame
        return b"".join(parts)

    def decrypt(self, chunk: bytes) -> bytes:
        """Take the next bytes of the connection and give the content of every frame that they complete."""
        parts: list[bytes] = []
        offset = 0
        if self._missing_bytes:
            # Only what completes the frame is copied; the rest is opened where it lies.
            offset = min(self._missing_bytes, len(chunk))
            self._content += memoryview(chunk)[:offset]
            self._missing_bytes -= offset
            if self._missing_bytes:
                return b""
            self._open(self._content, parts)
            self._content = bytearray()
        elif self._early or self._header:
            chunk = self._early + self._header + chunk
            self._early = self._header = b""
        self._open_all(chunk, offset, parts)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _open_all(self, chunk: bytes, offset: int, parts: list[bytes]) -> None:
        """Open the complete frames from `offset` on, and keep the incomplete last one."""
        view = memoryview(chunk)
        end = len(chunk)
        while end - offset >= _HEADER_BYTES:
            start = offset + _HEADER_BYTES
            size = chunk[offset] << 8 | chunk[offset + 1]
            if size < TAG_BYTES:
                raise NoiseError(f"frame of {size} bytes: {TAG_BYTES} is the least")
            offset = start + size
            if offset > end:
                self._content += view[start:]
                self._missing_bytes = offset - end
                return
            self._open(view[start:offset], parts)
        self._header = chunk[offset:]

    def _open(self, ciphertext: bytearray | memoryview, parts: list[bytes]) -> None:
        """Open one frame."""
        if self._received_frames >= NONCE_LIMIT:
            raise NoncesExhausted("all nonces for receiving are used up")
        try:
            content = self._receiving.decrypt(_pack_nonce(self._received_frames), ciphertext, None)
        except InvalidTag:
            raise NoiseError(f"frame {self._received_frames} does not decrypt") from None
        self._received_frames += 1
        if content:
            self._empty_frames = 0
            parts.append(content)
            return
        self._empty_frames += 1
        if self._empty_frames > EMPTY_FRAMES_LIMIT:
            raise NoiseError(f"more than {EMPTY_FRAMES_LIMIT} frames without content in a row")
