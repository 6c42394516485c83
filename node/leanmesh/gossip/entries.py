"""The entries of an RPC as bytes: each complete with tag and length, ready to be joined.

Joining complete entries is all that protobuf asks of a repeated field, so an RPC never has to be built as an
object to be sent, and the size of one is known before it is made.
"""

from collections.abc import Iterable, Sequence

from leanmesh.gossip import rpc_pb2
from leanmesh.gossip.rpc import Message, Prune
from leanmesh.gossip.scan import CONTROL_TAG, PUBLISH_TAG, SUBSCRIPTION_TAG
from leanmesh.wire.varint import encode_varint

_DATA_TAG, _TOPIC_TAG = 0x12, 0x22
_IHAVE_TAG, _IWANT_TAG, _GRAFT_TAG, _PRUNE_TAG, _IDONTWANT_TAG = 0x0A, 0x12, 0x1A, 0x22, 0x2A


def delimited(tag: int, body: bytes) -> bytes:
    """A length-delimited field with a one-byte tag."""
    return b"%c%b%b" % (tag, encode_varint(len(body)), body)


def delimited_size_bytes(length: int) -> int:
    """The size of a length-delimited field with a one-byte tag and a body of `length` bytes."""
    if length < 0x80:
        return 2 + length
    if length < 0x4000:
        return 3 + length
    return 1 + len(encode_varint(length)) + length


def message_size_bytes(
    topic: bytes | None,
    data: bytes | None,
    source: bytes | None,
    seqno: bytes | None,
    signature: bytes | None,
    key: bytes | None,
) -> int:
    """The size of the publish entry that `message` would make."""
    size = 0
    for part in (topic, data, source, seqno, signature, key):
        if part is not None:
            size += delimited_size_bytes(len(part))
    return delimited_size_bytes(size)


def message_body(
    topic: bytes | None,
    data: bytes | None,
    source: bytes | None = None,
    seqno: bytes | None = None,
    signature: bytes | None = None,
    key: bytes | None = None,
) -> bytes:
    """The protobuf Message: the fields that are not None, in the order of their numbers."""
    parts = ((0x0A, source), (0x12, data), (0x1A, seqno), (0x22, topic), (0x2A, signature), (0x32, key))
    return b"".join([delimited(tag, part) for tag, part in parts if part is not None])


def message(
    topic: bytes | None,
    data: bytes | None,
    source: bytes | None = None,
    seqno: bytes | None = None,
    signature: bytes | None = None,
    key: bytes | None = None,
) -> bytes:
    """A publish entry."""
    return delimited(PUBLISH_TAG, message_body(topic, data, source, seqno, signature, key))


def largest_data_bytes(message: Message, limit_bytes: int) -> int:
    """How much data may stand in place of the message's own for its publish entry to keep a limit."""
    topic, rest = message.topic.encode(), (message.source, message.seqno, message.signature, message.key)
    rest_bytes = len(message_body(topic, None, *rest))
    size_bytes = limit_bytes
    # One by one: the lengths become shorter with what they count, the way is short, and only an error asks.
    while size_bytes > 0 and _entry_size_bytes(size_bytes, rest_bytes) > limit_bytes:
        size_bytes -= 1
    return size_bytes


def _entry_size_bytes(data_bytes: int, rest_bytes: int) -> int:
    return delimited_size_bytes(delimited_size_bytes(data_bytes) + rest_bytes)


def plain_message(topic: bytes, data: bytes) -> bytes:
    """The publish entry of data and topic alone: what `message` makes of them, in a third of the time."""
    size_bytes = delimited_size_bytes(len(data)) + delimited_size_bytes(len(topic))
    return b"%c%b%c%b%b%c%b%b" % (
        PUBLISH_TAG,
        encode_varint(size_bytes),
        _DATA_TAG,
        encode_varint(len(data)),
        data,
        _TOPIC_TAG,
        encode_varint(len(topic)),
        topic,
    )


def subscription(subscribe: bool, topic: str) -> bytes:
    """A subscription entry."""
    known = rpc_pb2.SubOpts(subscribe=subscribe, topic_id=topic.encode())
    return delimited(SUBSCRIPTION_TAG, known.SerializeToString())


def control(parts: Iterable[bytes]) -> bytes:
    """The control field, out of entries made by the functions below."""
    return delimited(CONTROL_TAG, b"".join(parts))


def _repeated(tag: int, values: Sequence[bytes]) -> bytes:
    """A repeated field of bytes with a one-byte tag.  Ids have one length on most networks: one join then."""
    sizes = set(map(len, values))
    if len(sizes) == 1 and (size_bytes := sizes.pop()) < 0x80:
        prefix = bytes((tag, size_bytes))
        return prefix + prefix.join(values)
    return b"".join([delimited(tag, value) for value in values])


def ihave(topic: str, message_ids: Sequence[bytes]) -> bytes:
    """One IHAVE entry of the control field."""
    return delimited(_IHAVE_TAG, delimited(0x0A, topic.encode()) + _repeated(0x12, message_ids))


def iwant(message_ids: Sequence[bytes]) -> bytes:
    """One IWANT entry of the control field."""
    return delimited(_IWANT_TAG, _repeated(0x0A, message_ids))


def graft(topic: str) -> bytes:
    """One GRAFT entry of the control field."""
    return delimited(_GRAFT_TAG, rpc_pb2.ControlGraft(topic_id=topic.encode() or None).SerializeToString())


def prune(value: Prune) -> bytes:
    """One PRUNE entry of the control field."""
    known = rpc_pb2.ControlPrune(
        topic_id=value.topic.encode(),
        backoff=value.backoff_s,
        peers=[
            rpc_pb2.PeerInfo(peer_id=peer.peer_id, signed_peer_record=peer.signed_peer_record)
            for peer in value.peers
        ],
    )
    return delimited(_PRUNE_TAG, known.SerializeToString())


def idontwant(message_ids: Sequence[bytes]) -> bytes:
    """One IDONTWANT entry of the control field."""
    return delimited(_IDONTWANT_TAG, _repeated(0x0A, message_ids))
