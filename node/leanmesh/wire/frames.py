"""Length-prefixed frames: a varint length, then that many bytes.  Chunks in, complete frames out."""

import attrs

from leanmesh.errors import RemoteError
from leanmesh.wire.varint import TruncatedVarint, decode_varint, encode_varint

# A part of an unfinished frame grows by copying until it has this size.  So a peer that
# drips a frame byte by byte makes us keep one object per 4 KiB, not one per byte.
_PART_BYTES = 4096


@attrs.define
class FrameTooLarge(RemoteError):
    """A length prefix that promises more than the limit.  Nothing of the frame was kept."""

    size_bytes: int
    limit_bytes: int

    def __str__(self) -> str:
        return f"frame of {self.size_bytes} bytes exceeds {self.limit_bytes}"


def encode_frame(payload: bytes) -> bytes:
    """One frame: the payload behind its length."""
    return encode_varint(len(payload)) + payload


@attrs.define
class FrameSplitter:
    """Cuts a byte stream into its frames.

    Holds at most one unfinished frame, so at most `limit_bytes` and one
    prefix.  With `skip_empty` frames of length zero are counted in
    `skipped_empty` and not handed out.  After an error the stream has lost
    its place: the splitter must not be fed again.
    """

    limit_bytes: int
    skip_empty: bool = False
    skipped_empty: int = 0
    _prefix: bytes = b""
    _parts: list[bytes] = attrs.field(factory=list[bytes])
    _missing_bytes: int = 0

    @property
    def is_inside_frame(self) -> bool:
        """Whether the stream would end in the middle of a frame if it ended now."""
        return bool(self._prefix) or self._missing_bytes > 0

    def split(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes of the stream and give every frame that they complete, in order."""
        frames: list[bytes] = []
        offset = 0
        if self._missing_bytes:
            offset = self._missing_bytes
            if len(chunk) < offset:
                self._keep(chunk)
                return frames
            self._parts.append(chunk[:offset])
            frames.append(b"".join(self._parts))
            self._parts.clear()
            self._missing_bytes = 0
        elif self._prefix:
            chunk = self._prefix + chunk
            self._prefix = b""
        self._split_from(chunk, offset, frames)
        return frames

    def _split_from(self, chunk: bytes, offset: int, frames: list[bytes]) -> None:
        """Cut all frames that start at or after `offset`, and keep the unfinished last one."""
        end = len(chunk)
        limit_bytes = self.limit_bytes
        while offset < end:
            size = chunk[offset]
            start = offset + 1
            if size >= 0x80:
                # Two bytes reach to 16 KiB, which is nearly every frame there is.
                if start < end and 0 < (high := chunk[start]) < 0x80:
                    size = size & 0x7F | high << 7
                    start += 1
                else:
                    try:
                        size, start = decode_varint(chunk, offset)
                    except TruncatedVarint:
                        self._prefix = chunk[offset:]
                        return
            if size > limit_bytes:
                raise FrameTooLarge(size, limit_bytes)
            offset = start + size
            if offset > end:
                self._parts.append(chunk[start:])
                self._missing_bytes = offset - end
                return
            if size or not self.skip_empty:
                frames.append(chunk[start:offset])
            else:
                self.skipped_empty += 1

    def _keep(self, chunk: bytes) -> None:
        """Keep a chunk that does not complete the unfinished frame."""
        if len(self._parts[-1]) < _PART_BYTES:
            self._parts[-1] += chunk
        else:
            self._parts.append(chunk)
        self._missing_bytes -= len(chunk)
