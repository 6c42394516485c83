"""multistream-select 1.0: how two sides agree on the protocol of a connection or stream.

Each message is a varint length, a text and a newline.  Both sides begin with
the protocol's own name; the dialer proposes, the listener echoes or says
`na`.  Send what `start` and `receive` give, feed what arrives to `receive`,
until `agreed` is there; `rest` then holds the bytes behind the agreement,
which belong to the agreed protocol.  Source: libp2p connections.
"""

from collections.abc import Container, Sequence

import attrs

from leanmesh.errors import RemoteError
from leanmesh.wire.varint import TruncatedVarint, decode_varint, encode_varint

PROTOCOL_ID = "/multistream/1.0.0"
# A text with its newline.  The longest protocol ids in use have about 60 characters.
MESSAGE_LIMIT_BYTES = 1024
# Proposals a listener answers on one stream.  gossipsub's dialers, the most undecided, have seven.
PROPOSALS_LIMIT = 32

_REFUSAL = "na"


class NegotiationError(RemoteError):
    """A peer broke multistream-select."""


@attrs.define
class ProtocolsRefused(NegotiationError):
    """A peer that speaks none of the protocols we proposed."""

    protocols: tuple[str, ...]

    def __str__(self) -> str:
        return f"the peer refused {' and '.join(self.protocols)}"


def encode_message(text: str) -> bytes:
    """One message: length, text, newline."""
    body = text.encode() + b"\n"
    assert len(body) <= MESSAGE_LIMIT_BYTES, text
    return encode_varint(len(body)) + body


_HEADER = encode_message(PROTOCOL_ID)
_REFUSAL_MESSAGE = encode_message(_REFUSAL)


@attrs.define
class _MessageReader:
    """Cuts messages off the front of a stream; what follows the last one stays in `pending`."""

    pending: bytes = b""
    has_header: bool = False

    def next_text(self) -> str | None:
        """The next message behind the header, None while it is incomplete."""
        text = self._cut()
        if text is None or self.has_header:
            return text
        if text != PROTOCOL_ID:
            raise NegotiationError(f"the peer began with {text[:64]!r} instead of {PROTOCOL_ID}")
        self.has_header = True
        return self._cut()

    def _cut(self) -> str | None:
        try:
            size, start = decode_varint(self.pending)
        except TruncatedVarint:
            return None
        if not 1 <= size <= MESSAGE_LIMIT_BYTES:
            raise NegotiationError(f"message of {size} bytes: 1 to {MESSAGE_LIMIT_BYTES} are taken")
        stop = start + size
        if len(self.pending) < stop:
            return None
        body = self.pending[start:stop]
        if not body.endswith(b"\n"):
            raise NegotiationError(f"message {body[:64]!r} does not end in a newline")
        self.pending = self.pending[stop:]
        try:
            return body[:-1].decode()
        except UnicodeDecodeError:
            raise NegotiationError(f"message {body[:64]!r} is not UTF-8") from None


class MultistreamDialer:
    """The side that proposes: each protocol in turn, most wanted first.

    With a single protocol the caller may send its data behind `start` without
    waiting: a listener that speaks it reads on, and one that does not would
    have been of no use anyway.
    """

    def __init__(self, protocols: Sequence[str]) -> None:
        assert protocols, "there has to be something to propose"
        self.agreed: str | None = None
        self._protocols = tuple(protocols)
        self._proposed = 0
        self._reader = _MessageReader()

    @property
    def rest(self) -> bytes:
        """The bytes behind the agreement."""
        return self._reader.pending

    def start(self) -> bytes:
        """Header and first proposal, which go out together."""
        return _HEADER + encode_message(self._protocols[0])

    def receive(self, chunk: bytes) -> bytes:
        """Take the listener's next bytes; gives what is to be sent now.

        Raises ProtocolsRefused when the last proposal was refused.
        """
        assert self.agreed is None, "the negotiation is over: bytes belong to the protocol"
        self._reader.pending += chunk
        out = b""
        while self.agreed is None and (text := self._reader.next_text()) is not None:
            proposal = self._protocols[self._proposed]
            if text == proposal:
                self.agreed = proposal
            elif text != _REFUSAL:
                raise NegotiationError(f"the peer answered {text[:64]!r} to {proposal}")
            elif self._proposed + 1 == len(self._protocols):
                raise ProtocolsRefused(self._protocols)
            else:
                self._proposed += 1
                out += encode_message(self._protocols[self._proposed])
        return out


class MultistreamListener:
    """The side that answers: the first proposal that it speaks is agreed on."""

    def __init__(self, protocols: Container[str]) -> None:
        self.agreed: str | None = None
        self._protocols = protocols
        self._has_answered = False
        self._proposals = 0
        self._reader = _MessageReader()

    @property
    def rest(self) -> bytes:
        """The bytes behind the agreement."""
        return self._reader.pending

    def start(self) -> bytes:
        """Nothing: the header goes out with the first answer, one write instead of two."""
        return b""

    def receive(self, chunk: bytes) -> bytes:
        """Take the dialer's next bytes; gives what is to be sent now."""
        assert self.agreed is None, "the negotiation is over: bytes belong to the protocol"
        self._reader.pending += chunk
        out = b""
        while self.agreed is None and (text := self._reader.next_text()) is not None:
            self._proposals += 1
            if text in self._protocols:
                self.agreed = text
                out += encode_message(text)
            elif self._proposals < PROPOSALS_LIMIT:
                out += _REFUSAL_MESSAGE
            else:
                raise NegotiationError(f"the peer made {PROPOSALS_LIMIT} proposals, the last {text[:64]!r}")
        if self._reader.has_header and not self._has_answered:
            self._has_answered = True
            out = _HEADER + out
        return out
