"""The NATS sink: from the sink's queue into a stream of JetStream, each message once.

This is the side of Trio: it takes batches, hands them across, and makes a new
connection whenever one is lost.  What is unacknowledged then is sent again, in its
order, before anything new; the server knows it by its id.
"""

import contextlib
import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING

import attrs
import trio

from leanmesh.bridge.asyncio_room import AsyncioRoom, open_asyncio
from leanmesh.bridge.errors import AsyncioCancelled, NatsMissing, NatsRefused, NatsUnavailable
from leanmesh.bridge.in_flight import Carried, InFlight
from leanmesh.bridge.params import NatsParams
from leanmesh.service import SinkQueue
from leanmesh.service.events import tell

if TYPE_CHECKING:
    from leanmesh.bridge.nats_session import NatsSession

LOGGER = logging.getLogger(__name__)

# A connection that fell silent is noticed within this time of its deadline.
CHECK_INTERVAL_S = 0.5
# Beyond what the session gives itself: what is cancelled meanwhile still says goodbye.
CLOSE_TIMEOUT_S = 2.0


@attrs.define(eq=False)
class NatsSink:
    """Carries messages into a stream: a Drain of a node's sink."""

    params: NatsParams

    def __attrs_post_init__(self) -> None:
        if find_spec("nats") is None:
            raise NatsMissing("a NATS sink needs a library more: pip install leanmesh[nats]")

    async def __call__(
        self, queue: SinkQueue, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Carry until the queue is closed, empty and everything is acknowledged.

        Started once the stream is there, unless the settings say that it may be missing; until
        then NatsRefused and NatsUnavailable are raised.  Afterwards a server may be away.
        """
        params = self.params
        in_flight = InFlight(queue, params.in_flight_limit, params.in_flight_limit_bytes)
        pause_s = params.reconnect_first_s
        async with open_asyncio(f"sink {params.name}") as room:
            session: NatsSession | None = None
            if not params.starts_without_server:
                session = await self._open(room, in_flight)
            task_status.started()
            if session is None:
                session, pause_s = await self._open_again(room, in_flight, 0.0)
            while session is not None:
                self._tell_connected(queue)
                try:
                    await self._carry(room, session, in_flight)
                finally:
                    queue.books.is_connected = False
                    trouble = session.trouble
                    await _close(room, session)
                if not trouble:
                    return
                self._tell_lost(in_flight, trouble)
                if session.acked:
                    pause_s = params.reconnect_first_s
                session, pause_s = await self._open_again(room, in_flight, pause_s)

    async def _open(self, room: AsyncioRoom, in_flight: InFlight) -> "NatsSession":
        # 315 ms to import, which only those pay who use it.
        from leanmesh.bridge.nats_session import NatsSession

        session = NatsSession(self.params, in_flight)
        is_open = False
        try:
            await room.run(session.open_aio())
            is_open = True
        except AsyncioCancelled as error:
            raise NatsUnavailable(f"connecting to NATS ended half-way: {error}") from error
        finally:
            if not is_open:
                await _close(room, session)
        return session

    async def _open_again(
        self, room: AsyncioRoom, in_flight: InFlight, pause_s: float
    ) -> "tuple[NatsSession | None, float]":
        """Another connection when it can be had, and the next pause.  None: there is nothing left to do."""
        queue = in_flight.queue
        told = ""
        while not queue.is_closed or queue or in_flight:
            await _pause(queue, pause_s)
            pause_s = min(max(2 * pause_s, self.params.reconnect_first_s), self.params.reconnect_limit_s)
            try:
                return await self._open(room, in_flight), pause_s
            except (NatsRefused, NatsUnavailable) as error:
                if str(error) != told:
                    told = str(error)
                    LOGGER.warning("sink %s: %s; it is tried again", self.params.name, told)
        return None, pause_s

    async def _carry(self, room: AsyncioRoom, session: "NatsSession", in_flight: InFlight) -> None:
        """Use one connection until everything has been carried, or until it is lost."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, room, session, nursery.cancel_scope)
            limit = self.params.batch_limit
            again = list(in_flight)
            for start in range(0, len(again), limit):
                await _publish(room, session, again[start : start + limit])
            while batch := await _take(in_flight, limit):
                await _publish(room, session, batch)
            await in_flight.wait_until_empty()
            nursery.cancel_scope.cancel()

    def _tell_connected(self, queue: SinkQueue) -> None:
        queue.books.is_connected = True
        tell(
            "sink_connected",
            f"sink {self.params.name} carries messages into the stream {self.params.stream}",
            sink=self.params.name,
            stream=self.params.stream,
        )

    def _tell_lost(self, in_flight: InFlight, trouble: str) -> None:
        tell(
            "sink_lost",
            f"sink {self.params.name} lost its server: {trouble}; {len(in_flight)} messages are sent again",
            level=logging.WARNING,
            sink=self.params.name,
            reason=trouble,
            in_flight=len(in_flight),
        )


async def _publish(room: AsyncioRoom, session: "NatsSession", batch: list[tuple[int, Carried]]) -> None:
    try:
        await room.run(session.publish_aio(batch))
    except AsyncioCancelled as error:
        session.fail(f"publishing ended half-way: {error}")


async def _watch(room: AsyncioRoom, session: "NatsSession", scope: trio.CancelScope) -> None:
    """Send again what was declined, and end the use of a connection when it is lost."""
    while not session.lost.is_set():
        with trio.move_on_after(CHECK_INTERVAL_S):
            await session.lost.wait()
        session.check(trio.current_time())
        if not session.lost.is_set() and (again := session.take_declined(trio.current_time())):
            await _publish(room, session, again)
    scope.cancel()


async def _take(in_flight: InFlight, limit: int) -> list[tuple[int, Carried]]:
    """The next batch, which is in flight from now on.  Empty: the queue is closed and empty."""
    await in_flight.wait_for_room()
    messages = await in_flight.queue.take(min(limit, in_flight.room), in_flight.room_bytes)
    return [in_flight.add(message) for message in messages]


async def _pause(queue: SinkQueue, pause_s: float) -> None:
    """Wait before the next attempt; not for a queue that closes, unless it is closed already."""
    if queue.is_closed:
        await trio.sleep(pause_s)
        return
    with trio.move_on_after(pause_s):
        await queue.closed.wait()


async def _close(room: AsyncioRoom, session: "NatsSession") -> None:
    with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True), contextlib.suppress(AsyncioCancelled):
        await room.run(session.close_aio())
