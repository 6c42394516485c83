"""One network: an identity, its connections, its gossip core and its slot, for as long as it runs.

What the application gave (topics, subscriptions, validators, responders) is
kept here and outlives a life; what a life needs (switch, router, links) is
made anew each time the network runs.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from leanmesh.contain import ContainedErrors
from leanmesh.errors import LocalError
from leanmesh.gossip.dialect import PROTOCOLS
from leanmesh.gossip.observer import Observer
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.router import Router
from leanmesh.gossip.trace import Recorder
from leanmesh.identity.keys import PrivateKey
from leanmesh.service.addresses import usable_addresses
from leanmesh.service.blame import blame
from leanmesh.service.deliveries import Deliveries
from leanmesh.service.faults import describe_fault
from leanmesh.service.gossip_service import GossipService, ServiceMetrics
from leanmesh.service.identify_service import IdentifyService
from leanmesh.service.journal import Journal, combined
from leanmesh.service.metering import WorkMeter
from leanmesh.service.network_observer import NetworkObserver
from leanmesh.service.params import NetworkParams, ServiceParams
from leanmesh.service.ping_service import PingService
from leanmesh.service.recording import Recording, Recordings, recorded
from leanmesh.service.redial import redial_forever
from leanmesh.service.requests import Responder
from leanmesh.service.router_facts import RouterFacts
from leanmesh.service.subscriptions import DeliveryBooks
from leanmesh.service.validators import Validator, Validators
from leanmesh.service.watchers import Watchers
from leanmesh.transport.errors import CloseReason
from leanmesh.transport.interface import Connection, Stream, StreamHandler
from leanmesh.transport.observer import TransportObserver
from leanmesh.transport.switch import Switch
from leanmesh.wire import identify, ping
from leanmesh.wire.multiaddr import Multiaddr

if TYPE_CHECKING:
    from random import Random

LOGGER = logging.getLogger(__name__)

# An RPC may hold one message of the largest size, and what goes with it.
FRAME_OVERHEAD_BYTES = 64 * 1024

MakeSwitch = Callable[[PrivateKey, TransportObserver], Switch]


class Metrics(ServiceMetrics, Protocol):
    """What a network reports of itself; network_metrics has the real one."""

    @property
    def gossip(self) -> Observer:
        """Observes the core."""
        ...

    @property
    def transport(self) -> TransportObserver:
        """Observes the connections."""
        ...

    @property
    def delivery(self) -> DeliveryBooks:
        """The books of the subscriptions."""
        ...

    @property
    def duplicates(self) -> int:
        """Copies received of messages that were here already."""
        ...

    def identify_silent(self, reason: str) -> None:
        """A peer did not say who it is: timeout, refused or empty."""
        ...

    def ping_refused(self) -> None:
        """A peer opened more streams for pings than it may have."""
        ...

    def start(self) -> None:
        """The network runs, with no peers.  LocalError when its slot is taken."""
        ...

    def stop(self) -> None:
        """The network runs no more."""
        ...


@attrs.define(eq=False)
class Life:
    """What one run of a network consists of."""

    switch: Switch
    gossip: GossipService
    identify: IdentifyService
    ping: PingService
    nursery: trio.Nursery


@attrs.define(eq=False)
class Network:
    """One libp2p network that we take part in."""

    params: NetworkParams
    service_params: ServiceParams
    gossip_params: GossipParams
    key: PrivateKey
    make_switch: MakeSwitch
    generator: "Random"
    metrics: Metrics
    contained: ContainedErrors
    meter: WorkMeter | None = None
    watchers: Watchers = attrs.field(factory=Watchers.only_ledger, kw_only=True)
    recordings: Recordings | None = attrs.field(default=None, kw_only=True)
    deliveries: Deliveries = attrs.field(init=False)
    validators: Validators = attrs.field(init=False)
    topics: dict[str, int] = attrs.field(factory=dict[str, int], init=False)
    """Topics that we take, with how many hold each: the settings, and every subscription."""
    responders: dict[str, Responder] = attrs.field(factory=dict[str, Responder], init=False)
    journal: Journal = attrs.field(init=False)
    life: Life | None = attrs.field(default=None, init=False)
    recording: Recording | None = attrs.field(default=None, init=False)
    """Of the present life, or of the last one."""
    has_started: bool = attrs.field(default=False, init=False)
    _stop: trio.Event = attrs.field(factory=trio.Event, init=False)
    _stopped: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.deliveries = Deliveries(self.service_params, self._take, self._release, self.metrics.delivery)
        self.validators = Validators(
            self.service_params,
            self.contained,
            lambda ticket, verdict: self.live.gossip.on_verdict(ticket, verdict),
            self.gossip_params.validation_timeout_s,
            self.meter,
        )
        self.journal = Journal(self.params.network_id)
        self.topics.update(dict.fromkeys(self.params.topics, 1))

    @property
    def live(self) -> Life:
        """The present life.  LocalError when the network does not run."""
        if self.life is None:
            raise LocalError(f"network {self.params.network_id} is not running")
        return self.life

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called: there is no other life after this one."""
        return self._stop.is_set()

    @property
    def listen_addresses(self) -> list[Multiaddr]:
        """What others can dial, with our peer id at the end: as announced, or as we listen."""
        announced = [Multiaddr.from_text(text) for text in self.params.announce]
        addresses = announced or usable_addresses(self.live.switch.listen_addresses)
        return [address.with_peer(self.key.peer_id) for address in addresses]

    @property
    def duplicates(self) -> int:
        """Copies received of messages that were here already."""
        return self.metrics.duplicates

    # Life.

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part in the network until `stop`.  Started once it listens and has joined its topics."""
        try:
            async with recorded(self._begin_recording) as self.recording:
                await self._live(task_status)
        finally:
            if self._stop.is_set():
                self._stopped.set()

    async def _live(self, task_status: trio.TaskStatus[None]) -> None:
        self.metrics.start()
        try:
            async with trio.open_nursery() as nursery:
                self.life = life = self._build(nursery)
                await nursery.start(life.switch.run)
                await nursery.start(life.gossip.run)
                for text in self.params.listen:
                    await life.switch.listen(Multiaddr.from_text(text))
                for topic in self.topics:
                    life.gossip.join(topic)
                for text in self.params.peers:
                    nursery.start_soon(
                        redial_forever,
                        life.switch,
                        Multiaddr.from_text(text),
                        self.service_params,
                        self.generator,
                    )
                self.has_started = True
                task_status.started()
                await self._stop.wait()
                await self._part(life)
                nursery.cancel_scope.cancel()
        finally:
            try:
                if self.life is not None:
                    self.life.gossip.router.close(trio.current_time())
            finally:
                # Also when a core that has broken breaks here again: the next life needs the place.
                self.life = None
                self.metrics.stop()
                self.watchers.close(trio.current_time())

    async def stop(self) -> None:
        """Stop cleanly: send what is queued, say go-away, disconnect; no PRUNE.  Waits until it is done."""
        self._stop.set()
        self.deliveries.close()
        if self.life is not None:
            await self._stopped.wait()

    async def _part(self, life: Life) -> None:
        """Leave without a word of gossip: a PRUNE would keep us out when we come back."""
        with trio.move_on_after(self.service_params.stop_timeout_s):
            await life.gossip.drain()
            await life.switch.aclose()

    def _build(self, nursery: trio.Nursery) -> Life:
        observer = NetworkObserver(self.metrics.transport, self._on_opened, self._on_closed, self.meter)
        switch = self.make_switch(self.key, observer)
        started_ns = time.time_ns()
        router = self._router(
            RouterFacts.of(self.params, self.gossip_params, trio.current_time(), started_ns)
        )
        gossip = GossipService(
            router,
            self.service_params,
            self.deliveries,
            self.validators,
            frame_limit_bytes=self.gossip_params.message_limit_bytes + FRAME_OVERHEAD_BYTES,
            metrics=self.metrics,
            meter=self.meter,
        )
        life = Life(
            switch,
            gossip,
            IdentifyService(
                self.key,
                lambda: tuple(switch.handlers),
                lambda: [address.without_peer() for address in self.listen_addresses],
                started_ns,
                self.service_params.identify_timeout_s,
                self.metrics.identify_silent,
            ),
            PingService(self.metrics.ping_refused),
            nursery,
        )
        self._handle(life)
        return life

    def _router(self, facts: RouterFacts) -> Router | Recorder:
        meter = () if self.meter is None else (self.meter,)
        observer = combined(self.metrics.gossip, self.journal, *self.watchers.observers(), *meter)
        deliver, validators = self.deliveries.deliver, self.validators
        if self.recording is None:
            return facts.router(self.key, self.generator, validators.__contains__, deliver, observer)
        network_id = self.params.network_id
        return self.recording.router(
            facts, network_id, self.key, self.generator, validators, deliver, observer
        )

    def describe_fault(self, error: Exception) -> str:
        """What to say of the error that ended the last life."""
        return describe_fault(error, self.recording, is_recorded=self.recordings is not None)

    def _begin_recording(self) -> Recording | None:
        if self.recordings is None:
            return None
        return self.recordings.begin(self.params.network_id, is_first=not self.has_started)

    # Connections.

    def _handle(self, life: Life) -> None:
        """Say who serves which protocol."""
        serve: dict[str, Callable[[Stream], Awaitable[None]]] = dict.fromkeys(
            PROTOCOLS, life.gossip.serve_stream
        )
        serve[identify.PROTOCOL_ID] = life.identify.serve
        serve[identify.PUSH_PROTOCOL_ID] = life.identify.serve_push
        serve[ping.PROTOCOL_ID] = life.ping.serve
        serve.update({protocol: responder.serve for protocol, responder in self.responders.items()})
        life.switch.handlers.update({protocol: _blamed(handler) for protocol, handler in serve.items()})

    def _on_opened(self, connection: Connection) -> None:
        self.live.nursery.start_soon(self._serve_connection, connection)

    def _on_closed(self, connection: Connection, reason: CloseReason, detail: str) -> None:
        self.journal.parted(connection, reason, detail)
        self.watchers.parted(connection, trio.current_time())
        if self.life is not None:
            self.life.identify.forget(connection)
            self.life.gossip.on_connection_closed()

    async def _serve_connection(self, connection: Connection) -> None:
        life = self.live

        async def meet() -> None:
            told = await life.identify.ask(connection)
            if connection.is_closed:
                # It parted already: who is met now would be met for ever.
                return
            self.journal.met(connection, told.agent_version)
            self.watchers.met(connection, told.agent_version, trio.current_time())
            await life.gossip.serve_connection(connection, told.agent_version)

        await blame(connection, meet)

    # What the application does.

    def _take(self, topic: str) -> None:
        """Take a topic, once more."""
        self.topics[topic] = self.topics.get(topic, 0) + 1
        if self.topics[topic] == 1 and self.life is not None:
            try:
                self.life.gossip.join(topic)
            except LocalError:
                del self.topics[topic]
                raise

    def _release(self, topic: str) -> None:
        """Undo one `_take`; the last leaves the topic, unless the whole network ends."""
        self.topics[topic] -= 1
        if not self.topics[topic]:
            del self.topics[topic]
            if self.life is not None and not self._stop.is_set():
                self.life.gossip.leave(topic)

    def respond(self, responder: Responder) -> None:
        """Answer the requests of one protocol from now on, and tell the peers."""
        if responder.protocol in self.responders or (
            self.life is not None and responder.protocol in self.life.switch.handlers
        ):
            raise LocalError(f"{responder.protocol} is served already")
        self.responders[responder.protocol] = responder
        responder.meter = self.meter
        if self.life is not None:
            life = self.life
            life.switch.handlers[responder.protocol] = _blamed(responder.serve)
            for connection in life.switch.connections:
                life.nursery.start_soon(blame, connection, partial(life.identify.push, connection))

    def validate(self, topic: str, validator: Validator, *, in_thread: bool) -> None:
        """Have each message of a topic judged from now on."""
        self.validators.add(topic, validator, in_thread=in_thread)
        if self.life is not None:
            self.life.gossip.router.set_validated(topic, is_validated=True)

    def accept_all(self, topic: str) -> None:
        """Judge the messages of a topic no longer."""
        self.validators.remove(topic)
        if self.life is not None:
            self.life.gossip.router.set_validated(topic, is_validated=False)

    async def connect(self, addresses: Sequence[Multiaddr]) -> Connection:
        """A connection to the peer these addresses lead to.  Raises RemoteError or LocalError."""
        return await self.live.switch.dial(*addresses)


def _blamed(serve: Callable[[Stream], Awaitable[None]]) -> StreamHandler:
    async def handler(stream: Stream) -> None:
        await blame(stream.connection, partial(serve, stream))

    return handler
