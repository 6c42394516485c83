"""The ping protocol: 32 bytes there, the same 32 bytes back, as often as the dialer likes.

Time and randomness are the caller's: it brings the payload and takes the
time.  Source: libp2p ping.
"""

from leanmesh.errors import RemoteError

PROTOCOL_ID = "/ipfs/ping/1.0.0"
PAYLOAD_BYTES = 32
# Streams that a listener serves for one peer; the specification says two.
STREAMS_LIMIT = 2


class PingError(RemoteError):
    """A peer that answers a ping with something else."""


class PingDialer:
    """The side that asks.  One ping is under way at a time."""

    def __init__(self) -> None:
        self._due = b""

    def ping(self, payload: bytes) -> bytes:
        """What to send for one ping: `payload`, 32 bytes that the peer cannot guess."""
        assert len(payload) == PAYLOAD_BYTES, len(payload)
        assert not self._due, "the ping before this one is not answered yet"
        self._due = payload
        return payload

    def receive(self, chunk: bytes) -> bool:
        """Take the peer's next bytes; gives whether the ping is answered now."""
        if not chunk:
            return False
        if not self._due.startswith(chunk):
            raise PingError(
                f"{chunk[:PAYLOAD_BYTES].hex()} came back where {self._due.hex() or 'nothing'} was due"
            )
        self._due = self._due[len(chunk) :]
        return not self._due


class PingListener:
    """The side that answers."""

    def __init__(self) -> None:
        self._pending = b""

    @property
    def is_inside_payload(self) -> bool:
        """Whether the stream would end in the middle of a ping if it ended now."""
        return bool(self._pending)

    def receive(self, chunk: bytes) -> bytes:
        """Take the dialer's next bytes; gives what is to be sent back, whole payloads only."""
        data = self._pending + chunk
        whole_bytes = len(data) - len(data) % PAYLOAD_BYTES
        self._pending = data[whole_bytes:]
        return data[:whole_bytes]
