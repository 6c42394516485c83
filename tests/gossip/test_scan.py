"""The pass before decoding: where things lie, and the numbers of protobuf."""

import pytest
from leanmesh.gossip import entries
from leanmesh.gossip.scan import RpcRefused, scan
from leanmesh.gossip.wire_params import BadWireLimit, OutboxLimits, WireLimits
from vectors import VectorCase, unhex, vector_cases

LIMITS = WireLimits()
# An unknown field of wire type varint.
UNKNOWN_NUMBER = b"\xa0\x06"


def test_places_of_messages_and_of_everything_else_are_told_apart():
    subscription, message = entries.subscription(True, "t"), entries.message(b"t", b"x" * 200)
    control = entries.control([entries.graft("t")])
    frame = subscription + message + UNKNOWN_NUMBER + b"\1" + control + message

    publishes, others = scan(frame, LIMITS)

    assert [(frame[start:end], body - start) for start, body, end in publishes] == [(message, 3)] * 2
    assert others is not None
    assert [frame[start:end] for start, _, end in others] == [subscription, control]


def test_a_frame_of_messages_has_nothing_else():
    assert scan(entries.message(b"t", b"data"), LIMITS)[1] is None
    assert scan(b"", LIMITS) == ([], None)


def test_an_error_says_which_limit_and_what_was_found():
    with pytest.raises(RpcRefused) as refused:
        scan(entries.subscription(True, "t" * 2_000), LIMITS)
    assert str(refused.value) == "RPC refused (topic_bytes): 2000 bytes in SubOpts"


@pytest.mark.parametrize(
    "control",
    [b"\x1a\x05\x0a\x01t", b"\x12\x02\x0a\x05", b"\x0a\x04\x0a\x00\x12\x05", b"\x0a\x02\x20\x80"],
    ids=["entry", "id of IWANT", "id of IHAVE", "number"],
)
def test_nothing_reaches_beyond_what_it_lies_in(control: bytes):
    with pytest.raises(RpcRefused) as refused:
        scan(entries.control([control]) + entries.message(b"t", b"data"), LIMITS)
    assert refused.value.reason == "malformed"


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_limit_that_nothing_passes_is_refused(value: float):
    with pytest.raises(BadWireLimit, match=f"publishes is {value}"):
        WireLimits(publishes=value)
    with pytest.raises(BadWireLimit):
        OutboxLimits(max_age_s=value)


@vector_cases("varint")
def test_vectors_of_numbers_end_where_they_should(case: VectorCase):
    encoded = unhex(case["output"]["encoded"])
    message = entries.message(b"t", b"data")
    frame = UNKNOWN_NUMBER + encoded + message

    assert [frame[start:end] for start, _, end in scan(frame, LIMITS)[0]] == [message]


@vector_cases("decode_failure/varint")
def test_vectors_of_malformed_numbers_are_refused(case: VectorCase):
    with pytest.raises(RpcRefused):
        scan(UNKNOWN_NUMBER + unhex(case["codec"]["rawBytes"]), LIMITS)
