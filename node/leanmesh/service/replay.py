"""Replays a recording: the events of one life of a network go into a router that starts as that one did.

What left its outboxes must be the same to the byte, and what it broke at too.
"""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from random import Random
from traceback import format_exception

import attrs

from leanmesh.errors import LocalError
from leanmesh.gossip.replay import Line, Replay, ReplayedKey, Step, UnknownEvent
from leanmesh.gossip.rpc import Message
from leanmesh.gossip.trace import RecordedKey, Tape
from leanmesh.identity.peer_id import PeerId
from leanmesh.service.record_format import BadHead, RecordHead, read_last_line

# What the last line of a recording says when it ended before its network.
CUT = {"queue_full": "because the disk was too slow", "file_full": "at its limit_bytes"}


class Unreplayable(LocalError):
    """A file that is no recording, or is damaged."""


class Disagreement(LocalError):
    """The replay did something else than was recorded."""


@attrs.define(eq=False)
class RecordReader:
    """The lines of one recording, and how it ends."""

    path: Path
    head: RecordHead = attrs.field(init=False)
    end: str = attrs.field(default="", init=False)
    """How the file ends, if not with the network; known when all lines were read."""

    def __attrs_post_init__(self) -> None:
        with self.path.open("rb") as file:
            self.head = RecordHead.read(_text(1, file.readline()))

    def events(self) -> Iterator[str]:
        """The lines after the first.  One that has no end is where the writer was killed: it is left out."""
        with self.path.open("rb") as file:
            file.readline()
            for number, data in enumerate(file, 2):
                if not data.endswith(b"\n"):
                    self.end = f"line {number} was cut off when its writer was killed, and is left out"
                    return
                line = _text(number, data)
                if (reason := read_last_line(line)) is not None:
                    self.end = f"the recording was ended before its network, {CUT.get(reason, reason)}"
                    return
                yield line


def _text(number: int, data: bytes) -> str:
    try:
        return data.removesuffix(b"\n").decode("ascii")
    except UnicodeDecodeError:
        raise UnknownEvent(f"line {number} is damaged: it has bytes that no trace has") from None


@attrs.define(eq=False)
class Replayed:
    """What a replay has shown."""

    head: RecordHead
    events: int = 0
    frames: int = 0
    size_bytes: int = 0
    last: Step | None = None
    end: str = ""

    def sentences(self) -> Iterator[str]:
        """What to tell whoever asked for the replay."""
        yield _origin(self.head)
        if self.end:
            yield self.end
        elif self.last is None or (self.last.error is None and self.last.event.what != "close"):
            yield "the file ends in the midst of its network's life: it still runs, or was killed"
        if self.last is not None and self.last.error is not None:
            yield "".join(format_exception(self.last.error)).rstrip()
            yield f"{_described(self.events, self.last.event)}: raised {_named(self.last.error)}, as recorded"
        yield (
            f"the replay agrees: {self.events} events, {self.frames} RPCs and {self.size_bytes} bytes "
            "out of the outboxes"
        )


def replay_file(path: Path) -> Replayed:
    """Repeat a recording from its start to its end.

    Raises Unreplayable when the file is not one, or is damaged; Disagreement where the router does
    something else than it did then, with the event at which it is seen.
    """
    try:
        reader = RecordReader(path)
        return _replay(reader)
    except OSError as error:
        raise Unreplayable(f"{path} cannot be read: {error.strerror}") from error
    except (UnknownEvent, BadHead) as error:
        raise Unreplayable(f"{path}: {error}") from error


def _replay(reader: RecordReader) -> Replayed:
    head = reader.head
    validated = set(head.validated)
    key, tape = ReplayedKey(head.public_key), Tape(now_s=head.facts.started_s)
    router = head.facts.router(
        RecordedKey(key, tape), Random(head.seed), validated.__contains__, _deliver_nowhere
    )
    replayed = Replayed(head)
    for step in Replay(router, tape, key).steps(reader.events(), first_number=2):
        replayed.events += 1
        replayed.last = step
        _check(replayed, step)
        _follow(step.event, validated)
        for effect in step.effects:
            if effect.what == "drained":
                replayed.frames += effect.arguments[0]
                replayed.size_bytes += effect.arguments[1]
    replayed.end = reader.end
    return replayed


def _deliver_nowhere(message: Message, message_id: bytes, data: bytes, peer: PeerId, now_s: float) -> None:
    """Whoever took the messages then has them."""


def _follow(event: Line, validated: set[str]) -> None:
    """The validators that the application had after an event; the rules of a topic ask for them."""
    if event.what == "set_validated":
        topic, is_validated = event.arguments
        (validated.add if is_validated else validated.discard)(topic)


def _check(replayed: Replayed, step: Step) -> None:
    """Raise Disagreement when a step went otherwise than recorded.

    What followed from the last event may be missing: it was handled when the recording was cut.
    """
    if step.agrees or (step.is_last and step.is_continued and step.error is None):
        return
    recorded, here = [line.text for line in step.effects], step.here[1:]
    lines = [*_origin(replayed.head).splitlines()]
    if step.error is not None:
        lines.append("".join(format_exception(step.error)).rstrip())
    lines.append(f"the replay differs at {_described(replayed.events, step.event)}")
    lines += [f"  recorded: {_effects(recorded)}", f"  here:     {_effects(here)}"]
    if any(line.what == "raised" for line in step.effects) and step.error is None:
        lines.append(
            "the bug is mended here, or was not the router's: observers and deliveries are not replayed"
        )
    raise Disagreement("\n".join(lines))


def _effects(lines: list[str]) -> str:
    return " ".join(lines) or "nothing"


def _origin(head: RecordHead) -> str:
    """Whose life it was; and that another version may decide otherwise."""
    origin = f"network {head.network_id}, {head.public_key.peer_id}, recorded from {head.recorded_at} on"
    made, here = (head.leanmesh_version, head.python_version), (version("leanmesh"), python_version())
    if made != here:
        origin += "\nmade by leanmesh {} under Python {}, replayed by {} under {}".format(*made, *here)
    return origin


def _described(number: int, event: Line) -> str:
    """An event for people: its number, line, time, kind, and whom it concerns."""
    text = f"event {number} (line {event.number}) at {event.at_s} s: {event.what}"
    match event.what, event.arguments:
        case "frame", [peer, frame]:
            return f"{text} of {len(frame) // 2} bytes from {_peer(peer)}"
        case "add_peer" | "remove_peer" | "drain", [peer, *_]:
            return f"{text} of {_peer(peer)}"
        case "publish", [topic, data]:
            return f"{text} of {len(data) // 2} bytes to {topic}"
        case "verdict", [message_id, verdict]:
            return f"{text} {verdict} on {message_id}"
        case _, [topic, *_]:
            return f"{text} {topic}"
        case _:
            return text


def _peer(text: str) -> str:
    return str(PeerId(bytes.fromhex(text)))


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
