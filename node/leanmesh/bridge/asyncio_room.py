"""The asyncio room: a loop of asyncio on top of Trio, for as long as a sink runs.

Each sink has a loop of its own, as a child of its task: what fails in one
does not reach another, and nothing in it outlives the sink.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

import attrs
import trio
import trio_asyncio  # pyright: ignore[reportMissingTypeStubs]

from leanmesh.bridge.errors import AsyncioCancelled
from leanmesh.service import Deliver, Outcome, ReceivedMessage

LOGGER = logging.getLogger(__name__)

Result = TypeVar("Result")

# What a client library may take to say goodbye.
CLOSE_TIMEOUT_S = 1.0


@attrs.frozen
class AsyncioRoom:
    """A way into one asyncio loop."""

    _loop: Any

    async def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine of asyncio; about 40 us each time.  Cancellation is passed on to it.

        One that cancels itself raises AsyncioCancelled: asyncio's own error is no Exception, and
        would end the node.
        """
        try:
            return await self._loop.run_aio_coroutine(coroutine)
        except asyncio.CancelledError as error:
            raise AsyncioCancelled("it was cancelled within asyncio") from error


@asynccontextmanager
async def open_asyncio(name: str) -> AsyncGenerator[AsyncioRoom]:
    """A loop of asyncio.  Its tasks are cancelled, and waited for, when the context is left."""

    def report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # The default ends the loop; a client library's stray task is no reason for that.
        error = context.get("exception")
        LOGGER.warning("%s: in asyncio: %s", name, context.get("message"), exc_info=error)

    # Untyped, as is all of that library.
    async with cast(Any, trio_asyncio).open_loop() as loop:
        loop.set_exception_handler(report)
        yield AsyncioRoom(loop)


@asynccontextmanager
async def in_asyncio(deliver_aio: Deliver) -> AsyncGenerator[Deliver]:
    """Make a callable of asyncio one of Trio; if it is a context manager it is entered and left here."""
    async with open_asyncio("sink") as room:

        async def call_aio(batch: Sequence[ReceivedMessage]) -> Mapping[Outcome, int] | None:
            return await deliver_aio(batch)

        async def deliver(batch: Sequence[ReceivedMessage]) -> Mapping[Outcome, int] | None:
            return await room.run(call_aio(batch))

        if not isinstance(deliver_aio, AbstractAsyncContextManager):
            yield deliver
            return
        context = cast("AbstractAsyncContextManager[object]", deliver_aio)
        await room.run(_enter_aio(context))
        try:
            yield deliver
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
                await room.run(_leave_aio(context))


async def _enter_aio(context: AbstractAsyncContextManager[object]) -> None:
    await context.__aenter__()


async def _leave_aio(context: AbstractAsyncContextManager[object]) -> None:
    await context.__aexit__(None, None, None)
