"""DNS questions for TXT records, as /dnsaddr needs them: a query out, an answer in.

Only what that takes of RFC 1035: one question, TXT answers, compressed names
skipped.  The names that the answers are for are not compared: a resolver
follows aliases, and answers under the name it ended at.
"""

import struct

from leanmesh.errors import RemoteError

TXT = 16
INTERNET = 1
# A resolver over UDP without extensions sends no more than 512 bytes; some send more all the same.
RESPONSE_LIMIT_BYTES = 4096
ANSWERS_LIMIT = 64

_HEADER = struct.Struct(">HHHHHH")
_RECORD = struct.Struct(">HHIH")
_RECURSION_DESIRED = 0x0100
_RESPONSE = 0x8000
_TRUNCATED = 0x0200
_CODE_MASK = 0x000F
_NO_SUCH_NAME = 3


class DnsError(RemoteError):
    """A resolver's answer that is no answer to our question."""


def encode_query(query_id: int, name: str) -> bytes:
    """A recursive question for the TXT records of a name."""
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".")]
    encoded = b"".join(bytes((len(label),)) + label for label in labels) + b"\x00"
    return (
        _HEADER.pack(query_id, _RECURSION_DESIRED, 1, 0, 0, 0) + encoded + struct.pack(">HH", TXT, INTERNET)
    )


def decode_response(data: bytes, query_id: int) -> list[str]:
    """The TXT texts of an answer; none when the name does not exist."""
    try:
        return _decode_response(data, query_id)
    except (struct.error, IndexError):
        raise DnsError(f"an answer of {len(data)} bytes is cut off") from None


def _decode_response(data: bytes, query_id: int) -> list[str]:
    answer_id, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
    if answer_id != query_id or not flags & _RESPONSE:
        raise DnsError("the answer is not to our question")
    code = flags & _CODE_MASK
    if code == _NO_SUCH_NAME:
        return []
    if code:
        raise DnsError(f"the resolver answered with code {code}")
    if flags & _TRUNCATED:
        raise DnsError("the answer is too long for a datagram")
    if answers > ANSWERS_LIMIT or questions > 1:
        raise DnsError(f"{answers} answers to {questions} questions are too many")
    offset = _HEADER.size
    for _ in range(questions):
        offset = _skip_name(data, offset) + 4
    texts: list[str] = []
    for _ in range(answers):
        offset = _skip_name(data, offset)
        kind, _, _, size = _RECORD.unpack_from(data, offset)
        offset += _RECORD.size
        record = data[offset : offset + size]
        if len(record) < size:
            raise DnsError(f"a record of {size} bytes runs past the answer's end by {size - len(record)}")
        if kind == TXT:
            texts.append(_join_strings(record))
        offset += size
    return texts


def _skip_name(data: bytes, offset: int) -> int:
    """The offset behind a name, which ends with a zero or with a pointer."""
    while True:
        length = data[offset]
        if length >= 0xC0:
            return offset + 2
        offset += 1 + length
        if not length:
            return offset


def _join_strings(record: bytes) -> str:
    """A record's strings of up to 255 bytes each, as the one text that they stand for."""
    parts: list[bytes] = []
    offset = 0
    while offset < len(record):
        end = offset + 1 + record[offset]
        if end > len(record):
            raise DnsError(f"a text of {record[offset]} bytes runs past its record's end")
        parts.append(record[offset + 1 : end])
        offset = end
    return b"".join(parts).decode("ascii", errors="replace")
