"""Reads a stream back with the client library itself, in asyncio, as a consumer on another machine would."""

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import nats
import nats.errors
import trio_asyncio
from nats.js.api import StreamConfig

FETCH = 500


@attrs.frozen
class Stored:
    """One message as a consumer sees it."""

    subject: str
    data: bytes
    headers: dict[str, str]


async def with_jetstream(url: str, act: Callable[[Any], Awaitable[Any]]) -> Any:
    """Do something with JetStream, in an asyncio loop of its own."""

    async def act_aio() -> Any:
        client = await nats.connect(url)
        try:
            return await act(client.jetstream())
        finally:
            await client.close()

    async with trio_asyncio.open_loop() as loop:
        return await loop.run_aio_coroutine(act_aio())


async def make_stream(url: str, name: str = "leanmesh", subjects: str = "leanmesh.>", **config: Any) -> None:
    await with_jetstream(
        url, lambda js: js.add_stream(StreamConfig(name=name, subjects=[subjects], **config))
    )


async def count_stored(url: str, stream: str = "leanmesh") -> int:
    info = await with_jetstream(url, lambda js: js.stream_info(stream))
    return info.state.messages


async def read_all(url: str, count: int, durable: str = "test", subject: str = "leanmesh.>") -> list[Stored]:
    """The first `count` messages that a durable consumer gets, each acknowledged."""

    async def read(js: Any) -> list[Stored]:
        consumer = await js.pull_subscribe(subject, durable=durable)
        got: list[Stored] = []
        while len(got) < count:
            for message in await consumer.fetch(min(FETCH, count - len(got)), timeout=10):
                got.append(Stored(message.subject, message.data, dict(message.headers or {})))
                await message.ack()
        return got

    return await with_jetstream(url, read)
