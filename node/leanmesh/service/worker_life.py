"""One process of a worker, from Start to its end: what was asked of it and what it has said."""

from typing import Any, cast

import attrs
import trio

from leanmesh.errors import RemoteError
from leanmesh.metrics.catalog_gossipsub import RECEIVED_UNFILTERED
from leanmesh.metrics.worker_cells import WorkerHandle
from leanmesh.service.worker_messages import Answer, Ask, Failed, Start
from leanmesh.service.worker_process import WorkerProcess

# Questions that may wait for a worker; each belongs to somebody who waits for the answer.
QUESTIONS_LIMIT = 64


class Unanswered(RemoteError):
    """A worker has no answer now, and why."""


@attrs.define(eq=False)
class Life:
    """One process of a worker, from Start to its end."""

    process: WorkerProcess
    handle: WorkerHandle
    ready_at_s: float | None = attrs.field(default=None, init=False)
    stopped_at_s: float | None = attrs.field(default=None, init=False)
    """When it said that its networks had ended."""
    failure: Failed | None = attrs.field(default=None, init=False)
    is_stop_asked: trio.Event = attrs.field(factory=trio.Event, init=False)
    has_heard_all: trio.Event = attrs.field(factory=trio.Event, init=False)
    _asked: int = attrs.field(default=0, init=False)
    _waiting: dict[int, "trio.MemorySendChannel[dict[str, Any]]"] = attrs.field(
        factory=dict[int, "trio.MemorySendChannel[dict[str, Any]]"], init=False
    )
    _questions: "trio.MemorySendChannel[Ask]" = attrs.field(init=False)
    _unsent: "trio.MemoryReceiveChannel[Ask]" = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._questions, self._unsent = trio.open_memory_channel[Ask](QUESTIONS_LIMIT)

    async def send_forever(self, start: Start) -> None:
        """Send Start, then the questions, each whole: a worker that does not read holds up nobody else."""
        try:
            await self.process.channel.send(start)
            async for question in self._unsent:
                await self.process.channel.send(question)
        except trio.BrokenResourceError:
            # Its end is noticed where it is waited for.
            return

    async def ask(self, path: str) -> dict[str, Any]:
        """The answer, whenever it comes.  Unanswered when too many wait, or the process ends."""
        self._asked += 1
        number = self._asked
        answers, answer = trio.open_memory_channel[dict[str, Any]](1)
        try:
            self._questions.send_nowait(Ask(number, path))
            self._waiting[number] = answers
            return await answer.receive()
        except trio.WouldBlock:
            raise Unanswered(f"{QUESTIONS_LIMIT} questions wait for process {self.process.pid}") from None
        except trio.EndOfChannel:
            raise Unanswered(f"process {self.process.pid} ended while it was asked") from None
        finally:
            self._waiting.pop(number, None)

    def answered(self, answer: Answer) -> None:
        """Give an answer to who waits for it; nobody may any more."""
        waiting = self._waiting.pop(answer.number, None)
        if waiting is not None:
            waiting.send_nowait(answer.content)

    def messages_received(self) -> int:
        """Messages that peers have sent it, copies included, as of the page's last copy of its cells.

        Read from that copy: who copies a second time takes from the page what ended in between.
        """
        copy = self.handle.block.copy
        if copy is None:
            return 0
        return sum(
            cast(int, value)
            for spec, series in copy.families()
            if spec.name == RECEIVED_UNFILTERED.name
            for _, value in series
        )

    def close(self) -> None:
        """Nobody will answer."""
        for waiting in self._waiting.values():
            waiting.close()
