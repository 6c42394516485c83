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
    # Ciphertext behind the handshake's last message comes in here; decrypt(b"") opens what is complete.
    _pending: bytearray = attrs.field(alias="pending", factory=bytearray, repr=False)
    _sent_frames: int = attrs.field(alias="sent_frames", default=0)
    _received_frames: int = attrs.field(alias="received_frames", default=0)
    _wanted_bytes: int = attrs.field(init=False, default=_HEADER_BYTES, repr=False)
    _empty_frames: int = attrs.field(init=False, default=0, repr=False)

    @property
    def is_inside_frame(self) -> bool:
        """Whether the connection would end in the middle of a frame if it ended now."""
        return bool(self._pending)

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
        if self._pending:
            self._pending += chunk
            if len(self._pending) < self._wanted_bytes:
                return b""
            view = memoryview(self._pending)
            # The view keeps the old buffer; a buffer that is viewed cannot grow.
            self._pending = bytearray()
        else:
            view = memoryview(chunk)
        parts: list[bytes] = []
        opened_bytes = self._open_frames(view, parts)
        if opened_bytes < len(view):
            self._pending += view[opened_bytes:]
            self._wanted_bytes = _HEADER_BYTES + _content_bytes(self._pending)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _open_frames(self, view: memoryview, parts: list[bytes]) -> int:
        """Open the complete frames at the start of `view`; gives the number of bytes that they take."""
        end = len(view)
        offset = 0
        while end - offset >= _HEADER_BYTES:
            start = offset + _HEADER_BYTES
            stop = start + (view[offset] << 8 | view[offset + 1])
            if stop > end:
                break
            if stop - start <= TAG_BYTES:
                self._check_empty_frame(stop - start)
            if self._received_frames >= NONCE_LIMIT:
                raise NoncesExhausted("all nonces for receiving are used up")
            try:
                content = self._receiving.decrypt(_pack_nonce(self._received_frames), view[start:stop], None)
            except InvalidTag:
                raise NoiseError(f"frame {self._received_frames} does not decrypt") from None
            self._received_frames += 1
            if content:
                self._empty_frames = 0
                parts.append(content)
            offset = stop
        return offset

    def _check_empty_frame(self, ciphertext_bytes: int) -> None:
        """Refuse a frame too short to be one, and the peer that sends empty ones in a loop."""
        if ciphertext_bytes < TAG_BYTES:
            raise NoiseError(f"frame of {ciphertext_bytes} bytes: {TAG_BYTES} is the least")
        self._empty_frames += 1
        if self._empty_frames > EMPTY_FRAMES_LIMIT:
            raise NoiseError(f"more than {EMPTY_FRAMES_LIMIT} frames without content in a row")


def _content_bytes(pending: bytearray) -> int:
    """How many bytes the header at the start of `pending` promises, 0 while it is incomplete."""
    return pending[0] << 8 | pending[1] if len(pending) >= _HEADER_BYTES else 0
