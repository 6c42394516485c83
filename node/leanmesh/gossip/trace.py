"""A run of one router, written down so that it can be repeated to the byte.

A trace is one JSON array per line: when, what, and with what.  Events are what goes in; each is written
before the router handles it, so that the one it breaks at is there.  Behind an event stand its effects:
`signature`, made for a message of ours; `drained`, the RPCs that left an outbox, by their number, bytes
and SHA-256; `refused`, an error of the caller or the peer; `raised`, a bug, which ends the trace.  The same
router (settings, generator and its seed) fed with the same events writes the same trace.
"""

import json
import re
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from types import TracebackType

import attrs

from leanmesh.errors import NodeError
from leanmesh.gossip.forward import PublishReceipt
from leanmesh.gossip.observer import CutReason, Observer
from leanmesh.gossip.outbox import Outbox
from leanmesh.gossip.router import Router
from leanmesh.gossip.signing import SigningKey
from leanmesh.gossip.validation import Ticket, Verdict
from leanmesh.gossip.views import View
from leanmesh.identity.keys import PublicKey
from leanmesh.identity.peer_id import PeerId

# The text of an exception may quote what a peer sent.
ERROR_TEXT_LIMIT = 500
# Where an object lies in memory differs from run to run.
_ADDRESS = re.compile(r"\b0x[0-9a-f]+")


def _write_nowhere(line: str) -> None:
    """Of a tape that nobody has given a place."""


@attrs.define(eq=False)
class Tape:
    """What lines are written to, and the time of the last event: what follows it has its time.

    `write` gives False when it takes no more: a trace with a hole cannot be repeated.
    """

    write: Callable[[str], bool | None] = attrs.field(default=_write_nowhere)
    now_s: float = 0.0
    is_over: bool = False
    on_raised: Callable[[], None] | None = None
    """Told when a bug has ended the trace."""

    def event(self, now_s: float, *what: object) -> None:
        """Something goes into the router."""
        self.now_s = now_s
        self.add(*what)

    def add(self, *what: object) -> None:
        """Something follows from it."""
        if not self.is_over:
            line = json.dumps([self.now_s, *what], separators=(",", ":"), default=_hex)
            self.is_over = self.write(line) is False

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """What ends a pass of the router is written down, and goes on."""
        if isinstance(error, NodeError):
            self.add("refused", type(error).__qualname__)
        elif isinstance(error, Exception):
            self.add("raised", type(error).__qualname__, _ADDRESS.sub("0x", str(error)[:ERROR_TEXT_LIMIT]))
            # What the router does with what is left of its state is no use to anyone.
            self.is_over = True
            if self.on_raised is not None:
                self.on_raised()


@attrs.define(eq=False)
class Recorder:
    """A router whose events are written down.  To the shell it is the router itself."""

    router: Router
    tape: Tape

    def add_peer(self, peer: PeerId, protocol: str, agent: str, *, is_outbound: bool, now_s: float) -> None:
        """`Router.add_peer`."""
        self.tape.event(now_s, "add_peer", peer, protocol, agent, is_outbound)
        with self.tape:
            self.router.add_peer(peer, protocol, agent, is_outbound=is_outbound, now_s=now_s)

    def remove_peer(self, peer: PeerId, now_s: float) -> None:
        """`Router.remove_peer`."""
        self.tape.event(now_s, "remove_peer", peer)
        with self.tape:
            self.router.remove_peer(peer, now_s)

    def on_frame(self, peer: PeerId, frame: bytes | memoryview, now_s: float) -> None:
        """`Router.on_frame`."""
        self.tape.event(now_s, "frame", peer, frame)
        with self.tape:
            self.router.on_frame(peer, frame, now_s)

    def on_verdict(self, ticket: Ticket, verdict: Verdict, now_s: float) -> None:
        """`Router.on_verdict`.  Open tickets have different ids; a closed one means nothing."""
        if ticket.is_open:
            self.tape.event(now_s, "verdict", ticket.message_id, verdict.value)
            with self.tape:
                self.router.on_verdict(ticket, verdict, now_s)

    def subscribe(self, topic: str, now_s: float) -> None:
        """`Router.subscribe`."""
        self.tape.event(now_s, "subscribe", topic)
        with self.tape:
            self.router.subscribe(topic, now_s)

    def unsubscribe(self, topic: str, now_s: float) -> None:
        """`Router.unsubscribe`."""
        self.tape.event(now_s, "unsubscribe", topic)
        with self.tape:
            self.router.unsubscribe(topic, now_s)

    def set_validated(self, topic: str, *, is_validated: bool) -> None:
        """`Router.set_validated`, which has no time of its own."""
        self.tape.add("set_validated", topic, is_validated)
        with self.tape:
            self.router.set_validated(topic, is_validated=is_validated)

    def publish(self, topic: str, data: bytes, now_s: float) -> PublishReceipt:
        """`Router.publish`."""
        self.tape.event(now_s, "publish", topic, data)
        with self.tape:
            return self.router.publish(topic, data, now_s)

    def heartbeat(self, now_s: float) -> None:
        """`Router.heartbeat`."""
        self.tape.event(now_s, "heartbeat")
        with self.tape:
            self.router.heartbeat(now_s)

    def close(self, now_s: float) -> None:
        """`Router.close`."""
        self.tape.event(now_s, "close")
        with self.tape:
            self.router.close(now_s)

    def drain(self, peer: PeerId, limit_bytes: int) -> list[bytes]:
        """What the writer takes out of the outbox of a peer; no time is told to it."""
        self.tape.add("drain", peer, limit_bytes)
        with self.tape:
            frames = self.router.outbox(peer).drain(limit_bytes)
        if not self.tape.is_over:
            self.tape.add("drained", len(frames), sum(map(len, frames)), sha256(b"".join(frames)).digest())
        return frames

    def drain_of(self, peer: PeerId) -> Callable[[int], list[bytes]]:
        """`drain` of one peer."""
        return partial(self.drain, peer)

    # What changes nothing.

    @property
    def view(self) -> View:
        """`Router.view`."""
        return self.router.view

    @property
    def observer(self) -> Observer:
        """`Router.observer`."""
        return self.router.observer

    @property
    def next_event_at_s(self) -> float:
        """`Router.next_event_at_s`."""
        return self.router.next_event_at_s

    def take_ready(self) -> dict[PeerId, Outbox]:
        """`Router.take_ready`."""
        return self.router.take_ready()

    def take_tickets(self) -> list[Ticket]:
        """`Router.take_tickets`."""
        return self.router.take_tickets()

    def take_cuts(self) -> list[tuple[PeerId, CutReason]]:
        """`Router.take_cuts`."""
        return self.router.take_cuts()

    def take_mesh_change(self) -> bool:
        """`Router.take_mesh_change`."""
        return self.router.take_mesh_change()

    def outbox(self, peer: PeerId) -> Outbox:
        """`Router.outbox`, to look at; what is drained from it is drained here."""
        return self.router.outbox(peer)


@attrs.define(eq=False)
class RecordedKey:
    """A key whose signatures are written down, for a replay that has not the key."""

    _key: SigningKey
    _tape: Tape

    @property
    def peer_id(self) -> PeerId:
        """Who signs."""
        return self._key.peer_id

    @property
    def public_key(self) -> PublicKey:
        """What the signatures are checked with."""
        return self._key.public_key

    def sign(self, message: bytes) -> bytes:
        """Sign, and say with what result."""
        signature = self._key.sign(message)
        self._tape.add("signature", signature)
        return signature


def _hex(value: object) -> str:
    """Bytes in a line; everything else that JSON has no form for is a mistake."""
    if isinstance(value, bytes | memoryview):
        return value.hex()
    raise TypeError(f"{value!r} has no place in a trace")
