"""Sizes are known before bytes are made."""

import pytest
from leanmesh.gossip import entries


@pytest.mark.parametrize(
    "length", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152], ids=lambda length: f"{length} bytes"
)
def test_the_size_of_an_entry_is_known_beforehand(length: int):
    assert entries.delimited_size_bytes(length) == len(entries.delimited(0x12, bytes(length)))


@pytest.mark.parametrize(
    "optional", [(None,) * 4, (b"", None, None, b"k"), (b"s" * 38, bytes(8), bytes(64), b"")]
)
def test_the_size_of_a_message_is_known_beforehand(optional: tuple[bytes | None, ...]):
    for data in (None, b"", b"d" * 300):
        field = entries.message(b"topic", data, *optional)
        assert entries.message_size_bytes(b"topic", data, *optional) == len(field)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_384], ids=lambda length: f"{length} bytes")
def test_a_plain_message_is_what_the_general_way_makes_of_it(length: int):
    for topic in (b"", b"topic", b"t" * 200):
        assert entries.plain_message(topic, b"d" * length) == entries.message(topic, b"d" * length)
