"""The trace: what happens in one network as JSON lines, in the vocabulary of go-libp2p-pubsub's trace events.

A line is laid out as ProbeLab's Hermes does it: Type, PeerID (ours), Timestamp,
Data.  Lines about messages are sampled by message id, so that a message has all
of its lines or none; the others are always there.  docs/trace.md lists the types.

Lines are put together by hand: they are made in the router's pass, and json.dumps
takes three times as long.  Peer ids and hex need no escaping; topics are escaped once.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

import attrs

from leanmesh.gossip.observer import (
    GraftReason,
    IgnoreReason,
    Observer,
    PruneReason,
    RejectReason,
    ThrottleReason,
)
from leanmesh.identity.peer_id import PeerId
from leanmesh.metrics.sampling import sampling_mask
from leanmesh.transport.interface import Connection

# Our reasons in go-libp2p-pubsub's words; what it has no word for is a failed validation.
REJECT_TEXTS = {
    RejectReason.SIGNATURE: "invalid signature",
    RejectReason.POLICY: "unexpected auth info",
    ThrottleReason.GLOBAL: "validation queue full",
    ThrottleReason.BYTES: "validation queue full",
    ThrottleReason.TOPIC: "validation throttled",
    ThrottleReason.PEER: "validation throttled",
    IgnoreReason.OWN: "self originated message",
}
# Topics are few; what peers name besides must not push them out for long.
TEXTS_LIMIT = 4096


@lru_cache(maxsize=TEXTS_LIMIT)
def _text(topic: str) -> str:
    return json.dumps(topic)


@attrs.define(eq=False)
class Trace(Observer):
    """Puts a line for each event of one network.  `put` must not wait."""

    peer: PeerId
    put: Callable[[bytes], None]
    sample_rate: int = 1
    wall_clock: Callable[[], float] = time.time
    _mask: int = attrs.field(init=False)
    # Who and when: the same for every line of one chunk of input.
    _stamped_s: float = attrs.field(default=float("nan"), init=False)
    _stamp: str = attrs.field(default="", init=False)
    _met: dict[Connection, tuple[str, str]] = attrs.field(
        factory=dict[Connection, tuple[str, str]], init=False
    )

    def __attrs_post_init__(self) -> None:
        self._mask = sampling_mask(self.sample_rate)

    def _line(self, event: str, data: str, now_s: float) -> None:
        if now_s != self._stamped_s:
            self._stamped_s = now_s
            self._stamp = f'"PeerID":"{self.peer}","Timestamp":"{_timestamp(self.wall_clock())}"'
        self.put(f'{{"Type":"{event}",{self._stamp},"Data":{{{data}}}}}\n'.encode())

    # Topics, peers, the mesh.

    def joined(self, topic: str, now_s: float) -> None:
        """See Observer."""
        self._line("JOIN", f'"Topic":{_text(topic)}', now_s)

    def left(self, topic: str, now_s: float) -> None:
        """See Observer."""
        self._line("LEAVE", f'"Topic":{_text(topic)}', now_s)

    def peer_added(self, peer: PeerId, protocol: str, now_s: float) -> None:
        """See Observer."""
        self._line("ADD_PEER", f'"PeerID":"{peer}","Protocol":{_text(protocol)}', now_s)

    def peer_removed(self, peer: PeerId, protocol: str, now_s: float) -> None:
        """See Observer."""
        self._line("REMOVE_PEER", f'"PeerID":"{peer}"', now_s)

    def grafted(self, peer: PeerId, topic: str, reason: GraftReason, now_s: float) -> None:
        """See Observer."""
        self._line("GRAFT", f'"PeerID":"{peer}","Topic":{_text(topic)},"Reason":"{reason}"', now_s)

    def pruned(self, peer: PeerId, topic: str, reason: PruneReason, now_s: float) -> None:
        """See Observer."""
        self._line("PRUNE", f'"PeerID":"{peer}","Topic":{_text(topic)},"Reason":"{reason}"', now_s)

    # Messages.

    def accepted(self, peer: PeerId, topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        if not hash(message_id) & self._mask:
            self._line("DELIVER_MESSAGE", _message(peer, topic, message_id, size_bytes), now_s)

    def duplicate(self, peer: PeerId, topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """See Observer."""
        if not hash(message_id) & self._mask:
            self._line("DUPLICATE_MESSAGE", _message(peer, topic, message_id, size_bytes), now_s)

    def rejected(
        self,
        peer: PeerId,
        topic: str,
        message_id: bytes | None,
        size_bytes: int,
        reason: RejectReason,
        now_s: float,
    ) -> None:
        """See Observer."""
        self._reject(
            peer, topic, message_id, size_bytes, REJECT_TEXTS.get(reason, "validation failed"), reason, now_s
        )

    def ignored(
        self,
        peer: PeerId,
        topic: str,
        message_id: bytes | None,
        size_bytes: int,
        reason: IgnoreReason,
        now_s: float,
    ) -> None:
        """See Observer."""
        text = REJECT_TEXTS.get(reason, "validation ignored")
        self._reject(peer, topic, message_id, size_bytes, text, reason, now_s)

    def throttled(
        self,
        peer: PeerId,
        topic: str,
        message_id: bytes,
        size_bytes: int,
        reason: ThrottleReason,
        now_s: float,
    ) -> None:
        """See Observer."""
        self._reject(peer, topic, message_id, size_bytes, REJECT_TEXTS[reason], reason, now_s)

    def _reject(
        self,
        peer: PeerId,
        topic: str,
        message_id: bytes | None,
        size_bytes: int,
        text: str,
        reason: str,
        now_s: float,
    ) -> None:
        if message_id is None or not hash(message_id) & self._mask:
            data = _message(peer, topic, message_id or b"", size_bytes)
            self._line("REJECT_MESSAGE", f'{data},"Reason":"{text}","Cause":"{reason}"', now_s)

    def published(
        self, topic: str, message_id: bytes, size_bytes: int, recipients: Sequence[PeerId], now_s: float
    ) -> None:
        """See Observer."""
        if not hash(message_id) & self._mask:
            self._line("PUBLISH_MESSAGE", f'"MsgID":"{message_id.hex()}","Topic":{_text(topic)}', now_s)

    # Gossip.

    def ihave_sent(self, peer: PeerId, topic: str, message_ids: Sequence[bytes], now_s: float) -> None:
        """See Observer."""
        self._control("SEND_RPC", peer, "IHave", message_ids, now_s, f'"TopicID":{_text(topic)},')

    def ihave_received(self, peer: PeerId, topic: str, message_ids: Sequence[bytes], now_s: float) -> None:
        """See Observer."""
        self._control("RECV_RPC", peer, "IHave", message_ids, now_s, f'"TopicID":{_text(topic)},')

    def iwant_sent(self, peer: PeerId, message_ids: Sequence[bytes], now_s: float) -> None:
        """See Observer."""
        self._control("SEND_RPC", peer, "IWant", message_ids, now_s)

    def iwant_received(self, peer: PeerId, message_ids: Sequence[bytes], now_s: float) -> None:
        """See Observer."""
        self._control("RECV_RPC", peer, "IWant", message_ids, now_s)

    def idontwant_sent(self, peers: Sequence[PeerId], topic: str, message_id: bytes, now_s: float) -> None:
        """See Observer."""
        for peer in peers:
            self._control("SEND_RPC", peer, "Idontwant", (message_id,), now_s)

    def idontwant_received(self, peer: PeerId, message_ids: Sequence[bytes], now_s: float) -> None:
        """See Observer."""
        self._control("RECV_RPC", peer, "Idontwant", message_ids, now_s)

    def _control(
        self, event: str, peer: PeerId, key: str, message_ids: Iterable[bytes], now_s: float, more: str = ""
    ) -> None:
        ids = ",".join([f'"{each.hex()}"' for each in message_ids if not hash(each) & self._mask])
        if ids:
            self._line(event, f'"PeerID":"{peer}","Control":{{"{key}":[{{{more}"MsgIDs":[{ids}]}}]}}', now_s)

    # Connections.

    def met(self, connection: Connection, agent: str, now_s: float) -> None:
        """A peer is connected and has said who it is."""
        self._met[connection] = agent, _timestamp(self.wall_clock())
        self._connection("CONNECTED", connection, now_s)

    def parted(self, connection: Connection, now_s: float) -> None:
        """A connection has ended."""
        self._connection("DISCONNECTED", connection, now_s)
        self._met.pop(connection, None)

    def _connection(self, event: str, connection: Connection, now_s: float) -> None:
        agent, opened = self._met.get(connection, ("", ""))
        data = {
            "RemotePeer": str(connection.remote_peer),
            "RemoteMaddrs": str(connection.remote_address),
            "AgentVersion": agent,
            "Direction": "Outbound" if connection.is_outbound else "Inbound",
            "Opened": opened,
            "Transient": False,
        }
        self._line(event, json.dumps(data, separators=(",", ":"))[1:-1], now_s)


def _message(peer: PeerId, topic: str, message_id: bytes, size_bytes: int) -> str:
    return (
        f'"PeerID":"{peer}","Topic":{_text(topic)},"MsgID":"{message_id.hex()}",'
        f'"Local":false,"MsgSize":{size_bytes}'
    )


def _timestamp(unix_s: float) -> str:
    """As Go writes a time: RFC 3339 in UTC, here to the microsecond."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
