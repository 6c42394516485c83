"""Plays a trace again: the events of its lines go into a fresh router, which writes its own trace."""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import attrs

from leanmesh.contain import Kept
from leanmesh.errors import LocalError, NodeError
from leanmesh.gossip.router import Router
from leanmesh.gossip.trace import Recorder, Tape
from leanmesh.gossip.validation import Ticket, Verdict
from leanmesh.identity.keys import PublicKey
from leanmesh.identity.peer_id import PeerId

# What stands behind an event; see leanmesh.gossip.trace.
EFFECTS = frozenset({"signature", "drained", "refused", "raised"})


class UnknownEvent(LocalError):
    """A line that no trace of ours holds, or that cannot come after those before it."""


@attrs.define(eq=False)
class Line:
    """One line of a trace."""

    number: int
    text: str
    at_s: float
    what: str
    arguments: list[Any]

    @classmethod
    def read(cls, number: int, text: str) -> "Line":
        """Raises UnknownEvent when it is none."""
        try:
            content = json.loads(text)
        except ValueError:
            raise UnknownEvent(f"line {number} is damaged: {text[:60]!r} is no JSON") from None
        match content:
            case [int() | float() as at_s, str(what), *arguments]:
                return cls(number, text, at_s, what, arguments)
            case _:
                raise UnknownEvent(f"line {number} is no event of a trace: {text[:60]!r}")


@attrs.define(eq=False)
class Step:
    """One event with its effects: as it was recorded, and as it was here."""

    recorded: list[Line]
    here: list[str] = attrs.field(factory=list[str])
    error: Exception | None = None
    """The bug that the router ran into here."""
    is_last: bool = False
    """Whether the trace ends with it."""

    @property
    def event(self) -> Line:
        """What went in."""
        return self.recorded[0]

    @property
    def effects(self) -> list[Line]:
        """What followed from it when it was recorded."""
        return self.recorded[1:]

    @property
    def agrees(self) -> bool:
        """Whether everything was the same again."""
        return [line.text for line in self.recorded] == self.here

    @property
    def is_continued(self) -> bool:
        """Whether here more followed, and before that everything was the same."""
        return [line.text for line in self.recorded] == self.here[: len(self.recorded)]


@attrs.define(eq=False)
class ReplayedKey:
    """A key that makes the signatures of a trace again, for want of the secret."""

    public_key: PublicKey
    peer_id: PeerId = attrs.field(init=False)
    signatures: list[bytes] = attrs.field(factory=list[bytes], init=False)
    """Those of the present event."""

    def __attrs_post_init__(self) -> None:
        self.peer_id = self.public_key.peer_id

    def sign(self, message: bytes) -> bytes:
        """The signature that was made over these bytes; UnknownEvent when there was none."""
        for signature in self.signatures:
            if self.public_key.is_signed(signature, message):
                return signature
        raise UnknownEvent("the trace has no signature for what is published here")


@attrs.define(eq=False)
class Replay:
    """A router that gets the events of a trace.  `tape` is what its key writes to, too; it is read here."""

    router: Router
    tape: Tape
    key: ReplayedKey | None = None
    _recorder: Recorder = attrs.field(init=False)
    _tickets: dict[bytes, Ticket] = attrs.field(factory=dict[bytes, Ticket], init=False)
    _written: list[str] = attrs.field(factory=list[str], init=False)

    def __attrs_post_init__(self) -> None:
        self.tape.write = self._written.append
        self._recorder = Recorder(self.router, self.tape)

    def steps(self, lines: Iterable[str], *, first_number: int = 1) -> Iterator[Step]:
        """Repeat event after event, up to the first at which the router breaks.

        Raises UnknownEvent where the lines are no trace, or not of this router.
        """
        passes = _passes(Line.read(number, text) for number, text in enumerate(lines, first_number))
        for recorded, is_last in passes:
            step = self._repeat(recorded)
            step.is_last = is_last
            yield step
            if step.error is not None:
                return

    def _repeat(self, recorded: list[Line]) -> Step:
        event = recorded[0]
        repeat = self._action(event)
        if self.key is not None:
            self.key.signatures = [_bytes_of(line) for line in recorded if line.what == "signature"]
        if event.what in {"drain", "set_validated"}:
            # These know no time.
            self.tape.now_s = event.at_s
        with Kept() as kept:
            repeat()
        self._keep_tickets(event)
        step = Step(recorded, list(self._written), None if isinstance(kept.error, NodeError) else kept.error)
        self._written.clear()
        return step

    def _keep_tickets(self, event: Line) -> None:
        for ticket in self.router.take_tickets():
            self._tickets[ticket.message_id] = ticket
        if event.what == "heartbeat":
            # Nobody answers those.
            self._tickets = {key: ticket for key, ticket in self._tickets.items() if ticket.is_open}

    def _action(self, event: Line) -> Callable[[], object]:
        """The call that an event stands for."""
        try:
            action = self._call(event)
        except ValueError as error:
            raise UnknownEvent(f"line {event.number} is damaged: {event.what}: {error}") from None
        if action is None:
            raise UnknownEvent(
                f"line {event.number}: {event.what!r} with {len(event.arguments)} arguments such as these "
                "is no event of a trace"
            )
        return action

    def _call(self, event: Line) -> Callable[[], object] | None:
        recorder, now_s = self._recorder, event.at_s
        match event.what, event.arguments:
            case "add_peer", [str(peer), str(protocol), str(agent), bool(is_outbound)]:
                add = partial(recorder.add_peer, is_outbound=is_outbound, now_s=now_s)
                return partial(add, _peer(peer), protocol, agent)
            case "remove_peer", [str(peer)]:
                return partial(recorder.remove_peer, _peer(peer), now_s)
            case "frame", [str(peer), str(frame)]:
                return partial(recorder.on_frame, _peer(peer), bytes.fromhex(frame), now_s)
            case "verdict", [str(message_id), str(verdict)]:
                return partial(recorder.on_verdict, self._ticket(event, message_id), Verdict(verdict), now_s)
            case "publish", [str(topic), str(data)]:
                return partial(recorder.publish, topic, bytes.fromhex(data), now_s)
            case "set_validated", [str(topic), bool(is_validated)]:
                return partial(recorder.set_validated, topic, is_validated=is_validated)
            case "drain", [str(peer), int(limit_bytes)]:
                return partial(recorder.drain, self._connected(event, peer), limit_bytes)
            case "subscribe" | "unsubscribe" as what, [str(topic)]:
                subscribe = recorder.subscribe if what == "subscribe" else recorder.unsubscribe
                return partial(subscribe, topic, now_s)
            case "heartbeat", []:
                return partial(recorder.heartbeat, now_s)
            case "close", []:
                return partial(recorder.close, now_s)
            case _:
                return None

    def _ticket(self, event: Line, message_id: str) -> Ticket:
        ticket = self._tickets.pop(bytes.fromhex(message_id), None)
        if ticket is None or not ticket.is_open:
            raise UnknownEvent(f"line {event.number}: no message {message_id} waits for a verdict here")
        return ticket

    def _connected(self, event: Line, peer: str) -> PeerId:
        peer_id = _peer(peer)
        try:
            self.router.outbox(peer_id)
        except KeyError:
            raise UnknownEvent(f"line {event.number}: the peer {peer} is not connected here") from None
        return peer_id


def _passes(lines: Iterable[Line]) -> Iterator[tuple[list[Line], bool]]:
    """Each event with the effects behind it, and whether it is the last."""
    present: list[Line] = []
    for line in lines:
        if line.what not in EFFECTS:
            if present:
                yield present, False
            present = []
        elif not present:
            raise UnknownEvent(f"line {line.number}: {line.what!r} has no event before it")
        present.append(line)
    if present:
        yield present, True


def _peer(text: str) -> PeerId:
    return PeerId(bytes.fromhex(text))


def _bytes_of(signature: Line) -> bytes:
    try:
        return bytes.fromhex(*signature.arguments)
    except (ValueError, TypeError):
        raise UnknownEvent(f"line {signature.number} is damaged: it holds no signature") from None
