"""Varints on their own."""

from leanmesh.wire.varint import decode_varint, encode_varint

SEEDS = [encode_varint(value) for value in (0, 127, 128, 300, 2**32, 2**64 - 1)]


def target(data: bytes) -> None:
    value, end = decode_varint(data)
    assert encode_varint(value) == data[:end]
