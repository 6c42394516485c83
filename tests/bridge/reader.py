"""Reads a stream back with the client library itself, in asyncio, as a consumer on another machine would."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import nats
import nats.errors
import trio
from nats.js.api import StreamConfig

FETCH = 500


@attrs.frozen
class Stored:
    """One message as a consumer sees it."""

    subject: str
    data: bytes
    headers: dict[str, str]


async def with_jetstream(url: str, act: Callable[[Any], Awaitable[Any]]) -> Any:
    """Do something with JetStream, in an asyncio loop of its own, in a thread of its own."""

    async def act_aio() -> Any:
        # The library's own 2 and 5 seconds are short for a machine that runs several tests at once.
        client = await nats.connect(url, connect_timeout=30)
        try:
            return await act(client.jetstream(timeout=30))
        finally:
            await client.close()

    return await trio.to_thread.run_sync(asyncio.run, act_aio())


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


async def read_ids(url: str, count: int) -> list[str]:
    """The ids of all messages of a stream that holds `count`, in its order."""

    async def read(js: Any) -> list[str]:
        ids: list[str] = []
        are_all_read = asyncio.Event()

        async def on_message(message: Any) -> None:
            ids.append(message.headers["Nats-Msg-Id"])
            if len(ids) >= count:
                are_all_read.set()

        await js.subscribe("leanmesh.>", cb=on_message, ordered_consumer=True, pending_bytes_limit=1 << 30)
        await are_all_read.wait()
        return ids

    return await with_jetstream(url, read)
