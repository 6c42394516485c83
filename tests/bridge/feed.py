"""A sink's queue with a sink at its other end, without a mesh: messages are put as a router would."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256

import attrs
import trio
from leanmesh.bridge.nats_sink import NatsSink
from leanmesh.bridge.params import NatsParams
from leanmesh.service import Outcome, Overflow, ReceivedMessage, SinkBooks, SinkQueue

# As much as a router hands over in one pass before others get their turn.
BURST = 200


@attrs.define(eq=False)
class Feed:
    """What was put, and what became of it."""

    queue: SinkQueue
    ids: list[str] = attrs.field(factory=list[str], init=False)

    @property
    def books(self) -> SinkBooks:
        return self.queue.books

    def put(self, data: bytes, topic: str = "news") -> None:
        message_id = sha256(data).digest()[:20]
        self.ids.append(message_id.hex())
        self.queue.put(ReceivedMessage(topic, data, message_id, None, None, trio.current_time()))

    async def put_all(self, count: int, size_bytes: int = 1024) -> None:
        """Put numbered messages as fast as the queue takes them without a loss."""
        for number in range(count):
            if self.queue.is_full:
                await eventually(lambda: not self.queue.is_full)
            self.put(b"%020d" % number + bytes(size_bytes - 20))
            if number % BURST == 0:
                await trio.lowlevel.checkpoint()

    async def wait_for(self, count: int, outcome: Outcome = Outcome.ACKED) -> None:
        await eventually(lambda: self.books.outcomes[outcome] >= count, timeout_s=60)

    def check(self, **outcomes: int) -> None:
        """The books close, and say just this."""
        assert self.books.balance == 0
        said = {str(outcome): count for outcome, count in self.books.outcomes.items() if count}
        assert said == outcomes


async def eventually(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait until something holds; fail when it does not in time.

    Queue and books tell nobody when they change, because in the node nobody but the sink waits for them.  So
    they are looked at; the pause is no guess at how long anything takes, it leaves the loop to the sink.
    """
    with trio.fail_after(timeout_s):
        while not condition():
            await trio.sleep(0.005)


def make_queue(params: NatsParams) -> SinkQueue:
    return SinkQueue(
        params.name,
        params.queue_limit,
        params.queue_limit_bytes,
        Overflow(params.overflow),
        None,
        SinkBooks(),
    )


@asynccontextmanager
async def feeding(params: NatsParams) -> AsyncIterator[Feed]:
    """A sink that runs; when the context is left its queue is closed and all of it must be carried."""
    feed = Feed(make_queue(params))
    async with trio.open_nursery() as nursery:
        await nursery.start(NatsSink(params), feed.queue)
        yield feed
        feed.queue.close()
