"""One connection to NATS, from the handshake until it is lost: publishes, and hears what is acknowledged.

Every message is sent with a reply subject of our own that ends in its number,
so that one subscription hears all acknowledgements: no future, task or timer per message.
"""

import json
import logging
import re
import time
from collections.abc import Iterable
from typing import Any, cast

import attrs
import trio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from leanmesh.bridge.errors import NatsUnavailable
from leanmesh.bridge.in_flight import Carried, InFlight
from leanmesh.bridge.nats_client import check_stream_aio, close_aio, connect_aio
from leanmesh.bridge.params import NatsParams
from leanmesh.bridge.subjects import subject_of
from leanmesh.service import Outcome, ReceivedMessage

LOGGER = logging.getLogger(__name__)

# Headers of JetStream: the id by which it knows a message again, and the stream that must take it.
ID_HEADER = "Nats-Msg-Id"
STREAM_HEADER = "Nats-Expected-Stream"
# Headers of ours.
TOPIC_HEADER = "Leanmesh-Topic"
PEER_HEADER = "Leanmesh-Peer"
RECEIVED_HEADER = "Leanmesh-Received-At"

# JetStream's own codes, for what is larger than the stream takes.
TOO_LARGE_CODES = {10054}
# And those that speak of the subject, not of the message: no stream takes it, or another one than ours.
UNTAKEN_CODES = {503, 10060}
# A declined message is sent again on the same connection after the pause of a lost one, at most this.
DECLINED_PAUSE_LIMIT_S = 1.0
# Subjects that are known to be taken by no stream; the one known longest makes room.
UNTAKEN_LIMIT = 1024

# The server ends connections whose lines are longer than 4 KiB; the rest is for the reply subject and sizes.
SUBJECT_LIMIT_BYTES = 3072

FORBIDDEN_SUBJECT = re.compile(r"permissions violation for publish to \"(.+)\"", re.IGNORECASE)


@attrs.define(eq=False)
class NatsSession:
    """One connection.  `lost` is set when it is of no more use, and `trouble` then says why."""

    params: NatsParams
    in_flight: InFlight
    lost: trio.Event = attrs.field(factory=trio.Event, init=False)
    trouble: str = attrs.field(default="", init=False)
    opened_at_s: float = attrs.field(default=0.0, init=False)
    acked: int = attrs.field(default=0, init=False)
    # Declined and to be sent again; since when there are any; the last answer of either kind.
    _declined: dict[int, None] = attrs.field(factory=dict[int, None], init=False)
    _declined_at_s: float = attrs.field(default=0.0, init=False)
    _declined_because: str = attrs.field(default="", init=False)
    _acked_at_s: float = attrs.field(default=float("-inf"), init=False)
    _client: Client | None = attrs.field(default=None, init=False)
    _inbox: str = attrs.field(default="", init=False)

    def fail(self, trouble: str) -> None:
        """This connection is of no more use."""
        if not self.lost.is_set():
            self.trouble = trouble
            self.lost.set()

    def check(self, now_s: float) -> None:
        """Look whether the server still answers.  Called about once a second."""
        silent_s = now_s - max(self.in_flight.oldest_sent_at_s, self.opened_at_s)
        if self._client is not None and not self._client.is_connected:
            self.fail(f"disconnected: {self._client.last_error or 'the server closed the connection'}")
        elif silent_s > self.params.ack_timeout_s:
            self.fail(f"no acknowledgement for {silent_s:.1f} s")
        elif self._declined and self._acked_at_s < self._declined_at_s:
            # Nothing is taken: it is no matter of single messages, and all are kept for another connection.
            self.fail(f"JetStream declines messages: {self._declined_because}")

    def take_declined(self, now_s: float) -> list[tuple[int, Carried]]:
        """Declined messages whose time has come to be sent again."""
        again = [
            (number, carried)
            for number in self._declined
            if (carried := self.in_flight.get(number)) is not None and carried.retry_at_s <= now_s
        ]
        for number, _ in again:
            del self._declined[number]
        return again

    # What runs in asyncio.

    async def open_aio(self) -> None:
        """Connect, see that the stream is there, and listen.  NatsRefused or NatsUnavailable."""
        client = await connect_aio(self.params, self._on_error, self.fail)
        self._client = client
        await check_stream_aio(client, self.params)
        self._inbox = client.new_inbox()
        try:
            await cast(Any, client).subscribe(
                f"{self._inbox}.*",
                cb=self._on_answer_aio,
                # Bounded by what is in flight: a limit here would lose acknowledgements.
                pending_msgs_limit=0,
                pending_bytes_limit=0,
            )
        except (Error, OSError) as error:
            raise NatsUnavailable(f"the NATS server went away: {error}") from error
        self.opened_at_s = trio.current_time()

    async def close_aio(self) -> None:
        """Disconnect.  What is unacknowledged stays in flight."""
        self.fail("closed")
        if self._client is not None:
            await close_aio(self._client)

    async def publish_aio(self, batch: Iterable[tuple[int, Carried]]) -> None:
        """Send messages; returns when they are on their way and not when they are acknowledged."""
        client = self._client
        assert client is not None
        now_s = trio.current_time()
        unix_offset_s = time.time() - now_s
        for number, carried in batch:
            if self.lost.is_set() or self.in_flight.get(number) is None:
                continue
            message = carried.message
            subject = subject_of(self.params.subject, message.topic)
            headers = self._headers(message, unix_offset_s)
            if _size(headers) + len(message.data) > client.max_payload:
                self._give_up(number, Outcome.TOO_LARGE, f"the server takes {client.max_payload} bytes")
                continue
            if len(subject) > SUBJECT_LIMIT_BYTES:
                self._give_up(number, Outcome.REFUSED, "its topic is too long for a subject")
                continue
            if carried.sent_at_s is not None:
                self.in_flight.queue.books.republished += 1
            carried.sent_at_s = now_s
            try:
                await client.publish(subject, message.data, f"{self._inbox}.{number}", headers)
            except (Error, OSError) as error:
                self.fail(f"publishing failed: {error or type(error).__name__}")

    def _headers(self, message: ReceivedMessage, unix_offset_s: float) -> dict[str, str]:
        headers = {
            ID_HEADER: message.message_id.hex(),
            STREAM_HEADER: self.params.stream,
            TOPIC_HEADER: message.topic,
            RECEIVED_HEADER: f"{message.received_at_s + unix_offset_s:.6f}",
        }
        if message.peer is not None:
            headers[PEER_HEADER] = str(message.peer)
        return headers

    async def _on_answer_aio(self, answer: Msg) -> None:
        number_text = answer.subject[len(self._inbox) + 1 :]
        try:
            number = int(number_text)
            told: Any = json.loads(answer.data) if answer.data else {}
        except (ValueError, RecursionError):
            LOGGER.debug("%s: an answer that is no acknowledgement: %r", self.params.name, answer.data[:64])
            return
        if not isinstance(told, dict):
            return
        fields = cast("dict[str, Any]", told)
        if fields.get("stream") == self.params.stream and "seq" in fields and "error" not in fields:
            self._on_acked(number, is_duplicate=bool(fields.get("duplicate")))
        elif (answer.headers or {}).get("Status") == "503":
            self._on_declined(number, 503, f"no stream takes {answer.reply or 'its subject'}")
        elif isinstance(fields.get("error"), dict):
            error = cast("dict[str, Any]", fields["error"])
            self._on_declined(number, error.get("err_code"), str(error.get("description")))

    def _on_error(self, error: Exception) -> None:
        forbidden = FORBIDDEN_SUBJECT.search(str(error))
        if forbidden is None:
            self.fail(str(error) or type(error).__name__)
            return
        # The library may have changed the case of what the server said.
        subject = forbidden[1].lower()
        for number, carried in self.in_flight:
            if subject_of(self.params.subject, carried.message.topic).lower() == subject:
                self._give_up(number, Outcome.REFUSED, f"we may not publish to {forbidden[1]}")

    # What became of messages.

    def _on_acked(self, number: int, *, is_duplicate: bool) -> None:
        carried = self.in_flight.get(number)
        if carried is not None and self.in_flight.settle(number, Outcome.ACKED):
            self.acked += 1
            self._acked_at_s = trio.current_time()
            self.in_flight.queue.books.duplicates += is_duplicate
            if self.in_flight.untaken:
                self.in_flight.untaken.pop(subject_of(self.params.subject, carried.message.topic), None)

    def _on_declined(self, number: int, code: object, reason: str) -> None:
        """The server answered with an error: for ever, or until it is asked again."""
        carried = self.in_flight.get(number)
        if carried is None:
            return
        now_s = trio.current_time()
        carried.attempts += 1
        subject = subject_of(self.params.subject, carried.message.topic)
        untaken = self.in_flight.untaken
        if code in TOO_LARGE_CODES:
            self._give_up(number, Outcome.TOO_LARGE, reason)
        elif carried.attempts >= self.params.attempts_limit:
            if code in UNTAKEN_CODES:
                if len(untaken) == UNTAKEN_LIMIT:
                    del untaken[next(iter(untaken))]
                untaken[subject] = now_s
            self._give_up(number, Outcome.REFUSED, reason)
        elif untaken.get(subject, self._acked_at_s) < self._acked_at_s and code in UNTAKEN_CODES:
            # Others are taken since that was found out: it is the subject, and need not be found out again.
            self._give_up(number, Outcome.REFUSED, reason)
        else:
            if not self._declined:
                self._declined_at_s, self._declined_because = now_s, f"{reason} ({code})"
            self._declined[number] = None
            carried.pause_s = min(
                2 * carried.pause_s or self.params.reconnect_first_s, DECLINED_PAUSE_LIMIT_S
            )
            carried.retry_at_s = now_s + carried.pause_s

    def _give_up(self, number: int, outcome: Outcome, reason: str) -> None:
        carried = self.in_flight.get(number)
        if carried is not None and self.in_flight.settle(number, outcome):
            message = carried.message
            LOGGER.warning(
                "sink %s: message %s of %s (%d bytes) is %s: %s",
                self.params.name,
                message.message_id.hex(),
                message.topic,
                len(message.data),
                outcome,
                reason,
            )


def _size(headers: dict[str, str]) -> int:
    """Bytes of a block of headers on the wire: version line, `name: value` lines, empty line."""
    return 14 + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())
