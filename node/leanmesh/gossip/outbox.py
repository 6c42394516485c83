"""What waits for one peer: bounded, control before data, withdrawn on IDONTWANT.

The outbox decides nothing about gossip and writes to no socket.  The router puts things in, the peer's
writer takes whole RPCs out.  Control is kept as wishes rather than as bytes: per topic the last of subscribe
and unsubscribe, the last of GRAFT and PRUNE.  Their number is bounded by our own topics, so they need no
limit and can never be lost to data.

The books close, for each priority: put = written + full + expired + withdrawn + peer gone + queued.
"""

import enum
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, takewhile

import attrs

from leanmesh.gossip.dialect import Dialect
from leanmesh.gossip.packing import PendingControl, fill, pack
from leanmesh.gossip.rpc import PeerInfo, Prune
from leanmesh.gossip.wire_params import OutboxLimits


class Priority(enum.IntEnum):
    """The order in which messages leave when several wait."""

    OWN = 0
    """Published here: nobody else can send it yet."""
    FORWARDED = 1
    """Passed on: others in the mesh pass it on too."""
    ANSWER = 2
    """Asked for with IWANT: old already, and the peer asks others as well."""


class Drop(enum.StrEnum):
    """Why a copy never reached the writer."""

    FULL = "full"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    PEER_GONE = "peer_gone"


@attrs.define
class Ledger:
    """What became of the copies of one priority since the outbox was made."""

    put: int = 0
    written: int = 0
    full: int = 0
    expired: int = 0
    withdrawn: int = 0
    peer_gone: int = 0


@attrs.define
class ControlDrops:
    """Ids that were never said: more than the limit were waiting, or they waited too long."""

    ihave: int = 0
    iwant: int = 0
    idontwant: int = 0


@attrs.define
class _Lane:
    """The copies of one priority, oldest first: id -> (publish entry, since when it waits)."""

    waiting: dict[bytes, tuple[bytes, float]] = attrs.Factory(dict[bytes, tuple[bytes, float]])
    ledger: Ledger = attrs.Factory(Ledger)


class Outbox:
    """Pending output for one peer.

    `on_ready` is called with the outbox when it stops being empty: whoever writes need not look at all
    outboxes after each pass.
    """

    def __init__(
        self,
        dialect: Dialect,
        limits: OutboxLimits,
        on_ready: "Callable[[Outbox], None] | None" = None,
    ) -> None:
        self.dialect = dialect
        """May be replaced by another of the same protocol, when the peer says what software it is."""
        self.limits = limits
        self.size_bytes = 0
        """Of the queued messages; control is bounded by counts."""
        self.count = 0
        """Queued messages."""
        self.control_drops = ControlDrops()
        self.full_since_s: float | None = None
        """When copies began to be turned away; None once the outbox is below half again."""
        self.drops_in_row = 0
        self._on_ready = on_ready
        self._is_ready = False
        self._control = PendingControl()
        self._lanes = tuple(_Lane() for _ in Priority)
        self._own, self._forwarded, self._answers = (lane.waiting for lane in self._lanes)
        self._forwarded_lane = self._lanes[Priority.FORWARDED]

    # Messages.

    def put(
        self, message_id: bytes, field: bytes, now_s: float, priority: Priority = Priority.FORWARDED
    ) -> Drop | None:
        """Queue one copy; None says that it waits, or that one with this id already did.

        `field` is the message's complete publish entry, shared by all outboxes and never copied before it
        is written.  Returns Drop.FULL when the limits turn it away.  An empty outbox takes any one message.
        """
        return self.put_entry(message_id, (field, now_s), len(field), self._lanes[priority])

    def put_entry(
        self, message_id: bytes, entry: tuple[bytes, float], size_bytes: int, lane: _Lane | None = None
    ) -> Drop | None:
        """The same for what is passed on to many: they share `entry`, the field and since when it waits."""
        if message_id in self._forwarded or message_id in self._own or message_id in self._answers:
            return None
        lane = lane or self._forwarded_lane
        lane.ledger.put += 1
        size_bytes += self.size_bytes
        limits = self.limits
        if self.count and (size_bytes > limits.size_bytes or self.count >= limits.messages):
            lane.ledger.full += 1
            self.drops_in_row += 1
            if self.full_since_s is None:
                self.full_since_s = entry[1]
            return Drop.FULL
        lane.waiting[message_id] = entry
        self.size_bytes = size_bytes
        self.count += 1
        if not self._is_ready:
            self._ready()
        return None

    def holds(self, message_id: bytes) -> bool:
        """Whether a copy of this message waits."""
        return message_id in self._forwarded or message_id in self._own or message_id in self._answers

    def untold(self, message_ids: list[bytes]) -> list[bytes]:
        """The messages of which nothing that waits tells the peer as soon as an IDONTWANT would."""
        dialect = self.dialect
        if not dialect.is_told_by_copies or self.size_bytes > dialect.rpc_bytes:
            return message_ids
        return [message_id for message_id in message_ids if not self.holds(message_id)]

    def withdraw(self, message_id: bytes) -> bool:
        """Take a waiting copy back because the peer has the message; False when none waits."""
        for lane in self._lanes:
            waiting = lane.waiting.pop(message_id, None)
            if waiting is not None:
                lane.ledger.withdrawn += 1
                self._forget(waiting[0])
                self._settle()
                self._recover()
                return True
        return False

    def expire(self, now_s: float) -> int:
        """Drop copies that waited longer than `max_age_s`; how many those were."""
        oldest_s = now_s - self.limits.max_age_s
        expired = 0
        for lane in self._lanes:
            # Insertion order is order of age, so only what goes is looked at.
            gone = [id_ for id_, _ in takewhile(lambda each: each[1][1] <= oldest_s, lane.waiting.items())]
            for message_id in gone:
                self._forget(lane.waiting.pop(message_id)[0])
            lane.ledger.expired += len(gone)
            expired += len(gone)
        self._settle()
        self._recover()
        return expired

    def close(self) -> int:
        """The peer is gone: drop everything; how many copies that were."""
        dropped = self.count
        for lane in self._lanes:
            lane.ledger.peer_gone += len(lane.waiting)
            lane.waiting.clear()
        self.size_bytes = self.count = 0
        self._control = PendingControl()
        self._is_ready = False
        return dropped

    # Control.

    def subscribe(self, topic: str) -> None:
        """Say that we take a topic."""
        self._control.subscriptions[topic] = True
        self._ready()

    def unsubscribe(self, topic: str) -> None:
        """Say that we no longer take a topic."""
        self._control.subscriptions[topic] = False
        self._ready()

    def graft(self, topic: str) -> None:
        """Say that the peer is in our mesh; replaces a PRUNE that still waits."""
        self._wish(topic, None)

    def cancel_graft(self, topic: str) -> bool:
        """Say nothing after all: the peer left our mesh first.  False when no GRAFT waits.

        A GRAFT that leaves after the peer's PRUNE would break the back-off.
        """
        waiting = self._control.mesh
        if topic not in waiting or waiting[topic] is not None:
            return False
        del waiting[topic]
        self._settle()
        return True

    def prune(self, topic: str, backoff_s: float, peers: Sequence[PeerInfo] = ()) -> None:
        """Say that the peer is not in our mesh; replaces a GRAFT that still waits.

        The back-off goes out in whole seconds, rounded up: a peer that comes back early would be refused.
        """
        self._wish(topic, Prune(topic, math.ceil(backoff_s), list(peers)))

    def ihave(self, topic: str, message_ids: Sequence[bytes]) -> int:
        """Say what we have; how many ids will be said.

        What still waits for the topic is replaced: the newer list names all that can be had now.
        """
        if not self.dialect.supports_control:
            return 0
        waiting = self._control.ihave
        waiting.pop(topic, None)
        room = self.limits.ihave_ids - sum(len(ids) for ids in waiting.values())
        taken = list(message_ids[:room])
        self.control_drops.ihave += len(message_ids) - len(taken)
        if taken:
            waiting[topic] = taken
            self._ready()
        return len(taken)

    def forget_ihave(self) -> int:
        """Say nothing of what we had: IHAVE that waited for a heartbeat is stale; how many ids that were.

        Sent late it would promise messages that our history no longer holds.
        """
        forgotten = sum(len(message_ids) for message_ids in self._control.ihave.values())
        self._control.ihave.clear()
        self.control_drops.ihave += forgotten
        self._settle()
        return forgotten

    def iwant(self, message_ids: Iterable[bytes]) -> list[bytes]:
        """Ask for messages; the ids that will be asked for (a promise needs a question)."""
        if not self.dialect.supports_control:
            return []
        waiting = self._control.iwant
        taken: list[bytes] = []
        for message_id in message_ids:
            if message_id not in waiting:
                if len(waiting) >= self.limits.iwant_ids:
                    self.control_drops.iwant += 1
                    continue
                waiting[message_id] = None
            taken.append(message_id)
        if taken:
            self._ready()
        return taken

    def cancel_iwant(self, message_id: bytes) -> bool:
        """Do not ask after all: the message came from elsewhere.  False when the question has left."""
        is_cancelled = self._control.iwant.pop(message_id, self) is None
        self._settle()
        return is_cancelled

    def idontwant(self, message_ids: Sequence[bytes]) -> Sequence[bytes]:
        """Say that we have these messages already; those that will be said: none where nobody understands.

        When too many wait the oldest give way: their copies are on the wire by now.
        """
        if not self.dialect.supports_idontwant:
            return ()
        waiting = self._control.idontwant
        waiting.update(dict.fromkeys(message_ids))
        for message_id in list(islice(waiting, max(0, len(waiting) - self.limits.idontwant_ids))):
            del waiting[message_id]
            self.control_drops.idontwant += 1
        if not self._is_ready:
            self._ready()
        return message_ids[-self.limits.idontwant_ids :]

    # Writing.

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to write."""
        return not self.count and not self._control

    def drain(self, limit_bytes: int) -> list[bytes]:
        """Whole RPCs with their length prefixes: all control, then messages up to about `limit_bytes`.

        What is returned counts as written.  At least one message comes out of an outbox that holds any.
        """
        bodies: list[bytes] = []
        if self._control:
            bodies = pack(self._control, self.dialect)
            self._control = PendingControl()
        rpcs = fill(bodies, self._take(limit_bytes), self.dialect)
        self._is_ready = self.count > 0
        self._recover()
        return rpcs

    def slow_reason(self, now_s: float) -> str | None:
        """Why this peer counts as slow, in words for the log; None when it does not."""
        if self.full_since_s is None:
            return None
        full_s = now_s - self.full_since_s
        if full_s > self.limits.slow_after_s:
            return f"outbox full for {full_s:.1f} s, {self.drops_in_row} copies turned away"
        if self.drops_in_row >= self.limits.slow_after_drops:
            return f"{self.drops_in_row} copies turned away in {full_s:.1f} s"
        return None

    def ledger(self, priority: Priority) -> Ledger:
        """The books of one priority; a copy."""
        return attrs.evolve(self._lanes[priority].ledger)

    def queued(self, priority: Priority) -> int:
        """Copies of one priority that wait now."""
        return len(self._lanes[priority].waiting)

    def queued_bytes(self, priority: Priority) -> int:
        """Their bytes; looks at each of them."""
        return sum(len(field) for field, _ in self._lanes[priority].waiting.values())

    def _wish(self, topic: str, wish: Prune | None) -> None:
        if not self.dialect.supports_control:
            return
        # Popped first, so that the newest wish stands last.
        self._control.mesh.pop(topic, None)
        self._control.mesh[topic] = wish
        self._ready()

    def _take(self, limit_bytes: int) -> list[bytes]:
        """The publish entries that go now, in order of priority and age."""
        taken: list[bytes] = []
        if self.size_bytes <= limit_bytes:
            for lane in self._lanes:
                if lane.waiting:
                    taken += [field for field, _ in lane.waiting.values()]
                    lane.ledger.written += len(lane.waiting)
                    lane.waiting.clear()
            self.size_bytes = self.count = 0
            return taken
        for lane in self._lanes:
            # Walked once and then deleted: a dict that is asked for its first entry passes over all that
            # were deleted before it.
            gone: list[bytes] = []
            for message_id, (field, _) in lane.waiting.items():
                if limit_bytes <= 0:
                    break
                limit_bytes -= len(field)
                self.size_bytes -= len(field)
                gone.append(message_id)
                taken.append(field)
            for message_id in gone:
                del lane.waiting[message_id]
            self.count -= len(gone)
            lane.ledger.written += len(gone)
        return taken

    def _forget(self, field: bytes) -> None:
        self.size_bytes -= len(field)
        self.count -= 1

    def _settle(self) -> None:
        """Something was taken back.  An outbox that this emptied is said to be ready again when it fills."""
        self._is_ready = not self.is_empty

    def _recover(self) -> None:
        """What waits became less: below half of both limits a slow spell is over."""
        if self.full_since_s is None:
            return
        if self.size_bytes * 2 <= self.limits.size_bytes and self.count * 2 <= self.limits.messages:
            self.full_since_s = None
            self.drops_in_row = 0

    def _ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            if self._on_ready is not None:
                self._on_ready(self)
