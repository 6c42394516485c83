"""The test protocols: a sink that answers with a digest, and a source of as many bytes as were asked for."""

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from events import emit
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamEOF, StreamError

SINK = TProtocol("/leanmesh/test/sink/1")
SOURCE = TProtocol("/leanmesh/test/source/1")
PATTERN_PERIOD = 251
CHUNK_BYTES = 64 << 10
STEP_TIMEOUT_S = 10.0
# 64 MiB through a slow peer on a busy machine.
TRANSFER_TIMEOUT_S = 300.0

# Byte i % 251; prime, so that no chunk of a power of two bytes repeats the one before it.
PATTERN = bytes(i % PATTERN_PERIOD for i in range(PATTERN_PERIOD + CHUNK_BYTES))

Talk = Callable[[Any], Awaitable[dict[str, object]]]


def serve_transfers(host: Any) -> None:
    """Answer both protocols for as long as the host lives."""

    async def sink(stream: Any) -> None:
        async with told(stream, "sink") as tell:
            count, digest = await digest_of(stream)
            await stream.write(f"{digest} {count}\n".encode())
            await stream.close_write()
            tell(bytes=count, sha256=digest)

    async def source(stream: Any) -> None:
        async with told(stream, "source") as tell:
            count = int.from_bytes(await read_exactly(stream, 8), "big")
            digest = await send_pattern(stream, count)
            await stream.close_write()
            tell(bytes=count, sha256=digest)

    host.set_stream_handler(SINK, sink)
    host.set_stream_handler(SOURCE, source)


async def upload(host: Any, peer_id: Any, count: int) -> None:
    """Send so many bytes to a peer's sink."""
    async with told(await open_stream(host, peer_id, SINK), "upload") as tell:
        digest = await send_pattern(tell.stream, count)
        await tell.stream.close_write()
        answer = b""
        async for chunk in chunks_of(tell.stream):
            answer += chunk
        remote_digest, remote_count = answer.decode().split()
        tell(bytes=count, sha256=digest, remote_sha256=remote_digest, remote_bytes=int(remote_count))


async def download(host: Any, peer_id: Any, count: int) -> None:
    """Fetch so many bytes from a peer's source."""
    async with told(await open_stream(host, peer_id, SOURCE), "download") as tell:
        await tell.stream.write(count.to_bytes(8, "big"))
        await tell.stream.close_write()
        received, digest = await digest_of(tell.stream)
        tell(bytes=received, sha256=digest)


async def open_stream(host: Any, peer_id: Any, protocol: TProtocol) -> Any:
    """A stream on which the protocol is agreed."""
    with trio.fail_after(STEP_TIMEOUT_S):
        return await host.new_stream(peer_id, [protocol])


class Tell:
    """Says how a transfer went; holds the stream for those who opened it in the same breath."""

    def __init__(self, stream: Any, direction: str) -> None:
        self.stream = stream
        self.direction = direction
        self.peer = str(stream.muxed_conn.peer_id)
        self.began_s = time.monotonic()

    def __call__(self, **fields: object) -> None:
        seconds = time.monotonic() - self.began_s
        emit("transfer", direction=self.direction, peer=self.peer, seconds=seconds, **fields)


@asynccontextmanager
async def told(stream: Any, direction: str) -> AsyncIterator[Tell]:
    """One transfer within its time; what goes wrong is told and resets the stream."""
    tell = Tell(stream, direction)
    try:
        with trio.fail_after(TRANSFER_TIMEOUT_S):
            yield tell
    except (StreamError, StreamEOF, ValueError, trio.TooSlowError) as error:
        emit("error", step=direction, peer=tell.peer, reason=repr(error))
        await stream.reset()
    else:
        await stream.close()


async def send_pattern(stream: Any, count: int) -> str:
    """Send the first `count` bytes of the pattern; their digest."""
    hashed = hashlib.sha256()
    for sent in range(0, count, CHUNK_BYTES):
        phase = sent % PATTERN_PERIOD
        part = PATTERN[phase : phase + min(CHUNK_BYTES, count - sent)]
        hashed.update(part)
        await stream.write(part)
    return hashed.hexdigest()


async def digest_of(stream: Any) -> tuple[int, str]:
    """Count and digest of all that comes until the other side has closed."""
    count, hashed = 0, hashlib.sha256()
    async for chunk in chunks_of(stream):
        count += len(chunk)
        hashed.update(chunk)
    return count, hashed.hexdigest()


async def chunks_of(stream: Any) -> AsyncIterator[bytes]:
    """Everything until the end, as it comes."""
    while True:
        try:
            chunk = await stream.read(CHUNK_BYTES)
        except StreamEOF:
            return
        if not chunk:
            return
        yield chunk


async def read_exactly(stream: Any, count: int) -> bytes:
    """So many bytes, or ValueError at an early end."""
    data = b""
    while len(data) < count:
        chunk = await stream.read(count - len(data))
        if not chunk:
            raise ValueError(f"the stream ended after {len(data)} of {count} bytes")
        data += chunk
    return data
