"""A resolver's answer to a question for TXT records."""

import struct

from leanmesh.wire.dns_txt import ANSWERS_LIMIT, INTERNET, TXT, decode_response, encode_query

QUERY_ID = 7
TEXT = b"dnsaddr=/ip4/1.2.3.4/tcp/9"


def answer(*records: bytes, kind: int = TXT) -> bytes:
    """An answer to our question, with the name of each record pointing back to the question's."""
    question = encode_query(QUERY_ID, "_dnsaddr.example.org")[12:]
    header = struct.pack(">HHHHHH", QUERY_ID, 0x8180, 1, len(records), 0, 0)
    body = (
        b"\xc0\x0c" + struct.pack(">HHIH", kind, INTERNET, 60, len(record)) + record for record in records
    )
    return header + question + b"".join(body)


SEEDS = [
    answer(),
    answer(bytes((len(TEXT),)) + TEXT),
    answer(b"\x01a" + bytes((len(TEXT),)) + TEXT, b"\x00"),
    answer(b"\x03abc", kind=1),
    struct.pack(">HHHHHH", QUERY_ID, 0x8183, 0, 0, 0, 0),
]


def target(data: bytes) -> None:
    texts = decode_response(data, QUERY_ID)
    assert len(texts) <= ANSWERS_LIMIT
    assert sum(map(len, texts)) <= len(data)
