"""Frames of a gossip stream: what they become, and what is refused before it costs anything."""

import tracemalloc

import attrs
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from leanmesh.errors import RemoteError
from leanmesh.gossip import entries, rpc_pb2, wire
from leanmesh.gossip.rpc import Control, IHave, Message, PeerInfo, Prune, Rpc, Subscription
from leanmesh.gossip.scan import RpcRefused
from leanmesh.gossip.wire_params import WireLimits
from leanmesh.wire.varint import encode_varint
from vectors import VectorCase, unhex, vector_cases

LIMITS = WireLimits()
TIGHT = WireLimits(
    subscriptions=3,
    publishes=3,
    control_entries=4,
    message_ids=5,
    message_id_bytes=8,
    topic_bytes=16,
    px_peers=2,
    fields=60,
    unknown_fields=2,
)
TEST_EXTENSION = encode_varint(6492434 << 3 | 2) + b"\0"


def message_of(topic: str, data: bytes, *optional: bytes | None) -> Message:
    source, seqno, signature, key = optional or (None, None, None, None)
    field = entries.message(topic.encode(), data, source, seqno, signature, key)
    return Message(topic, data, source, seqno, signature, key, field)


def with_padded_length(field: bytes) -> bytes:
    """The same publish entry, its length written with one byte too many."""
    body = rpc_pb2.RPC.FromString(field).publish[0].SerializeToString()
    length = bytearray(encode_varint(len(body)))
    length[-1] |= 0x80
    return b"\x12" + bytes(length) + b"\0" + body


topics = st.text(max_size=12)
ids = st.lists(st.binary(max_size=8), max_size=4)
maybe = st.none() | st.binary(max_size=70)
messages = st.builds(
    message_of, topics, st.binary(max_size=300) | st.just(b"x" * 20_000), maybe, maybe, maybe, maybe
)
peer_infos = st.builds(PeerInfo, st.binary(max_size=40), maybe)
controls = st.builds(
    Control,
    st.lists(st.builds(IHave, topics, ids), max_size=3),
    ids,
    st.lists(topics, max_size=3),
    st.lists(
        st.builds(Prune, topics, st.none() | st.integers(0, 2**64 - 1), st.lists(peer_infos, max_size=2)),
        max_size=3,
    ),
    ids,
)
rpcs = st.builds(
    Rpc,
    st.lists(st.builds(Subscription, st.booleans(), topics), max_size=3),
    st.lists(messages, max_size=3),
    st.none() | controls,
)


def said(rpc: Rpc) -> Rpc:
    """The RPC, an empty control part being none."""
    return Rpc(rpc.subscriptions, rpc.publish, None if rpc.control == Control() else rpc.control)


@given(rpcs)
def test_what_is_encoded_is_decoded(rpc: Rpc):
    assert wire.decode(wire.encode(rpc), LIMITS) == said(rpc)


@given(rpcs)
def test_the_protobuf_library_reads_what_we_write_and_writes_the_same(rpc: Rpc):
    encoded = wire.encode(Rpc(rpc.subscriptions, rpc.publish))
    assert rpc_pb2.RPC.FromString(encoded).SerializeToString() == encoded


def test_a_forwarded_message_goes_out_as_it_came():
    first = message_of("t", b"a" * 1024)
    signed = message_of("t", b"b" * 200, b"author", b"12345678", b"s" * 64, None)
    frame = entries.subscription(True, "t") + first.field + signed.field

    assert wire.decode(frame, LIMITS).publish == [first, signed]


@pytest.mark.parametrize(
    "data", [b"", b"a", b"a" * 127, b"a" * 128, b"a" * 16_383, b"a" * 16_384, b"a" * 70_000]
)
@pytest.mark.parametrize("topic", ["", "t", "t" * 127, "t" * 128, "t" * 1024])
def test_messages_of_every_length_class_are_read(topic: str, data: bytes):
    message = message_of(topic, data)
    assert wire.decode(message.field * 2, LIMITS) == Rpc([], [message, message])


def test_a_padded_message_is_encoded_again():
    message = message_of("t", b"data")
    padded = with_padded_length(message.field)

    assert wire.decode(padded, LIMITS).publish == [message]


def test_a_message_with_a_padded_data_length_is_encoded_again():
    message = message_of("t", b"data")
    body = b"\x12\x84\x00data\x22\x01t"

    assert wire.decode(entries.delimited(0x12, body), LIMITS).publish == [message]


def test_a_message_whose_publish_tag_is_padded_is_encoded_again():
    message = message_of("t", b"data")
    assert wire.decode(b"\x92\x00" + message.field[1:], LIMITS).publish == [message]


def test_fields_we_do_not_know_are_dropped_from_a_forwarded_message():
    message = message_of("t", b"data")
    extended = entries.delimited(0x12, message.field[2:] + b"\x7a\x03new")

    assert wire.decode(extended, LIMITS).publish == [message]


def test_of_a_field_that_comes_twice_the_last_one_counts():
    body = b"\x12\x03one\x22\x01t\x12\x03two"
    assert wire.decode(entries.delimited(0x12, body), LIMITS).publish == [message_of("t", b"two")]


def test_absent_and_empty_fields_of_a_message_stay_apart():
    message = message_of("t", b"data", b"", None, b"", None)
    decoded = wire.decode(message.field, LIMITS).publish[0]

    assert (decoded.source, decoded.seqno, decoded.signature, decoded.key) == (b"", None, b"", None)
    assert decoded.field == message.field


def test_a_message_without_data_stays_without_data():
    field = entries.message(b"t", None)
    assert wire.decode(field, LIMITS).publish == [Message("t", b"", None, None, None, None, field)]


def test_two_control_parts_in_one_frame_count_as_one():
    frame = entries.control([entries.graft("a")]) + entries.control([entries.graft("b")])
    assert wire.decode(frame, LIMITS).control == Control(graft=["a", "b"])


def test_extensions_and_unknown_fields_are_passed_over():
    partial = b"\x52\x02\x0a\x00"
    fixed = b"\xa1\x06" + bytes(8) + b"\xa5\x06" + bytes(4) + b"\xa0\x06\x01"
    control_extensions = b"\x32\x02\x50\x01"
    frame = TEST_EXTENSION + partial + fixed + entries.control([entries.graft("t"), control_extensions])

    assert wire.decode(frame, LIMITS) == Rpc([], [], Control(graft=["t"]))


@pytest.mark.parametrize(
    "frame",
    [
        # What go from v0.16 on says to one who takes a thousand topics.
        entries.delimited(0x0A, b"\x08\x01\x12\x01t\x18\x00\x20\x01") * 1_000,
        b"\x52\x00" * 1_000,
        TEST_EXTENSION * 1_000,
        entries.control([b"\x32\x02\x50\x01"] * 1_000),
    ],
    ids=["SubOpts", "partial messages", "test extension", "ControlExtensions"],
)
def test_fields_of_extensions_are_not_counted_as_unknown(frame: bytes):
    assert wire.decode(frame, LIMITS).publish == []
    with pytest.raises(RpcRefused) as refused:
        wire.decode(frame, attrs.evolve(LIMITS, fields=999))
    assert refused.value.reason == "fields"


def test_a_memoryview_is_read_like_bytes():
    message = message_of("t", b"data")
    assert wire.decode(memoryview(message.field), LIMITS) == Rpc([], [message])


def test_the_backoff_of_a_prune_is_handed_on_as_it_came():
    frame = entries.control([entries.prune(Prune("t", 2**64 - 1))])
    assert wire.decode(frame, LIMITS).control == Control(prune=[Prune("t", 2**64 - 1)])


GRAFT = entries.graft("t")
REFUSED = {
    "subscriptions": entries.subscription(True, "t") * 4,
    "publishes": message_of("t", b"").field * 4,
    "control_entries": entries.control([GRAFT] * 4),
    "message_ids": entries.control(
        [entries.ihave("t", [b"1", b"2"]), entries.iwant([b"3", b"4", b"5", b"6"])]
    ),
    "message_id_bytes": entries.control([entries.idontwant([b"123456789"])]),
    "topic_bytes": entries.subscription(True, "t" * 17),
    "px_peers": entries.control([entries.prune(Prune("t", 1, [PeerInfo(b"p")] * 3))]),
    "fields": entries.delimited(0x0A, b"\x08\x01" * 60),
    "unknown_fields": b"\x20\x01" * 3,
}


@pytest.mark.parametrize(("reason", "frame"), REFUSED.items(), ids=REFUSED.keys())
def test_one_more_than_a_limit_is_refused_and_the_limit_is_named(reason: str, frame: bytes):
    with pytest.raises(RpcRefused) as refused:
        wire.decode(frame, TIGHT)
    assert refused.value.reason == reason


def test_exactly_as_many_as_the_limits_allow_are_taken():
    frame = wire.encode(
        Rpc(
            [Subscription(True, "t" * 16)] * 3,
            [message_of("t" * 16, b"d")] * 3,
            Control(
                [IHave("t", [b"12345678"] * 2)], [b"3", b"4", b"5"], [], [Prune("t", 1, [PeerInfo(b"p")] * 2)]
            ),
        )
    )
    decoded = wire.decode(frame + b"\x20\x01" * 2, TIGHT)
    assert (len(decoded.subscriptions), len(decoded.publish)) == (3, 3)


@pytest.mark.parametrize("extra", [b"\x22\x11" + b"t" * 17, b"\x22\x90\x00" + b"t" * 17])
def test_the_topic_of_a_message_is_bounded_on_every_path(extra: bytes):
    with pytest.raises(RpcRefused):
        wire.decode(entries.delimited(0x12, b"\x12\x01d" + extra), TIGHT)


def test_repeated_fields_of_all_messages_share_one_budget():
    message = entries.delimited(0x12, b"\x22\x01t" * 25)
    assert len(wire.decode(message * 2, TIGHT).publish) == 2
    with pytest.raises(RpcRefused) as refused:
        wire.decode(message * 3, TIGHT)
    assert refused.value.reason == "fields"


MALFORMED = {
    "a wire type that does not exist": b"\x0e",
    "a wire type that does not exist, in a message": entries.delimited(0x12, b"\x22\x01t\x7f"),
    "a group around the RPC": b"\x0b\x0c",
    "a group in a message": entries.delimited(0x12, b"\x22\x01t\x7b\x7c"),
    "a group in a control entry": entries.control([entries.delimited(0x1A, b"\x7b\x7c")]),
    "the end of a group without its start": b"\x0c",
    "field number zero": b"\x02\x00",
    "a field number above 2^29": b"\xfa\xff\xff\xff\xff\x01\x00",
    "subscriptions as a number": b"\x08\x01",
    "publish as a number": b"\x10\x01",
    "subscribe as bytes": entries.delimited(0x0A, b"\x0a\x01\x01"),
    "a topic as a number": entries.delimited(0x12, b"\x20\x01"),
    "a length that is cut off": b"\x12\x80",
    "a length of eleven bytes": b"\x12" + b"\x80" * 10 + b"\x01",
    "a length beyond 64 bits": b"\x12" + b"\xff" * 9 + b"\x7f",
    "a publish longer than the frame": b"\x12\x05abc",
    "a publish one byte longer than the frame": b"\x12\x05\x12\x00\x22\x00",
    "a topic one byte longer than its message": entries.delimited(
        0x12, b"\x12\x01d\x22\x82\x01" + b"t" * 129
    ),
    "a number beyond 64 bits that nobody asked for": b"\xa0\x06" + b"\xff" * 9 + b"\x7f",
    "a message that ends inside a field": entries.delimited(0x12, b"\x12\x05abc"),
    "a message whose data runs into the next": entries.delimited(0x12, b"\x12\x03ab") + b"\x22\x01t",
    "a control entry longer than the control part": b"\x1a\x03\x1a\x05\x0a\x01t",
    "an id longer than its entry": entries.control([b"\x12\x02\x0a\x05"]) + b"12345",
    "a fixed64 that is cut off": b"\xa1\x06\x00",
    "a fixed32 that is cut off": b"\xa5\x06\x00",
    "a varint that is cut off": b"\xa0\x06\x80",
    "a message topic that is not UTF-8": entries.message(b"\xff\xfe", b"data"),
    "a signed message topic that is not UTF-8": entries.message(b"\xff\xfe", b"data", b"source"),
    "a subscription topic that is not UTF-8": entries.delimited(0x0A, b"\x08\x01\x12\x01\xff"),
    "a GRAFT topic that is not UTF-8": entries.control([entries.delimited(0x1A, b"\x0a\x01\xff")]),
}


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_frame_is_refused(frame: bytes):
    with pytest.raises(RpcRefused) as refused:
        wire.decode(frame, LIMITS)
    assert refused.value.reason == "malformed"


def padded(number: int, size_bytes: int) -> bytes:
    """The number as a varint of so many bytes, or as few as it needs."""
    encoded = encode_varint(number)
    padding = size_bytes - len(encoded)
    if padding <= 0:
        return encoded
    return encoded[:-1] + bytes((encoded[-1] | 0x80,)) + b"\x80" * (padding - 1) + b"\0"


def padded_field(tag: int, body: bytes, tag_bytes: int = 1, length_bytes: int = 1) -> bytes:
    return padded(tag, tag_bytes) + padded(len(body), length_bytes) + body


UNKNOWN_TAG = 0xA2  # Field 20, with a length.
MESSAGE_BODY = b"\x12\x04data\x22\x01t"
PADDED = {
    "tag of a publish": lambda n: padded_field(0x12, MESSAGE_BODY, n),
    "length of a publish": lambda n: padded_field(0x12, MESSAGE_BODY, 1, n),
    "tag in a publish": lambda n: entries.delimited(0x12, padded_field(0x12, b"data", n) + b"\x22\x01t"),
    "length in a publish": lambda n: entries.delimited(0x12, padded_field(0x12, b"d", 1, n) + b"\x22\x01t"),
    "tag of a subscription": lambda n: padded_field(0x0A, b"\x08\x01\x12\x01t", n),
    "length of a subscription": lambda n: padded_field(0x0A, b"\x08\x01\x12\x01t", 1, n),
    "number in a subscription": lambda n: entries.delimited(0x0A, b"\x08" + padded(1, n) + b"\x12\x01t"),
    "tag of control": lambda n: padded_field(0x1A, b"", n),
    "length of control": lambda n: padded_field(0x1A, b"", 1, n),
    "tag in control": lambda n: entries.control([padded_field(0x1A, b"\x0a\x01t", n)]),
    "length in control": lambda n: entries.control([padded_field(0x1A, b"\x0a\x01t", 1, n)]),
    "length of an id": lambda n: entries.control([entries.delimited(0x12, padded_field(0x0A, b"i", 1, n))]),
    "unknown tag": lambda n: padded_field(UNKNOWN_TAG, b"x", n),
    "unknown length": lambda n: padded_field(UNKNOWN_TAG, b"x", 1, n),
    "unknown number": lambda n: b"\xa0\x01" + padded(1, n),
    "unknown tag in a publish": lambda n: entries.delimited(
        0x12, MESSAGE_BODY + padded_field(UNKNOWN_TAG, b"x", n)
    ),
    "unknown tag in control": lambda n: entries.control([padded_field(UNKNOWN_TAG, b"x", n)]),
}


@pytest.mark.parametrize("size_bytes", range(1, 12))
@pytest.mark.parametrize("place", PADDED)
def test_a_padded_number_is_taken_where_protobuf_takes_it(place: str, size_bytes: int):
    """What is padded too far for others is not passed on, nor acted upon, by us alone."""
    frame = PADDED[place](size_bytes)
    try:
        known = rpc_pb2.RPC.FromString(frame)
    except DecodeError:
        with pytest.raises(RpcRefused) as refused:
            wire.decode(frame, LIMITS)
        assert refused.value.reason == "malformed"
        return
    decoded = wire.decode(frame, LIMITS)
    assert [(each.topic, each.data) for each in decoded.publish] == [
        (str(each.topic, "utf-8"), each.data) for each in known.publish
    ]
    assert decoded.control == wire.decode(known.SerializeToString(), LIMITS).control
    assert decoded.subscriptions == wire.decode(known.SerializeToString(), LIMITS).subscriptions


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_a_remote_error(frame: bytes):
    decode_or_refuse(frame)


@given(rpcs, st.data())
@settings(max_examples=300)
def test_mutated_frames_raise_nothing_but_a_remote_error(rpc: Rpc, data: st.DataObject):
    frame = bytearray(wire.encode(rpc))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(frame)))
        frame[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    decode_or_refuse(bytes(frame))


def decode_or_refuse(frame: bytes) -> None:
    try:
        rpc = wire.decode(frame, TIGHT)
    except RemoteError:
        return
    # What was taken is also what goes on: decoding it again gives the same.
    assert wire.decode(wire.encode(rpc), LIMITS) == said(rpc)


BOMBS = {
    "350,000 subscriptions (CVE-2026-46679)": b"\x0a\x0a\x08\x01\x12\x06abcdef" * 350_000,
    "empty subscriptions": b"\x0a\x00" * 500_000,
    "empty messages": b"\x12\x00" * 500_000,
    "empty control parts": b"\x1a\x00" * 500_000,
    "empty control entries": entries.control([b"\x1a\x00"] * 500_000),
    "empty ids": entries.control([entries.delimited(0x0A, b"\x12\x00" * 500_000)]),
    "one field of a message again and again": entries.delimited(0x12, b"\x22\x00" * 500_000),
    "unknown fields of a message": entries.delimited(0x12, b"\x78\x00" * 500_000),
    "unknown fields": b"\x78\x00" * 500_000,
}


@pytest.mark.parametrize("frame", BOMBS.values(), ids=BOMBS.keys())
def test_counting_comes_before_making_objects(frame: bytes):
    tracemalloc.start()
    try:
        with pytest.raises(RpcRefused):
            wire.decode(frame, LIMITS)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * len(frame)


# What others' code writes.


@vector_cases("gossipsub_rpc")
def test_vectors_of_rpcs_are_read_and_written(case: VectorCase):
    codec, encoded = case["codec"], unhex(case["output"]["encoded"])
    rpc = rpc_of(codec)

    assert wire.decode(encoded, LIMITS) == said(rpc)
    assert wire.encode(rpc) == encoded


@vector_cases("decode_failure/gossipsub_rpc")
def test_vectors_of_refused_rpcs_are_refused(case: VectorCase):
    with pytest.raises(RpcRefused):
        wire.decode(unhex(case["codec"]["rawBytes"]), LIMITS)


def rpc_of(codec: dict) -> Rpc:
    """The RPC that a vector describes."""
    publish = []
    for each in codec["publish"]:
        data = unhex(each["data"]) if "data" in each else None
        field = entries.message(each["topic"].encode(), data)
        publish.append(Message(each["topic"], data or b"", None, None, None, None, field))
    subscriptions = [Subscription(each["subscribe"], each["topicId"]) for each in codec["subscriptions"]]
    return Rpc(subscriptions, publish, control_of(codec["control"]) if "control" in codec else None)


def control_of(control: dict) -> Control:
    def ids_of(each: dict) -> list[bytes]:
        return [unhex(message_id) for message_id in each["messageIds"]]

    return Control(
        [IHave(each["topicId"], ids_of(each)) for each in control["ihave"]],
        [message_id for each in control["iwant"] for message_id in ids_of(each)],
        [each["topicId"] for each in control["graft"]],
        [Prune(each["topicId"], each.get("backoff")) for each in control["prune"]],
        [message_id for each in control["idontwant"] for message_id in ids_of(each)],
    )
