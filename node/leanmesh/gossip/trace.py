"""A run of one router, written down so that it can be repeated to the byte.

A trace is one JSON array per line: when, what, and with what.  It holds every
event that went in and the bytes of every drain.  The same router (settings,
generator and its seed) fed with the same events writes the same trace.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from leanmesh.errors import LocalError, RemoteError
from leanmesh.gossip.forward import PublishReceipt
from leanmesh.gossip.router import Router
from leanmesh.gossip.validation import Ticket, Verdict
from leanmesh.identity.peer_id import PeerId


class UnknownEvent(LocalError):
    """A line that no trace of ours holds."""


@attrs.define(eq=False)
class Recorder:
    """A router whose events are written down, one line each, before it handles them."""

    router: Router
    write: Callable[[str], None]

    def add_peer(self, peer: PeerId, protocol: str, agent: str, *, is_outbound: bool, now_s: float) -> None:
        """`Router.add_peer`."""
        self._note(now_s, "add_peer", peer.hex(), protocol, agent, is_outbound)
        self.router.add_peer(peer, protocol, agent, is_outbound=is_outbound, now_s=now_s)

    def remove_peer(self, peer: PeerId, now_s: float) -> None:
        """`Router.remove_peer`."""
        self._note(now_s, "remove_peer", peer.hex())
        self.router.remove_peer(peer, now_s)

    def on_frame(self, peer: PeerId, frame: bytes | memoryview, now_s: float) -> None:
        """`Router.on_frame`."""
        self._note(now_s, "frame", peer.hex(), frame.hex())
        self.router.on_frame(peer, frame, now_s)

    def on_verdict(self, ticket: Ticket, verdict: Verdict, now_s: float) -> None:
        """`Router.on_verdict`."""
        self._note(now_s, "verdict", ticket.message_id.hex(), verdict.value)
        self.router.on_verdict(ticket, verdict, now_s)

    def subscribe(self, topic: str, now_s: float) -> None:
        """`Router.subscribe`."""
        self._note(now_s, "subscribe", topic)
        self.router.subscribe(topic, now_s)

    def unsubscribe(self, topic: str, now_s: float) -> None:
        """`Router.unsubscribe`."""
        self._note(now_s, "unsubscribe", topic)
        self.router.unsubscribe(topic, now_s)

    def set_validated(self, topic: str, *, is_validated: bool, now_s: float) -> None:
        """`Router.set_validated`."""
        self._note(now_s, "set_validated", topic, is_validated)
        self.router.set_validated(topic, is_validated=is_validated)

    def publish(self, topic: str, data: bytes, now_s: float) -> PublishReceipt:
        """`Router.publish`."""
        self._note(now_s, "publish", topic, data.hex())
        return self.router.publish(topic, data, now_s)

    def heartbeat(self, now_s: float) -> None:
        """`Router.heartbeat`."""
        self._note(now_s, "heartbeat")
        self.router.heartbeat(now_s)

    def close(self, now_s: float) -> None:
        """`Router.close`."""
        self._note(now_s, "close")
        self.router.close(now_s)

    def drain(self, peer: PeerId, limit_bytes: int, now_s: float) -> list[bytes]:
        """What the writer takes out of the outbox of a peer; the bytes are part of the trace."""
        frames = self.router.outbox(peer).drain(limit_bytes)
        self._note(now_s, "drain", peer.hex(), limit_bytes, [frame.hex() for frame in frames])
        return frames

    def _note(self, now_s: float, *what: object) -> None:
        self.write(json.dumps([now_s, *what], separators=(",", ":")))


def replay(lines: Iterable[str], router: Router) -> Iterator[str]:
    """Feed a fresh router with the events of a trace; yields the trace as it comes out this time.

    Where the two first differ is where something other than the events decided.
    """
    written: list[str] = []
    recorder = Recorder(router, written.append)
    tickets: dict[bytes, Ticket] = {}
    for line in lines:
        now_s, what, *arguments = json.loads(line)
        _repeat(recorder, tickets, what, arguments, now_s)
        for ticket in router.take_tickets():
            tickets[ticket.message_id] = ticket
        yield from written
        written.clear()


def _repeat(
    recorder: Recorder, tickets: dict[bytes, Ticket], what: str, arguments: list[Any], now_s: float
) -> None:
    try:
        _dispatch(recorder, tickets, what, arguments, now_s)
    except UnknownEvent:
        raise
    except (LocalError, RemoteError):
        # It was refused the first time too; what was written down before is what counts.
        return


def _dispatch(
    recorder: Recorder, tickets: dict[bytes, Ticket], what: str, arguments: list[Any], now_s: float
) -> None:
    match what, arguments:
        case "add_peer", [peer, protocol, agent, is_outbound]:
            recorder.add_peer(_peer(peer), protocol, agent, is_outbound=is_outbound, now_s=now_s)
        case "remove_peer", [peer]:
            recorder.remove_peer(_peer(peer), now_s)
        case "frame", [peer, frame]:
            recorder.on_frame(_peer(peer), bytes.fromhex(frame), now_s)
        case "verdict", [message_id, verdict]:
            recorder.on_verdict(tickets.pop(bytes.fromhex(message_id)), Verdict(verdict), now_s)
        case "subscribe", [topic]:
            recorder.subscribe(topic, now_s)
        case "unsubscribe", [topic]:
            recorder.unsubscribe(topic, now_s)
        case "set_validated", [topic, is_validated]:
            recorder.set_validated(topic, is_validated=is_validated, now_s=now_s)
        case "publish", [topic, data]:
            recorder.publish(topic, bytes.fromhex(data), now_s)
        case "heartbeat", []:
            recorder.heartbeat(now_s)
        case "close", []:
            recorder.close(now_s)
        case "drain", [peer, limit_bytes, _]:
            recorder.drain(_peer(peer), limit_bytes, now_s)
        case _:
            raise UnknownEvent(f"{what!r} with {len(arguments)} arguments is no event of a trace")


def _peer(text: str) -> PeerId:
    return PeerId(bytes.fromhex(text))
