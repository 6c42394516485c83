"""What the supervisor and a worker say to each other: values, as JSON behind a length, over one socket.

Both ends are of one version, for the supervisor starts the program it runs
itself.  Still nothing is taken unchecked: a worker talks to strangers.
"""

import json
from typing import Any, cast

import attrs
import cattrs
import cattrs.errors
import trio

from leanmesh.errors import LocalError, RemoteError

LENGTH_BYTES = 4
# The answers about a thousand peers with all their topics fit twice.
MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024
READ_BYTES = 64 * 1024


class MessageTooLarge(LocalError):
    """A message of ours is larger than the other end takes."""


class BadMessage(RemoteError):
    """The other process said something that is no message."""


# From the supervisor.


@attrs.frozen
class Start:
    """Run these networks.  `keys` are those of networks without a key file, by network id, in hex."""

    settings: dict[str, Any]
    keys: dict[str, str]
    devnet: dict[str, Any] | None = None


@attrs.frozen
class Ask:
    """Answer what a node's API says under this path."""

    number: int
    path: str


# From a worker.


@attrs.frozen
class Hello:
    """Everything is loaded; waiting for Start."""


@attrs.frozen
class NetworkFacts:
    """A running network: who it is, what others can dial, and what it listens on with the ports it took."""

    network_id: int
    peer_id: str
    listen: tuple[str, ...]
    bound: tuple[str, ...]
    topics: tuple[str, ...]


@attrs.frozen
class Ready:
    """All networks run."""

    networks: tuple[NetworkFacts, ...]


@attrs.frozen
class Failed:
    """The networks cannot run, and why.  `is_local`: what was asked for is impossible."""

    reason: str
    is_local: bool


@attrs.frozen
class Answer:
    """The answer to the question of this number."""

    number: int
    content: dict[str, Any]


@attrs.frozen
class Stopped:
    """All networks have ended; the process follows."""


Message = Start | Ask | Hello | Ready | Failed | Answer | Stopped
KINDS: dict[str, type[Any]] = {
    kind.__name__.lower(): kind for kind in (Start, Ask, Hello, Ready, Failed, Answer, Stopped)
}
CONVERTER = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)


def encode(message: Message) -> bytes:
    """A message as bytes, its length before it.  MessageTooLarge beyond MESSAGE_LIMIT_BYTES."""
    kind = type(message).__name__.lower()
    body = json.dumps({"kind": kind, **attrs.asdict(message)}).encode()
    if len(body) > MESSAGE_LIMIT_BYTES:
        raise MessageTooLarge(f"{kind} of {len(body)} bytes; a message has at most {MESSAGE_LIMIT_BYTES}")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def decode(body: bytes) -> Message:
    """The message of these bytes, without their length.  BadMessage when they are none."""
    try:
        content = json.loads(body)
        kind = KINDS[content.pop("kind")]
        return cast(Message, CONVERTER.structure(content, kind))
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        cattrs.errors.CattrsError,
    ) as error:
        raise BadMessage(f"{len(body)} bytes are no message: {error!r:.200}") from error


@attrs.define(eq=False)
class Channel:
    """One end of the socket.  One task sends, one receives."""

    stream: trio.SocketStream
    _buffer: bytearray = attrs.field(factory=bytearray, init=False)

    async def send(self, message: Message) -> None:
        """Send a message whole.  BrokenResourceError when the other process is gone."""
        await self.stream.send_all(encode(message))

    async def receive(self) -> Message | None:
        """The next message; None when the other process has ended.  BadMessage ends the talk."""
        head = await self._take(LENGTH_BYTES)
        if head is None:
            return None
        size_bytes = int.from_bytes(head, "big")
        if size_bytes > MESSAGE_LIMIT_BYTES:
            raise BadMessage(f"a message of {size_bytes} bytes; one has at most {MESSAGE_LIMIT_BYTES}")
        body = await self._take(size_bytes)
        return None if body is None else decode(body)

    async def _take(self, size_bytes: int) -> bytes | None:
        while len(self._buffer) < size_bytes:
            try:
                chunk = await self.stream.receive_some(READ_BYTES)
            except trio.BrokenResourceError:
                # Killed before it had read all that we sent.
                return None
            if not chunk:
                return None
            self._buffer += chunk
        taken = bytes(self._buffer[:size_bytes])
        del self._buffer[:size_bytes]
        return taken
