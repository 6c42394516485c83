"""What may be observed of the core's decisions: one call per decision, nothing returned.

The default does nothing, so an observer overrides what it wants.  A call is
made inside the router's pass: it must not wait and must not call the router.

The books of received copies close from these calls alone.  Each copy causes one
`message_received` and, at once or after its verdict, exactly one of `accepted`,
`duplicate`, `rejected`, `ignored`, `throttled`, `oversized` and
`not_subscribed`; `pending_changed` states how many wait in between.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from leanmesh.gossip.outbox import Drop

if TYPE_CHECKING:
    from leanmesh.identity.peer_id import PeerId


class GraftReason(StrEnum):
    """Why a peer entered a mesh."""

    SUBSCRIBED = "subscribed"
    RANDOM = "random"
    OUTBOUND = "outbound"
    FANOUT = "fanout"
    OPPORTUNISTIC = "opportunistic"
    GRAFTED_BY_PEER = "grafted_by_peer"


class PruneReason(StrEnum):
    """Why a peer left a mesh.  `unsubscribed`: the peer left the topic, or we did."""

    DISCONNECTED = "disconnected"
    BAD_SCORE = "bad_score"
    PRUNED_BY_PEER = "pruned_by_peer"
    UNSUBSCRIBED = "unsubscribed"
    EXCESS = "excess"


class RefuseReason(StrEnum):
    """Why a GRAFT was answered with a PRUNE."""

    BACKOFF = "backoff"
    FULL = "full"
    BAD_SCORE = "bad_score"
    DIRECT = "direct"


class RejectReason(StrEnum):
    """Why a copy was invalid."""

    DECODE = "decode"
    POLICY = "policy"
    SIGNATURE = "signature"
    VERDICT = "verdict"


class IgnoreReason(StrEnum):
    """Why a copy went no further though nobody is to blame."""

    VERDICT = "verdict"
    TIMEOUT = "timeout"
    REPLAY = "replay"
    OWN = "own"
    LEFT = "left"
    NO_ID = "no_id"


class ThrottleReason(StrEnum):
    """Which bound on waiting validations was met."""

    GLOBAL = "global"
    TOPIC = "topic"
    PEER = "peer"
    BYTES = "bytes"


class Misbehaviour(StrEnum):
    """What a peer did that an honest one need not do."""

    INVALID_MESSAGE = "invalid_message"
    GRAFT_IN_BACKOFF = "graft_in_backoff"
    GRAFT_FLOOD = "graft_flood"
    GRAFT_DIRECT = "graft_direct"
    BROKEN_PROMISE = "broken_promise"
    IHAVE_FLOOD = "ihave_flood"
    IWANT_FLOOD = "iwant_flood"
    IWANT_UNSOLICITED = "iwant_unsolicited"
    IDONTWANT_FLOOD = "idontwant_flood"
    SUBSCRIPTION_FLOOD = "subscription_flood"


class CutReason(StrEnum):
    """Why the router asks for the end of a connection."""

    MISBEHAVIOUR = "misbehaviour"


class Table(StrEnum):
    """The bounded tables, for what their bounds turned away."""

    SEEN = "seen"
    HISTORY = "history"
    BACKOFF = "backoff"
    SUBSCRIPTIONS = "subscriptions"
    UNWANTED = "unwanted"
    PROMISES = "promises"
    FANOUT = "fanout"
    AUTHORS = "authors"


class Observer:
    """Does nothing.  Sizes are bytes on the wire of one encoded message, times are `now_s` of the event."""

    # Topics and peers.

    def joined(self, topic: str, now_s: float) -> None:
        """We subscribed to a topic."""

    def left(self, topic: str, now_s: float) -> None:
        """We unsubscribed from a topic."""

    def peer_added(self, peer: "PeerId", protocol: str, now_s: float) -> None:
        """A peer opened its side of the protocol."""

    def peer_removed(self, peer: "PeerId", protocol: str, now_s: float) -> None:
        """A peer is gone, and with it all state but its back-offs."""

    def peer_subscribed(self, peer: "PeerId", topic: str, now_s: float) -> None:
        """A peer takes a topic from now on."""

    def peer_unsubscribed(self, peer: "PeerId", topic: str, now_s: float) -> None:
        """A peer no longer takes a topic; also called for each topic of a peer that is gone."""

    # The mesh.

    def grafted(self, peer: "PeerId", topic: str, reason: GraftReason, now_s: float) -> None:
        """A peer entered the mesh of a topic."""

    def pruned(self, peer: "PeerId", topic: str, reason: PruneReason, now_s: float) -> None:
        """A peer left the mesh of a topic."""

    def graft_refused(self, peer: "PeerId", topic: str, reason: RefuseReason, now_s: float) -> None:
        """A GRAFT was answered with a PRUNE."""

    # Frames.

    def rpc_received(self, peer: "PeerId", size_bytes: int, now_s: float) -> None:
        """A frame was decoded."""

    def rpc_refused(self, peer: "PeerId", reason: str, size_bytes: int, now_s: float) -> None:
        """A frame broke the protocol, or its sender is graylisted; nothing in it was used."""

    # Received copies: the books.

    def message_received(self, peer: "PeerId", topic: str, size_bytes: int, now_s: float) -> None:
        """A copy came in, whatever becomes of it."""

    def first_seen(
        self, peer: "PeerId", topic: str, message_id: bytes, size_bytes: int, now_s: float
    ) -> None:
        """A copy is the first of its message.  Not an outcome: the verdict follows."""

    def duplicate(self, peer: "PeerId", topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """A copy of a message that was seen before."""

    def accepted(self, peer: "PeerId", topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """A copy was valid: it is handed to the application and forwarded."""

    def rejected(
        self,
        peer: "PeerId",
        topic: str,
        message_id: bytes | None,
        size_bytes: int,
        reason: RejectReason,
        now_s: float,
    ) -> None:
        """A copy was invalid.  The id is None when it could not be told."""

    def ignored(
        self,
        peer: "PeerId",
        topic: str,
        message_id: bytes | None,
        size_bytes: int,
        reason: IgnoreReason,
        now_s: float,
    ) -> None:
        """A copy was put aside without blame.  The id is None when it could not be told."""

    def throttled(
        self,
        peer: "PeerId",
        topic: str,
        message_id: bytes,
        size_bytes: int,
        reason: ThrottleReason,
        now_s: float,
    ) -> None:
        """A copy found no room among the validations.  It is not marked as seen: another copy may."""

    def oversized(self, peer: "PeerId", topic: str, size_bytes: int, now_s: float) -> None:
        """A copy exceeds the limit as it travels.  Beyond it once decompressed is `rejected` (decode)."""

    def not_subscribed(self, peer: "PeerId", topic: str, size_bytes: int, now_s: float) -> None:
        """A copy of a topic we do not take."""

    def pending_changed(self, count: int, size_bytes: int, now_s: float) -> None:
        """How many messages wait for a verdict now, and the bytes they hold: with what a transform made."""

    def invalid_again(self, peer: "PeerId", topic: str, message_id: bytes, now_s: float) -> None:
        """A peer sent a message that was rejected before, or was when its verdict came.

        Besides the outcome `duplicate`.
        """

    def sent_meanwhile(self, peer: "PeerId", topic: str, message_id: bytes, now_s: float) -> None:
        """A peer sent a message too while it waited for its verdict, which was to accept."""

    # Sent copies.

    def published(
        self, topic: str, message_id: bytes, size_bytes: int, recipients: Sequence["PeerId"], now_s: float
    ) -> None:
        """A message of our own was queued for these peers."""

    def forwarded(
        self, topic: str, message_id: bytes, size_bytes: int, recipients: Sequence["PeerId"], now_s: float
    ) -> None:
        """An accepted message was queued for these peers."""

    def served(self, peer: "PeerId", topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """A message was queued because the peer asked for it."""

    def spared(self, peer: "PeerId", topic: str, message_id: bytes, size_bytes: int, now_s: float) -> None:
        """A copy was not queued because the peer said IDONTWANT."""

    # Gossip.

    def ihave_sent(self, peer: "PeerId", topic: str, message_ids: Sequence[bytes], now_s: float) -> None:
        """We told a peer what we have."""

    def ihave_received(self, peer: "PeerId", topic: str, message_ids: Sequence[bytes], now_s: float) -> None:
        """A peer told us what it has."""

    def iwant_sent(self, peer: "PeerId", message_ids: Sequence[bytes], now_s: float) -> None:
        """We asked a peer for messages."""

    def iwant_received(self, peer: "PeerId", message_ids: Sequence[bytes], now_s: float) -> None:
        """A peer asked us for messages."""

    def idontwant_sent(self, peers: Sequence["PeerId"], topic: str, message_id: bytes, now_s: float) -> None:
        """We told these peers not to send a message, each once."""

    def idontwant_received(self, peer: "PeerId", message_ids: Sequence[bytes], now_s: float) -> None:
        """A peer told us what not to send."""

    def crossed_idontwant(self, peer: "PeerId", topic: str, message_id: bytes, now_s: float) -> None:
        """A copy came from a peer we had sent IDONTWANT for it.  Besides its outcome; no fault."""

    def promise_kept(self, peer: "PeerId", now_s: float) -> None:
        """A message that a peer advertised and we asked for arrived in time."""

    def promise_broken(self, peer: "PeerId", now_s: float) -> None:
        """A message that a peer advertised and we asked for did not arrive."""

    # Bounds.

    def copies_dropped(self, peer: "PeerId", reason: Drop, count: int, now_s: float) -> None:
        """Copies for a peer that were turned away, or taken out of its outbox unsent."""

    def slow_peer(self, peer: "PeerId", reason: str, now_s: float) -> None:
        """A peer does not read as fast as it is sent to; said at each heartbeat while it lasts."""

    def misbehaved(self, peer: "PeerId", kind: Misbehaviour, count: int, now_s: float) -> None:
        """A peer did what an honest one need not do, `count` times."""

    def cut(self, peer: "PeerId", reason: CutReason, now_s: float) -> None:
        """The shell is asked to end the connection with a peer."""

    def turned_away(self, table: Table, count: int, now_s: float) -> None:
        """A bounded table was full and lost, or refused, entries."""


NO_OBSERVER = Observer()
