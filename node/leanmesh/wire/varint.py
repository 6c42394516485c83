"""Unsigned varints: seven bits a byte, low bits first, the high bit says that more follows.

The rules are those of multiformats/unsigned-varint with protobuf's range: a
value has 64 bits, so ten bytes at most, and exactly one encoding, the
shortest.  A peer that pads its numbers is refused: two spellings of one
length have been used to tell parsers apart.
"""

import attrs

from leanmesh.errors import RemoteError

MAX_VARINT_BYTES = 10
MAX_VALUE = (1 << 64) - 1

_ONE_BYTE = [bytes((value,)) for value in range(0x80)]


class MalformedVarint(RemoteError):
    """A number that no correct encoder writes."""


@attrs.define
class TruncatedVarint(MalformedVarint):
    """The bytes end inside a number.  More bytes could still complete it."""

    offset: int

    def __str__(self) -> str:
        return f"varint at byte {self.offset} is cut off"


def encode_varint(value: int) -> bytes:
    """The shortest encoding of a value from 0 to 2^64 - 1."""
    if value < 0x80:
        # A negative value would index from the end of the table.
        assert value >= 0, value
        return _ONE_BYTE[value]
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    assert value <= MAX_VALUE, value
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode_varint(data: bytes | bytearray | memoryview, offset: int = 0) -> tuple[int, int]:
    """Decode the number that starts at `offset`: its value, and the offset of the byte after it.

    Raises TruncatedVarint when `data` ends inside it, MalformedVarint when it
    is padded or exceeds 64 bits.
    """
    end = len(data)
    value = 0
    for index in range(min(MAX_VARINT_BYTES, end - offset)):
        byte = data[offset + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if byte == 0 and index > 0:
                raise MalformedVarint(f"varint at byte {offset} is padded: its last byte is zero")
            if value > MAX_VALUE:
                raise MalformedVarint(f"varint at byte {offset} exceeds 64 bits")
            return value, offset + index + 1
    if end - offset >= MAX_VARINT_BYTES:
        raise MalformedVarint(f"varint at byte {offset} has more than {MAX_VARINT_BYTES} bytes")
    raise TruncatedVarint(offset)
