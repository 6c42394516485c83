"""Bytes of a gossip frame to values, and back.

Decoding trusts nothing: `scan` has counted the frame before anything here makes an object.  Encoding is
deterministic, fields in the order of their numbers, which is also the form that signatures are made over.
"""

from typing import Final

from google.protobuf.message import DecodeError

from leanmesh.gossip import entries, rpc_pb2
from leanmesh.gossip.rpc import Control, IHave, Message, PeerInfo, Prune, Rpc, Subscription
from leanmesh.gossip.scan import Place, RpcRefused, check_messages, scan
from leanmesh.gossip.wire_params import WireLimits

_DATA_TAG: Final = 0x12
_TOPIC_TAG: Final = 0x22


def decode(frame: bytes | memoryview, limits: WireLimits) -> Rpc:
    """The RPC in a frame (without its length prefix).

    Raises RpcRefused, and nothing else, for whatever a peer may send.
    """
    if type(frame) is not bytes:
        frame = bytes(frame)
    publishes, others = scan(frame, limits)
    odd: list[Place] = []
    messages = [_message(frame, place, limits, odd) for place in publishes]
    if odd:
        check_messages(frame, odd, limits)
    if others is None:
        return Rpc([], messages, None)
    return _with_others(frame, others, messages)


def encode(rpc: Rpc) -> bytes:
    """The frame (without its length prefix) that says the same, however large it becomes."""
    control = rpc.control
    control_entries: list[bytes] = []
    if control is not None:
        control_entries += [entries.ihave(have.topic, have.message_ids) for have in control.ihave]
        if control.iwant:
            control_entries.append(entries.iwant(control.iwant))
        control_entries += [entries.graft(topic) for topic in control.graft]
        control_entries += [entries.prune(prune) for prune in control.prune]
        if control.idontwant:
            control_entries.append(entries.idontwant(control.idontwant))
    parts = [entries.subscription(each.subscribe, each.topic) for each in rpc.subscriptions]
    parts += [message.field for message in rpc.publish]
    if control_entries:
        parts.append(entries.control(control_entries))
    return b"".join(parts)


def _message(frame: bytes, place: Place, limits: WireLimits, odd: list[Place]) -> Message:
    """Most messages of unsigned networks by hand, which costs two thirds; all others the general way.

    By hand means: data and topic alone, written as we would write them, data below 16 KiB, topic below 128
    bytes (and so below any sensible limit, which is still asked).
    """
    start, position, end = place
    size_bytes = end - position
    try:
        if frame[position] == _DATA_TAG and position - start == (2 if size_bytes < 0x80 else 3):
            data_bytes = frame[position + 1]
            position += 2
            if data_bytes > 0x7F:
                high = frame[position]
                position += 1
                # One byte of zero would be padding, a third byte is for the general way.
                data_bytes = data_bytes - 0x80 + (high << 7) if 0 < high < 0x80 else end
            topic_start = position + data_bytes + 2
            topic_bytes = frame[topic_start - 1]
            if (
                frame[topic_start - 2] == _TOPIC_TAG
                and topic_start + topic_bytes == end
                and topic_bytes < 0x80
                and topic_bytes <= limits.topic_bytes
            ):
                topic = frame[topic_start:end].decode()
                data = frame[position : topic_start - 2]
                return Message(topic, data, None, None, None, None, frame[start:end])
    except (IndexError, UnicodeDecodeError):
        # Ill-formed: the general way says what is wrong.
        pass
    return _any_message(frame, place, limits, odd)


def _any_message(frame: bytes, place: Place, limits: WireLimits, odd: list[Place]) -> Message:
    """Any message; `odd` gets the place of one that is not written as we would."""
    start, body_start, end = place
    try:
        decoded = rpc_pb2.Message.FromString(frame[body_start:end])
        topic = str(decoded.topic, "utf-8")
    except (DecodeError, UnicodeDecodeError) as error:
        raise RpcRefused("malformed", f"the message at byte {start}: {error}") from None
    if len(decoded.topic) > limits.topic_bytes:
        raise RpcRefused("topic_bytes", f"{len(decoded.topic)} bytes in Message")
    # Absent and empty differ in what is signed, so what goes on must keep the difference.
    is_there = decoded.HasField
    data_field = decoded.data or (b"" if is_there("data") else None)
    topic_field = decoded.topic or (b"" if is_there("topic") else None)
    source = decoded.source or (b"" if is_there("source") else None)
    seqno = decoded.seqno or (b"" if is_there("seqno") else None)
    signature = decoded.signature or (b"" if is_there("signature") else None)
    key = decoded.key or (b"" if is_there("key") else None)
    if end - start == entries.message_size_bytes(topic_field, data_field, source, seqno, signature, key):
        # As many bytes as we would need: nothing unknown is in them, and they go on as they came.
        field = frame[start:end]
    else:
        odd.append(place)
        field = entries.message(topic_field, data_field, source, seqno, signature, key)
    return Message(topic, data_field or b"", source, seqno, signature, key, field)


def _with_others(frame: bytes, others: list[Place], messages: list[Message]) -> Rpc:
    """Subscriptions and control, merged as protobuf merges a field that comes twice."""
    known = rpc_pb2.RPC()
    try:
        for start, _, end in others:
            known.MergeFromString(frame[start:end])
        subscriptions = [
            Subscription(each.subscribe, str(each.topic_id, "utf-8")) for each in known.subscriptions
        ]
        control = _control(known.control) if known.HasField("control") else None
    except (DecodeError, UnicodeDecodeError) as error:
        raise RpcRefused("malformed", str(error)) from None
    return Rpc(subscriptions, messages, control)


def _control(known: rpc_pb2.ControlMessage) -> Control:
    return Control(
        [IHave(str(have.topic_id, "utf-8"), list(have.message_ids)) for have in known.ihave],
        [message_id for want in known.iwant for message_id in want.message_ids],
        [str(graft.topic_id, "utf-8") for graft in known.graft],
        [_prune(prune) for prune in known.prune],
        [message_id for entry in known.idontwant for message_id in entry.message_ids],
    )


def _prune(known: rpc_pb2.ControlPrune) -> Prune:
    peers = [
        PeerInfo(peer.peer_id, peer.signed_peer_record if peer.HasField("signed_peer_record") else None)
        for peer in known.peers
    ]
    return Prune(str(known.topic_id, "utf-8"), known.backoff if known.HasField("backoff") else None, peers)
