"""Length-prefixed frames, in chunks: the same frames as in one piece."""

from fuzz.registry import cut
from leanmesh.wire.frames import FrameSplitter, encode_frame

LIMIT_BYTES = 200

SEEDS = [
    bytes((step,)) + b"".join(map(encode_frame, (b"", b"a", b"b" * 127, b"c" * 128, b"d" * LIMIT_BYTES)))
    for step in (0, 1, 7, 200)
]


def target(data: bytes) -> None:
    chunks = cut(data)
    whole = FrameSplitter(limit_bytes=LIMIT_BYTES).split(b"".join(chunks))
    splitter = FrameSplitter(limit_bytes=LIMIT_BYTES)
    assert [frame for chunk in chunks for frame in splitter.split(chunk)] == whole
    assert all(len(frame) <= LIMIT_BYTES for frame in whole)
