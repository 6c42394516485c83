"""Bytes of a gossip frame to values, and back.

Decoding trusts nothing: `scan` has counted the frame before anything here makes an object.  Encoding is
deterministic, fields in the order of their numbers, which is also the form that signatures are made over.
"""

from google.protobuf.message import DecodeError

from leanmesh.gossip import entries, rpc_pb2
from leanmesh.gossip.rpc import Control, IHave, Message, PeerInfo, Prune, Rpc, Subscription
from leanmesh.gossip.scan import Place, RpcRefused, check_message, scan
from leanmesh.gossip.wire_params import WireLimits

_message_from_bytes = rpc_pb2.Message.FromString


def decode(frame: bytes | memoryview, limits: WireLimits) -> Rpc:
    """The RPC in a frame (without its length prefix).

    Raises RpcRefused, and nothing else, for whatever a peer may send.
    """
    if type(frame) is not bytes:
        frame = bytes(frame)
    publishes, others = scan(frame, limits)
    messages = [_message(frame, place, limits) for place in publishes]
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


def _message(frame: bytes, place: Place, limits: WireLimits) -> Message:
    start, body_start, end = place
    try:
        decoded = _message_from_bytes(frame[body_start:end])
        topic_bytes = decoded.topic
        topic = str(topic_bytes, "utf-8")
    except (DecodeError, UnicodeDecodeError) as error:
        raise RpcRefused("malformed", f"the message at byte {start}: {error}") from None
    data = decoded.data
    if len(topic_bytes) > limits.topic_bytes:
        raise RpcRefused("topic_bytes", f"{len(topic_bytes)} bytes in Message")
    # When the bytes are just as many as these two fields need, nothing else can be in them, and they
    # are what we would write.
    if end - start == entries.plain_message_size_bytes(len(data), len(topic_bytes)):
        return Message(topic, data, None, None, None, None, frame[start:end])
    # Absent and empty differ in what is signed, so what comes again must keep the difference.
    data_field = data if data or decoded.HasField("data") else None
    topic_field = topic_bytes if topic_bytes or decoded.HasField("topic") else None
    source = decoded.source if decoded.HasField("source") else None
    seqno = decoded.seqno if decoded.HasField("seqno") else None
    signature = decoded.signature if decoded.HasField("signature") else None
    key = decoded.key if decoded.HasField("key") else None
    if end - start == entries.message_size_bytes(topic_field, data_field, source, seqno, signature, key):
        return Message(topic, data, source, seqno, signature, key, frame[start:end])
    check_message(frame, body_start, end, limits)
    field = entries.message(topic_field, data_field, source, seqno, signature, key)
    return Message(topic, data, source, seqno, signature, key, field)


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
