"""Identify: tells each peer who we are, and asks each who it is.

What a peer says is asked for once per connection, and renewed by its pushes.
"""

import logging
from collections.abc import Callable, Sequence
from importlib.metadata import version

import attrs
import trio

from leanmesh.identity.keys import PrivateKey
from leanmesh.identity.peer_record import PeerRecord
from leanmesh.transport.errors import StreamRefused, StreamReset
from leanmesh.transport.interface import Connection, Stream
from leanmesh.wire.identify import PROTOCOL_ID, PUSH_PROTOCOL_ID, Identify, IdentifyReader
from leanmesh.wire.multiaddr import Multiaddr

LOGGER = logging.getLogger(__name__)

AGENT_VERSION = f"leanmesh/{version('leanmesh')}"
PROTOCOL_VERSION = "ipfs/0.1.0"

NOTHING = Identify()


@attrs.define(eq=False)
class IdentifyService:
    """Identify and identify push of one network.

    `protocols` and `addresses` are asked each time: what is served may change.
    """

    key: PrivateKey
    protocols: Callable[[], Sequence[str]]
    addresses: Callable[[], Sequence[Multiaddr]]
    record_number: int
    timeout_s: float
    on_silent: Callable[[str], None] = lambda _: None
    """A peer did not say who it is: timeout, refused or empty."""
    known: dict[Connection, Identify] = attrs.field(factory=dict[Connection, Identify], init=False)

    def about(self, connection: Connection) -> Identify:
        """What we say of ourselves to the other end of a connection."""
        addresses = tuple(self.addresses())
        record = PeerRecord(
            self.key.peer_id, self.record_number, tuple(address.to_bytes() for address in addresses)
        )
        return Identify(
            protocol_version=PROTOCOL_VERSION,
            agent_version=AGENT_VERSION,
            public_key=self.key.public_key,
            listen_addresses=addresses,
            observed_address=connection.remote_address,
            protocols=tuple(self.protocols()),
            signed_peer_record=record.seal(self.key),
        )

    async def ask(self, connection: Connection) -> Identify:
        """Ask a peer who it is.  One that does not say, or not in time, is a stranger with empty fields.

        The connection lives on all the same: what it speaks is asked stream by stream.
        """
        told = NOTHING
        reason, why = "timeout", f"no answer within {self.timeout_s:g} s"
        with trio.move_on_after(self.timeout_s):
            try:
                stream = await connection.open_stream([PROTOCOL_ID], timeout_s=self.timeout_s)
                told = await self._read(stream)
                reason, why = "empty", "its answer is empty"
            except (StreamRefused, StreamReset) as error:
                reason, why = "refused", str(error)
        if told == NOTHING:
            self.on_silent(reason)
            LOGGER.info("%s does not say who it is: %s", connection.remote_peer.short, why)
        if not connection.is_closed:
            self.known[connection] = told
        return told

    async def serve(self, stream: Stream) -> None:
        """A peer asks who we are."""
        with trio.move_on_after(self.timeout_s):
            await stream.send_all(self.about(stream.connection).encode())
            await stream.aclose()
            return
        stream.reset()

    async def serve_push(self, stream: Stream) -> None:
        """A peer says what has changed."""
        connection = stream.connection
        with trio.move_on_after(self.timeout_s):
            push = await self._read(stream)
            if not connection.is_closed:
                self.known[connection] = self.known.get(connection, Identify()).updated_by(push)
            return
        stream.reset()

    async def push(self, connection: Connection) -> None:
        """Say what has changed."""
        with trio.move_on_after(self.timeout_s):
            try:
                stream = await connection.open_stream([PUSH_PROTOCOL_ID], timeout_s=self.timeout_s)
            except StreamRefused:
                return
            await stream.send_all(self.about(connection).encode())
            await stream.aclose()

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self.known.pop(connection, None)

    async def _read(self, stream: Stream) -> Identify:
        reader = IdentifyReader()
        try:
            while chunk := await stream.receive_some():
                reader.receive(chunk)
            await stream.aclose()
        finally:
            stream.reset()
        return reader.finish(stream.connection.remote_peer)
