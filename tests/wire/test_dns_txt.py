import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.wire.dns_txt import DnsError, decode_response, encode_query


def response(*texts: list[bytes], query_id: int = 7, flags: int = 0x8180) -> bytes:
    """An answer as resolvers give it: the question again, then records under a pointer to its name."""
    question = encode_query(query_id, "_dnsaddr.example.org")[12:]
    records = b""
    for strings in texts:
        body = b"".join(bytes((len(part),)) + part for part in strings)
        records += b"\xc0\x0c" + struct.pack(">HHIH", 16, 1, 60, len(body)) + body
    return struct.pack(">HHHHHH", query_id, flags, 1, len(texts), 0, 0) + question + records


def test_a_query_is_one_recursive_question_for_texts():
    assert encode_query(0x1234, "a.example.") == (
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x10\x00\x01"
    )


def test_the_strings_of_a_record_are_one_text():
    data = response([b"dnsaddr=/ip4/", b"192.0.2.1"], [b"other"])
    assert decode_response(data, 7) == ["dnsaddr=/ip4/192.0.2.1", "other"]


def test_a_name_that_does_not_exist_has_no_texts():
    assert decode_response(response(flags=0x8183), 7) == []


def test_answers_to_other_questions_and_failures_are_errors():
    for data, message in (
        (response(query_id=8), "not to our question"),
        (response(flags=0x0100), "not to our question"),
        (response(flags=0x8182), "code 2"),
        (response(flags=0x8380), "too long"),
        (response([b"text"])[:-3][:40], "cut off"),
        (b"", "cut off"),
    ):
        with pytest.raises(DnsError, match=message):
            decode_response(data, 7)


def test_an_answer_that_is_cut_anywhere_is_refused_and_not_taken_shortened():
    data = response([b"dnsaddr=/ip4/", b"192.0.2.1"], [b"other"])
    for size in range(len(data)):
        with pytest.raises(DnsError):
            decode_response(data[:size], 7)
    with pytest.raises(DnsError, match=r"^a record of 6 bytes runs past the answer's end by 2$"):
        decode_response(data[:-2], 7)


def test_a_text_longer_than_its_record_is_refused():
    data = response([b"other"]).replace(b"\x05other", b"\x06other")
    with pytest.raises(DnsError, match=r"^a text of 6 bytes runs past its record's end$"):
        decode_response(data, 7)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_an_error(data: bytes):
    try:
        texts = decode_response(b"\x00\x07\x80\x00" + data, 7)
    except DnsError:
        return
    assert all(isinstance(text, str) for text in texts)
