"""The gossip service: owns one router and its timer, and moves what it decides.

Readers hand frames to the router as they arrive.  What the router wants sent
is written after all input that was ready has been handled: one flusher task for
the whole network is woken at most once per turn of the loop, however many
messages and peers the turn had.  That is what makes writes coalesce.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import attrs
import trio

from leanmesh.errors import LocalError, RemoteError
from leanmesh.gossip.dialect import PROTOCOLS
from leanmesh.gossip.outbox import Outbox
from leanmesh.gossip.router import Router
from leanmesh.gossip.trace import Recorder
from leanmesh.gossip.validation import Ticket, Verdict
from leanmesh.identity.peer_id import PeerId
from leanmesh.service.blame import first_of
from leanmesh.service.deliveries import Deliveries
from leanmesh.service.link import Link
from leanmesh.service.metering import WorkMeter
from leanmesh.service.params import ServiceParams
from leanmesh.service.pauses import Pauses
from leanmesh.service.receipts import AwaitedMessages, Receipt
from leanmesh.service.validators import Validators
from leanmesh.transport.errors import CloseReason, StreamRefused, StreamReset
from leanmesh.transport.interface import Connection, Stream
from leanmesh.wire.frames import FrameSplitter

LOGGER = logging.getLogger(__name__)

# How long a mesh change that was not reported can stay unseen.
MESH_TICK_S = 1.0

# Between a gossip stream that a peer ended and the next one on the same connection.
RELINK_FIRST_S = 1.0
RELINK_LIMIT_S = 60.0
# A stream that lived this long has worked: the pauses begin anew.
RELINK_STABLE_AFTER_S = 60.0


class ServiceMetrics(Protocol):
    """What the service reports besides what the core's observer sees."""

    def store(self, count: int) -> None:
        """So many distinct peers are in any mesh."""
        ...

    def heartbeat_done(self, duration_s: float, lateness_s: float) -> None:
        """A heartbeat took so long and began so late."""
        ...

    def rpcs_sent(self, rpcs: int, size_bytes: int) -> None:
        """So many RPCs, of so many bytes, were taken out of an outbox."""
        ...

    def empty_frames(self, count: int) -> None:
        """So many frames of a peer held nothing and were skipped."""
        ...

    def outbox_closed(self, outbox: Outbox) -> None:
        """A peer is gone, and with it this outbox."""
        ...

    def take_tally(self) -> list[tuple[str, int, int]]:
        """Topics of the copies since the last call, with the first copies and the duplicates of each."""
        ...


@attrs.define(eq=False)
class _Reader:
    """One stream that a peer opened to us, and how far it is."""

    stream: Stream
    scope: trio.CancelScope
    splitter: FrameSplitter
    last_chunk_s: float
    has_begun: bool = False
    """Whether the peer's first words, which hold its topics, may have been read."""
    is_held: bool = False
    """Whether we do not read because a subscription has no room."""


@attrs.define(eq=False)
class GossipService:
    """Gossip on one network.  `frame_limit_bytes`: the longest RPC a peer may send."""

    router: Router | Recorder
    params: ServiceParams
    deliveries: Deliveries
    validators: Validators
    frame_limit_bytes: int
    metrics: "ServiceMetrics"
    meter: WorkMeter | None = None
    links: dict[PeerId, Link] = attrs.field(factory=dict[PeerId, Link], init=False)
    _connections: dict[PeerId, list[Connection]] = attrs.field(
        factory=dict[PeerId, list[Connection]], init=False
    )
    _readers: dict[PeerId, _Reader] = attrs.field(factory=dict[PeerId, _Reader], init=False)
    _awaited: AwaitedMessages = attrs.field(factory=AwaitedMessages, init=False)
    _changes: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    """Who waits for a link, a reader or a connection to come or to go; never for what is written."""
    _drained: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _passes: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _flusher: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)

    # Life.

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Beat and flush until cancelled."""
        if self.meter is not None:
            self.metrics.take_tally()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._beat)
                nursery.start_soon(self._flush_forever)
                nursery.start_soon(self._watch_mesh)
                task_status.started()
        finally:
            self._nursery = None

    async def _beat(self) -> None:
        router = self.router
        while True:
            due_s = router.next_event_at_s
            await trio.sleep_until(due_s)
            began_s = trio.current_time()
            queued = self._awaited.queued()
            if (meter := self.meter) is None:
                router.heartbeat(began_s)
            else:
                meter.timed(meter.recovery, None, "heartbeat", router.heartbeat, began_s)
            self._awaited.give_up_expired(queued)
            self._cut_stalled(began_s)
            self._after_pass()
            # What was taken back or has expired may have been the last.
            self._drained.unpark_all()
            self.metrics.heartbeat_done(trio.current_time() - began_s, began_s - due_s)

    async def _watch_mesh(self) -> None:
        """Catch a mesh change that no pass reported, so that the gauge is never wrong for long."""
        while True:
            await trio.sleep(MESH_TICK_S)
            self.check_mesh()

    def check_mesh(self) -> None:
        """Recount the mesh if something changed in it since it was last reported."""
        if self.router.take_mesh_change():
            self.metrics.store(self.router.view.count_mesh_peers())

    def _cut_stalled(self, now_s: float) -> None:
        """One sweep instead of one timeout per read."""
        for peer, reader in tuple(self._readers.items()):
            is_late = now_s - reader.last_chunk_s > self.params.frame_timeout_s
            if reader.splitter.is_inside_frame and is_late and not reader.is_held:
                self._abort(peer, CloseReason.TIMEOUT, "a gossip frame was begun and not finished")

    async def _flush_forever(self) -> None:
        while True:
            ready = self.router.take_ready()
            if not ready:
                await self._flusher.park()
            elif (meter := self.meter) is None:
                self._flush(ready)
            else:
                meter.timed(meter.gossip, None, "send", self._flush, ready)

    def _flush(self, ready: Iterable[PeerId]) -> None:
        for peer in ready:
            link = self.links.get(peer)
            if link is not None:
                link.flush()

    async def drain(self) -> None:
        """Wait until every outbox is written.  The caller gives it a deadline."""
        while not all(link.is_idle for link in self.links.values()):
            self._flusher.unpark()
            await self._drained.park()

    # Peers.

    async def serve_connection(self, connection: Connection, agent: str) -> None:
        """Gossip with the peer of a connection until the connection ends.

        A peer has one link, whatever its connections; the others stand by.
        Returns when the peer does not gossip.  Raises RemoteError when the peer
        breaks the protocol or the connection ends.
        """
        peer = connection.remote_peer
        connections = self._connections.setdefault(peer, [])
        connections.append(connection)
        pauses = Pauses(RELINK_FIRST_S, RELINK_LIMIT_S, RELINK_STABLE_AFTER_S)
        try:
            while True:
                while peer in self.links and not connection.is_closed:
                    await self._changes.park()
                began_s = trio.current_time()
                if connection.is_closed or not await self._link(connection, agent):
                    return
                # The stream has ended and not the connection; the peer may come back.
                await self._pause(connection, pauses.next_s(trio.current_time() - began_s))
        finally:
            connections.remove(connection)
            if not connections:
                del self._connections[peer]
                self._changes.unpark_all()

    async def _pause(self, connection: Connection, pause_s: float) -> None:
        """Wait before the next stream; not long when the peer has opened one, which waits for ours."""
        await trio.sleep(RELINK_FIRST_S)
        with trio.move_on_after(pause_s - RELINK_FIRST_S):
            while not connection.is_closed:
                reader = self._readers.get(connection.remote_peer)
                if reader is not None and not reader.has_begun:
                    return
                await self._changes.park()

    async def _link(self, connection: Connection, agent: str) -> bool:
        """One link over one connection.  False: the peer does not gossip.  True: the link has ended."""
        peer = connection.remote_peer
        try:
            stream = await connection.open_stream(PROTOCOLS, timeout_s=self.params.stream_timeout_s)
        except StreamRefused as refused:
            LOGGER.debug("%s", refused)
            return not refused.is_unsupported
        if peer in self.links:
            # Another connection of the peer was quicker.
            stream.reset()
            return True
        now_s = trio.current_time()
        self.router.add_peer(peer, stream.protocol, agent, is_outbound=connection.is_outbound, now_s=now_s)
        self.links[peer] = link = Link(
            peer,
            stream,
            self.router.outbox(peer),
            self.router.drain_of(peer),
            self.metrics.rpcs_sent,
            self._on_written,
        )
        self._changes.unpark_all()
        self._after_pass()
        try:
            await link.run()
        except* StreamReset as resets:
            LOGGER.debug("%s", first_of(resets))
        finally:
            try:
                await self._read_rest(connection)
            finally:
                self._unlink(link)
        return True

    async def _read_rest(self, connection: Connection) -> None:
        """When a connection has ended: wait until what had arrived on it is handled, or it is lost.

        The reader is the connection's own task, so it ends within the connection's close timeout.
        """
        peer = connection.remote_peer
        reader = self._readers.get(peer)
        if connection.is_closed and reader is not None and reader.stream.connection is connection:
            while self._readers.get(peer) is reader:
                await self._changes.park()

    def _unlink(self, link: Link) -> None:
        """Forget all that the core knows of a peer.  The second call for a link changes nothing."""
        peer = link.peer
        if self.links.get(peer) is not link:
            return
        del self.links[peer]
        link.end()
        link.stream.reset()
        reader = self._readers.get(peer)
        if reader is not None and reader.has_begun:
            # Its topics were said to a state that is gone; on a new stream it says them again.
            del self._readers[peer]
            reader.scope.cancel()
        try:
            self.router.remove_peer(peer, trio.current_time())
        finally:
            # Also when the core breaks: what was written to the peer stays counted, and what was not is lost.
            link.outbox.close()
            self.metrics.outbox_closed(link.outbox)
            self._awaited.on_gone(peer)
            self._changes.unpark_all()
            self._drained.unpark_all()
        self._after_pass()

    def on_connection_closed(self) -> None:
        """A connection has ended; whoever stands by on it is told."""
        self._changes.unpark_all()

    def _on_written(self, peer: PeerId, outbox: Outbox) -> None:
        self._awaited.on_written(peer)
        if outbox.is_empty and self._drained:
            self._drained.unpark_all()

    # Reading.

    async def serve_stream(self, stream: Stream) -> None:
        """Read what a peer says on the stream it opened, until it ends.

        A second stream of the same peer replaces the first.  Raises RemoteError
        when the peer breaks the protocol: the caller ends its connection.
        """
        peer = stream.connection.remote_peer
        self._replace_reader(peer, stream)
        with trio.CancelScope() as scope:
            splitter = FrameSplitter(self.frame_limit_bytes, skip_empty=True)
            reader = self._readers[peer] = _Reader(stream, scope, splitter, trio.current_time())
            try:
                await self._wait_for_link(peer, stream)
                reader.has_begun = True
                await self._read(peer, reader)
            finally:
                if self._readers.get(peer) is reader:
                    del self._readers[peer]
                self._changes.unpark_all()
        if scope.cancelled_caught:
            # It was replaced, or its link is gone: nobody will read it.
            stream.reset()

    def _replace_reader(self, peer: PeerId, stream: Stream) -> None:
        previous = self._readers.pop(peer, None)
        if previous is None:
            return
        previous.scope.cancel()
        link = self.links.get(peer)
        if link is None:
            return
        left = link.stream.connection
        if previous.stream.connection is left and stream.connection is not left:
            # It spoke where we speak, and now speaks elsewhere: it was started again, or has given the old
            # connection up, and hears us there no more.
            self._unlink(link)

    async def _wait_for_link(self, peer: PeerId, stream: Stream) -> None:
        """The router must know the peer before the first frame, which holds all its topics."""
        if peer not in self.links:
            # Whoever pauses may link.
            self._changes.unpark_all()
        with trio.move_on_after(self.params.stream_timeout_s):
            while peer not in self.links:
                await self._changes.park()
            return
        raise StreamRefused(peer, [stream.protocol], "it gossips to us and takes no gossip from us")

    async def _read(self, peer: PeerId, reader: _Reader) -> None:
        stream, on_frame = reader.stream, self.router.on_frame
        split = partial(self._split, peer, reader.splitter)
        meter = self.meter
        while True:
            chunk = await stream.receive_some()
            if not chunk:
                return
            now_s = reader.last_chunk_s = trio.current_time()
            try:
                if meter is None:
                    for frame in split(chunk):
                        on_frame(peer, frame, now_s)
                else:
                    meter.handle(peer, split(chunk), on_frame, now_s, self.metrics.take_tally)
            finally:
                # Also for what came before a frame that was refused.
                self._after_pass()
            if self.deliveries.must_wait:
                reader.is_held = True
                await self.deliveries.wait_for_room()
                reader.is_held = False
                reader.last_chunk_s = trio.current_time()

    def _split(self, peer: PeerId, splitter: FrameSplitter, chunk: bytes) -> list[bytes]:
        try:
            return splitter.split(chunk)
        except RemoteError:
            self.router.observer.rpc_refused(peer, "frame", len(chunk), trio.current_time())
            raise
        finally:
            if empty := splitter.skipped_empty:
                splitter.skipped_empty = 0
                self.metrics.empty_frames(empty)

    # After each pass of the router.

    def _after_pass(self) -> None:
        router = self.router
        if (tickets := router.take_tickets()) and self._nursery is not None:
            # Once the service has ended nobody judges: the router closes what is open.
            for ticket in tickets:
                verdict = self.validators.judge(ticket, self._nursery)
                if verdict is not None:
                    self._decide(ticket, verdict)
        for peer, reason in router.take_cuts():
            self._abort(peer, CloseReason.ERROR, f"cut: {reason}")
        if router.take_mesh_change():
            self.metrics.store(router.view.mesh_peer_count)
        if self._passes:
            self._passes.unpark_all()
        self._flusher.unpark()

    def _abort(self, peer: PeerId, reason: CloseReason, detail: str) -> None:
        for connection in tuple(self._connections.get(peer, ())):
            connection.abort(reason, detail)

    def on_verdict(self, ticket: Ticket, verdict: Verdict) -> None:
        """A validator has decided, later than at once."""
        self._decide(ticket, verdict)
        self._after_pass()

    def _decide(self, ticket: Ticket, verdict: Verdict) -> None:
        now_s = trio.current_time()
        if (meter := self.meter) is None:
            self.router.on_verdict(ticket, verdict, now_s)
        else:
            meter.timed(
                meter.gossip, ticket.message.topic, "verdict", self.router.on_verdict, ticket, verdict, now_s
            )

    # What the application does.

    def join(self, topic: str) -> None:
        """Take a topic."""
        self.router.subscribe(topic, trio.current_time())
        self._after_pass()

    def leave(self, topic: str) -> None:
        """No longer take a topic."""
        self.router.unsubscribe(topic, trio.current_time())
        self._after_pass()

    async def publish_batch(
        self, topic: str, batch: Iterable[bytes], *, written_by: int = 0, deadline_s: float = float("inf")
    ) -> list[Receipt]:
        """Publish; wait until `written_by` peers have the last message written, or the deadline passes.

        Cancelled before it published anything, or else only while it waits for peers.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        receipts: list[Receipt] = []
        messages = tuple(batch)
        awaited = None
        try:
            if (meter := self.meter) is None:
                self._publish_all(topic, messages, receipts)
            else:
                publish = partial(self._publish_all, topic, messages, receipts)
                meter.timed_several(meter.publishing, topic, "publish", publish, receipts)
        except LocalError as error:
            if receipts:
                error.add_note(f"the {len(receipts)} messages before it were published")
            raise
        else:
            # Before the pass ends: then the flusher takes it out.
            if written_by and receipts:
                awaited = self._awaited.watch(receipts[-1].message_id, self.links)
        finally:
            self._after_pass()
        if awaited is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return receipts
        try:
            with trio.move_on_at(deadline_s):
                await awaited.wait(written_by)
        finally:
            self._awaited.forget(awaited)
        receipts[-1] = attrs.evolve(receipts[-1], written=awaited.written)
        return receipts

    def _publish_all(self, topic: str, batch: Iterable[bytes], receipts: list[Receipt]) -> None:
        """Publish in order; `receipts` gets those before one that is refused."""
        now_s = trio.current_time()
        publish = self.router.publish
        for data in batch:
            published = publish(topic, data, now_s)
            receipts.append(
                Receipt(
                    topic, published.message_id, published.recipients, published.queued, published.dropped
                )
            )

    async def wait_until(self, is_true: Callable[[], bool]) -> None:
        """Wait until something holds of the router; it is asked after each pass.  Bounded by the caller."""
        await trio.lowlevel.checkpoint()
        while not is_true():
            await self._passes.park()
