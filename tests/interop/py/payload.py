"""What is published, and the message ids it gets; the layout stands in tests/interop/README.md."""

import hashlib
import time
from typing import Any

import cramjam

HEADER_BYTES = 24
LARGEST_DECOMPRESSED_BYTES = 10 << 20
DIGEST_BYTES = 32


class Payloads:
    """One publisher's messages of one topic."""

    def __init__(self, peer_id: bytes, size: int, is_snappy: bool) -> None:
        blocks = range(-(-size // DIGEST_BYTES))
        filler = b"".join(hashlib.sha256(block.to_bytes(8, "big")).digest() for block in blocks)
        self.sender = sender_of(peer_id)
        self.rest = filler[HEADER_BYTES:size]
        self.is_snappy = is_snappy
        self.sequence = 0

    def next(self) -> bytes:
        """The next one, stamped with this moment."""
        header = self.sender + self.sequence.to_bytes(8, "big") + time.time_ns().to_bytes(8, "big")
        self.sequence += 1
        data = header + self.rest
        return bytes(cramjam.snappy.compress_raw(data)) if self.is_snappy else data


def content_of(data: bytes, is_snappy: bool) -> bytes | None:
    """What was put in by a publisher; None when it cannot be read."""
    return decompressed(data) if is_snappy else data


def latency_ms(content: bytes) -> float | None:
    """Milliseconds since a payload was made; None when it is none of ours."""
    if len(content) < HEADER_BYTES:
        return None
    return (time.time_ns() - int.from_bytes(content[16:HEADER_BYTES], "big")) / 1e6


def sender_of(peer_id: bytes) -> bytes:
    """How a payload opens that this peer published."""
    return hashlib.sha256(peer_id).digest()[:8]


def decompressed(data: bytes) -> bytes | None:
    """The content of a raw snappy block; None when it is no such block, or too large."""
    try:
        if cramjam.snappy.decompress_raw_len(data) > LARGEST_DECOMPRESSED_BYTES:
            return None
        return bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError:
        return None


def sha256_id(message: Any) -> bytes:
    """The hash of the data."""
    return hashlib.sha256(message.data).digest()


def lean_id(message: Any) -> bytes:
    """The id of lean networks: over the decompressed content where there is one."""
    topic = message.topicIDs[0].encode()
    content = decompressed(message.data)
    domain = b"\x00\x00\x00\x00" if content is None else b"\x01\x00\x00\x00"
    body = message.data if content is None else content
    return hashlib.sha256(domain + len(topic).to_bytes(8, "little") + topic + body).digest()[:20]


def zig_id(message: Any) -> bytes:
    """zig-libp2p's way: a 32-bit big-endian length, and the bytes as they travelled."""
    topic = message.topicIDs[0].encode()
    return hashlib.sha256(
        b"\x01\x00\x00\x00" + len(topic).to_bytes(4, "big") + topic + message.data
    ).digest()[:20]


MESSAGE_IDS = {"sha256": sha256_id, "lean": lean_id, "zig": zig_id}
