import pytest
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.wire.varint import MalformedVarint, TruncatedVarint, decode_varint, encode_varint
from vectors import VectorCase, unhex, vector_cases


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (255, "ff01"),
        (300, "ac02"),
        (16383, "ff7f"),
        (16384, "808001"),
        (2**63 - 1, "ffffffffffffffff7f"),
        (2**64 - 1, "ffffffffffffffffff01"),
    ],
)
def test_values_at_the_edges_have_their_one_encoding(value: int, encoded: str):
    assert encode_varint(value).hex() == encoded
    assert decode_varint(bytes.fromhex(encoded)) == (value, len(encoded) // 2)


@given(value=st.integers(0, 2**64 - 1), before=st.binary(max_size=12), after=st.binary(max_size=12))
def test_what_was_encoded_is_decoded_wherever_it_stands(value: int, before: bytes, after: bytes):
    encoded = encode_varint(value)
    assert decode_varint(before + encoded + after, len(before)) == (value, len(before) + len(encoded))


@given(data=st.binary(max_size=16))
def test_any_bytes_decode_to_a_value_that_encodes_to_them_or_are_refused(data: bytes):
    try:
        value, end = decode_varint(data)
    except MalformedVarint:
        return
    assert encode_varint(value) == data[:end]


@pytest.mark.parametrize("encoded", ["", "80", "8080", "ff" * 9])
def test_a_number_cut_off_is_told_from_a_wrong_one(encoded: str):
    with pytest.raises(TruncatedVarint, match="varint at byte 0 is cut off"):
        decode_varint(bytes.fromhex(encoded))


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        ("8000", "is padded"),
        ("ff808000", "is padded"),
        ("ffffffffffffffffff02", "exceeds 64 bits"),
        ("80" * 10, "has more than 10 bytes"),
        ("ff" * 10 + "01", "has more than 10 bytes"),
    ],
)
def test_padded_and_oversized_numbers_are_refused(encoded: str, message: str):
    with pytest.raises(MalformedVarint, match=message):
        decode_varint(bytes.fromhex(encoded))


@vector_cases("varint")
def test_vectors_of_varints(case: VectorCase):
    value, encoded = case["codec"]["value"], unhex(case["output"]["encoded"])
    assert encode_varint(value) == encoded
    assert decode_varint(encoded) == (value, case["output"]["byteLength"])


@vector_cases("decode_failure/varint")
def test_vectors_of_varints_that_must_be_refused(case: VectorCase):
    with pytest.raises(MalformedVarint):
        decode_varint(unhex(case["codec"]["rawBytes"]))
