"""A frame of a gossip stream: decoded, judged by both policies, and sent on."""

from leanmesh.gossip import entries, rpc_pb2, wire
from leanmesh.gossip.dialect import Dialect
from leanmesh.gossip.outbox import Outbox
from leanmesh.gossip.rpc import Control, IHave, PeerInfo, Prune, Rpc, Subscription
from leanmesh.gossip.signing import SignaturePolicy, Signer, check, plain_message
from leanmesh.gossip.wire_params import OutboxLimits, WireLimits
from leanmesh.identity.keys import KeyKind, PrivateKey
from leanmesh.wire.varint import decode_varint

LIMITS = WireLimits(
    subscriptions=20,
    publishes=20,
    control_entries=40,
    message_ids=60,
    px_peers=10,
    fields=300,
    unknown_fields=20,
)
SIGNED = [
    Signer(PrivateKey.of_kind(kind, b"\x01" * 32)).message("topic", b"data", 7)
    for kind in (KeyKind.ED25519, KeyKind.SECP256K1)
]
CONTROL = Control(
    [IHave("topic", [b"id-1", b"id-2"])],
    [b"id-3"],
    ["topic"],
    [Prune("topic", 60, [PeerInfo(b"peer", b"record"), PeerInfo(b"peer")])],
    [b"id-4"],
)
PLAIN = [plain_message("topic", b"x" * size) for size in (0, 1, 200)]
SEEDS = [
    PLAIN[2].field,
    wire.encode(Rpc([Subscription(True, "topic"), Subscription(False, "other")], PLAIN, CONTROL)),
    *(message.field for message in SIGNED),
    # A subscription and control with extensions.
    entries.delimited(0x0A, b"\x08\x01\x12\x05topic\x18\x00\x20\x01")
    + entries.control([entries.graft("topic"), b"\x32\x02\x50\x01"]),
    # An extension, unknown fields of each wire type, and padding.
    b"\x52\x02\x0a\x00\xa1\x06"
    + bytes(8)
    + b"\xa5\x06"
    + bytes(4)
    + b"\xa0\x06\x01"
    + b"\x92\x00"
    + PLAIN[1].field[1:],
    entries.delimited(0x12, b"\x12\x84\x00data\x22\x05topic\x7a\x01x"),
]


def target(data: bytes) -> None:
    rpc = wire.decode(data, LIMITS)
    agrees_with_protobuf(rpc, data)
    outbox = Outbox(Dialect(), OutboxLimits())
    for number, message in enumerate(rpc.publish):
        for policy in SignaturePolicy:
            check(message, policy)
        outbox.put(b"%d" % number, message.field, 0.0)
    # What we pass on is decoded alike, and is passed on unchanged from there.
    passed_on = []
    for each in outbox.drain(1 << 20):
        _, start = decode_varint(each)
        passed_on += wire.decode(each[start:], LIMITS).publish
    assert passed_on == rpc.publish


def agrees_with_protobuf(rpc: Rpc, data: bytes) -> None:
    """The library, which counts nothing, must have read the same."""
    known = rpc_pb2.RPC.FromString(data)
    assert [(each.topic.decode(), each.data) for each in known.publish] == [
        (message.topic, message.data) for message in rpc.publish
    ]
    assert [(each.source, each.seqno, each.signature, each.key) for each in known.publish] == [
        (message.source or b"", message.seqno or b"", message.signature or b"", message.key or b"")
        for message in rpc.publish
    ]
    assert [(each.subscribe, each.topic_id.decode()) for each in known.subscriptions] == [
        (subscription.subscribe, subscription.topic) for subscription in rpc.subscriptions
    ]
    control = rpc.control or Control()
    assert [each.topic_id.decode() for each in known.control.graft] == control.graft
    assert [len(each.peers) for each in known.control.prune] == [len(prune.peers) for prune in control.prune]
