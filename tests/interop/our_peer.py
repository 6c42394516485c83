"""Our transport with identify, ping and the test protocols served: what the peers of others talk to."""

import hashlib
import random
from collections.abc import AsyncIterator

import attrs
import trio
from interop.peers import pattern
from leanmesh.identity.keys import KeyKind, PrivateKey
from leanmesh.service.identify_service import IdentifyService
from leanmesh.service.ping_service import PingService
from leanmesh.transport.assembly import tcp_switch
from leanmesh.transport.interface import Connection, Stream
from leanmesh.transport.params import TransportParams
from leanmesh.transport.switch import Switch
from leanmesh.wire import identify, ping
from leanmesh.wire.multiaddr import Multiaddr

SINK = "/leanmesh/test/sink/1"
SOURCE = "/leanmesh/test/source/1"
IDENTIFY_TIMEOUT_S = 10.0
CHUNK_BYTES = 251 << 8  # Whole periods of the pattern: each chunk is the same.
KEY_KINDS = {"ed25519": KeyKind.ED25519, "secp256k1": KeyKind.SECP256K1}


@attrs.frozen
class Digest:
    """How many bytes passed, and their SHA-256."""

    bytes: int
    sha256: str


@attrs.define
class OurPeer:
    """A running switch and what it serves."""

    switch: Switch
    identify: IdentifyService

    @property
    def address(self) -> str:
        """Where we listen, with our peer id."""
        return str(self.switch.listen_addresses[0].with_peer(self.switch.local_peer))

    async def dial(self, address: str) -> Connection:
        """A connection to a peer that told this address."""
        return await self.switch.dial(Multiaddr.from_text(address))


async def start_our_peer(nursery: trio.Nursery, key_type: str) -> OurPeer:
    """Listen on loopback TCP with a new key of this type."""
    key = PrivateKey.generate(KEY_KINDS[key_type])
    switch = tcp_switch(key, TransportParams(), random.Random(1))
    identify_service = IdentifyService(
        key, lambda: tuple(switch.handlers), lambda: switch.listen_addresses, 1, IDENTIFY_TIMEOUT_S
    )
    switch.handlers.update(
        {
            identify.PROTOCOL_ID: identify_service.serve,
            identify.PUSH_PROTOCOL_ID: identify_service.serve_push,
            ping.PROTOCOL_ID: PingService().serve,
            SINK: serve_sink,
            SOURCE: serve_source,
        }
    )
    await nursery.start(switch.run)
    await switch.listen(Multiaddr.from_text("/ip4/127.0.0.1/tcp/0"))
    return OurPeer(switch, identify_service)


async def upload(connection: Connection, count: int) -> Digest:
    """Send so many bytes to a peer's sink; what the peer says it got."""
    stream = await connection.open_stream([SINK])
    await send_pattern(stream, count)
    await stream.send_eof()
    digest, received = b"".join([chunk async for chunk in chunks_of(stream)]).split()
    await stream.aclose()
    return Digest(int(received), digest.decode())


async def download(connection: Connection, count: int) -> Digest:
    """Fetch so many bytes from a peer's source; what we got."""
    stream = await connection.open_stream([SOURCE])
    await stream.send_all(count.to_bytes(8, "big"))
    await stream.send_eof()
    digest = await digest_of(stream)
    await stream.aclose()
    return digest


async def serve_sink(stream: Stream) -> None:
    digest = await digest_of(stream)
    await stream.send_all(f"{digest.sha256} {digest.bytes}\n".encode())
    await stream.aclose()


async def serve_source(stream: Stream) -> None:
    request = b""
    while len(request) < 8:
        request += await stream.receive_some(8 - len(request))
    await send_pattern(stream, int.from_bytes(request, "big"))
    await stream.aclose()


async def send_pattern(stream: Stream, count: int) -> None:
    chunk = pattern(CHUNK_BYTES)
    for sent in range(0, count, CHUNK_BYTES):
        await stream.send_all(chunk[: count - sent])


async def digest_of(stream: Stream) -> Digest:
    """Of everything until the other side's end."""
    count, hashed = 0, hashlib.sha256()
    async for chunk in chunks_of(stream):
        count += len(chunk)
        hashed.update(chunk)
    return Digest(count, hashed.hexdigest())


async def chunks_of(stream: Stream) -> AsyncIterator[bytes]:
    while chunk := await stream.receive_some():
        yield chunk
