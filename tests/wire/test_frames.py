import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.wire.frames import FrameSplitter, FrameTooLarge, encode_frame
from leanmesh.wire.varint import MalformedVarint


def chunks_of(stream: bytes, sizes: list[int]) -> list[bytes]:
    chunks: list[bytes] = []
    offset = 0
    for size in sizes:
        chunks.append(stream[offset : offset + size])
        offset += size
    return [*chunks, stream[offset:]]


@given(
    frames=st.lists(st.binary(max_size=400) | st.integers(0, 20_000).map(bytes), max_size=8),
    sizes=st.lists(st.integers(0, 20_000) | st.integers(0, 3), max_size=30),
)
def test_frames_come_out_whole_however_the_stream_is_cut(frames: list[bytes], sizes: list[int]):
    splitter = FrameSplitter(limit_bytes=20_000)
    stream = b"".join(map(encode_frame, frames))

    out = [frame for chunk in chunks_of(stream, sizes) for frame in splitter.split(chunk)]

    assert out == frames
    assert not splitter.is_inside_frame


def test_frames_dripped_byte_by_byte_come_out_whole():
    frames = [b"", b"a", b"b" * 127, b"c" * 128, b"d" * 16_383, b"e" * 16_384]
    splitter = FrameSplitter(limit_bytes=16_384)
    stream = b"".join(map(encode_frame, frames))

    out = [frame for byte in stream for frame in splitter.split(bytes((byte,)))]

    assert out == frames


@pytest.mark.parametrize("size", [65, 200, 20_000, 2**64 - 1])
def test_a_frame_over_the_limit_is_refused_at_its_length(size: int):
    splitter = FrameSplitter(limit_bytes=64)
    prefix = encode_frame(b"") + bytes.fromhex(
        {65: "41", 200: "c801", 20_000: "a09c01", 2**64 - 1: "ff" * 9 + "01"}[size]
    )

    with pytest.raises(FrameTooLarge, match=f"^frame of {size} bytes exceeds 64$"):
        splitter.split(prefix)
    assert not splitter.is_inside_frame


def test_a_frame_of_exactly_the_limit_passes():
    assert FrameSplitter(limit_bytes=64).split(encode_frame(bytes(64))) == [bytes(64)]


@pytest.mark.parametrize("prefix", ["8000", "ff8000", "80" * 10])
def test_a_malformed_length_is_refused_in_one_chunk_and_in_drips(prefix: str):
    stream = bytes.fromhex(prefix)
    with pytest.raises(MalformedVarint):
        FrameSplitter(limit_bytes=64).split(stream)
    dripped = FrameSplitter(limit_bytes=64)
    for byte in stream[:-1]:
        assert dripped.split(bytes((byte,))) == []
    with pytest.raises(MalformedVarint):
        dripped.split(stream[-1:])


def test_empty_frames_are_handed_out_unless_they_are_to_be_skipped():
    stream = b"\x00\x01a\x00\x00\x01b\x00"
    assert FrameSplitter(limit_bytes=64).split(stream) == [b"", b"a", b"", b"", b"b", b""]
    skipping = FrameSplitter(limit_bytes=64, skip_empty=True)
    assert skipping.split(stream) == [b"a", b"b"]
    assert skipping.skipped_empty == 4


def test_a_stream_that_stops_inside_a_frame_says_so():
    splitter = FrameSplitter(limit_bytes=1024)
    assert not splitter.is_inside_frame
    splitter.split(b"\x80")
    assert splitter.is_inside_frame
    splitter.split(b"\x01" + bytes(100))
    assert splitter.is_inside_frame
    assert splitter.split(bytes(28)) == [bytes(128)]
    assert not splitter.is_inside_frame


def test_a_dripped_frame_is_kept_in_few_objects():
    splitter = FrameSplitter(limit_bytes=1 << 20)
    splitter.split(encode_frame(bytes(1 << 20))[:100])
    before = sys.getallocatedblocks()
    for number in range(30_000):
        splitter.split(number.to_bytes(2, "big"))
    assert sys.getallocatedblocks() - before < 1_000
