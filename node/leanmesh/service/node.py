"""The node: the networks of one process, and what an application does with them."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType

import attrs
import trio

from leanmesh.contain import ContainedErrors
from leanmesh.errors import LocalError, ungrouped
from leanmesh.identity.peer_id import PeerId
from leanmesh.metrics.snapshot import Snapshot
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.service.deliveries import Deliveries
from leanmesh.service.metering import WorkMeter
from leanmesh.service.network import Network
from leanmesh.service.params import NetworkParams, ServiceParams
from leanmesh.service.peer_info import PeerInfo, describe_peers
from leanmesh.service.ping_service import DEFAULT_TIMEOUT_S, RoundTrips, ping
from leanmesh.service.receipts import Receipt
from leanmesh.service.requests import Responder
from leanmesh.service.sink_queue import SinkQueue
from leanmesh.service.sinks import Deliver, Drain, InAsyncio, Library, Sink, Sinks
from leanmesh.service.subscriptions import Overflow, Subscription
from leanmesh.service.validators import Validator
from leanmesh.transport.interface import Connection
from leanmesh.wire.identify import Identify
from leanmesh.wire.multiaddr import Multiaddr

LOGGER = logging.getLogger(__name__)


# One call for so many messages makes its own cost disappear: into asyncio it takes about 40 us.
SINK_BATCH_LIMIT = 64


class NobodyTakesTopic(LocalError):
    """A message was published to a topic that no connected peer took in the time given."""


class MeshTooSmall(LocalError):
    """A mesh did not reach its size in the time given."""


@attrs.define(eq=False)
class Node:
    """A running node.  `leanmesh.open_node` makes one.

    Methods take a `network_id` where a node has several networks; without one
    they mean the first.
    """

    params: ServiceParams
    snapshotter: Snapshotter
    contained: ContainedErrors
    _build_network: Callable[[NetworkParams], Network]
    meter: WorkMeter | None = None
    in_asyncio: InAsyncio | None = attrs.field(default=None, kw_only=True)
    sinks: Sinks = attrs.field(init=False)
    restarts: dict[int, int] = attrs.field(factory=dict[int, int], init=False)
    """How often each network was started again after its task failed."""
    _networks: dict[int, Network] = attrs.field(factory=dict[int, Network], init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.sinks = Sinks(self.params, self.contained, self.in_asyncio)

    # Networks.

    @property
    def networks(self) -> Mapping[int, Network]:
        """The networks by id."""
        return MappingProxyType(self._networks)

    def network(self, network_id: int | None = None) -> Network:
        """One network; LocalError when there is none with this id."""
        if network_id is None and self._networks:
            return next(iter(self._networks.values()))
        if network_id in self._networks:
            return self._networks[network_id]
        raise LocalError(f"there is no network {network_id} here; there are {list(self._networks)}")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be the parent of all networks, until `close`.

        Cancellation from outside does not reach the networks: whoever calls this
        must call `stop`, with a deadline, and then `close`, or it never returns.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.lowlevel.checkpoint()
                nursery.cancel_scope.shield = True
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def close(self) -> None:
        """End `run`, and abruptly what still runs."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    @property
    def nursery(self) -> trio.Nursery:
        """The parent of networks and sinks.  LocalError when the node does not run."""
        if self._nursery is None:
            raise LocalError("the node is not running")
        return self._nursery

    async def start_network(self, params: NetworkParams) -> Network:
        """Run a network; returns once it listens.  What keeps it from starting is raised here."""
        nursery = self.nursery
        network_id = params.network_id
        if network_id in self._networks:
            raise LocalError(f"network {network_id} is running already")
        network = self._networks[network_id] = self._build_network(params)
        try:
            with ungrouped():
                await nursery.start(self._supervise, network)
        except BaseException:
            self._forget(network)
            raise
        return network

    async def stop_network(self, network_id: int) -> None:
        """Stop one network cleanly."""
        await self._stop_network(self.network(network_id))

    async def _stop_network(self, network: Network) -> None:
        await network.stop()
        self._forget(network)

    def _forget(self, network: Network) -> None:
        # By now there may be another one of this id.
        if self._networks.get(network.params.network_id) is network:
            del self._networks[network.params.network_id]

    async def stop(self) -> None:
        """Stop all networks and sinks cleanly, side by side."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.sinks.stop)
            # Not by their ids: by its turn somebody else may have stopped one of them.
            for network in tuple(self._networks.values()):
                nursery.start_soon(self._stop_network, network)

    async def _supervise(
        self, network: Network, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run a network, and again when a bug of ours or an observer ends it; each time said loudly."""
        network_id = network.params.network_id
        self.restarts[network_id] = 0
        pauses = self.params.restart_pauses()
        while not network.is_stopping:
            name = f"network:{network_id}"
            began_s = trio.current_time()
            with self.contained.contain(name, unless=lambda: not network.has_started) as contained:
                await network.run(task_status=task_status)
                return
            task_status = trio.TASK_STATUS_IGNORED
            assert contained.error is not None, "nothing else ends the block and not the method"
            fault = network.describe_fault(contained.error)
            pause_s = pauses.next_s(trio.current_time() - began_s)
            LOGGER.error("network %d failed: %s; it is started again in %g s", network_id, fault, pause_s)
            self.restarts[network_id] += 1
            await trio.sleep(pause_s)

    # Messages.

    def subscribe(
        self,
        topic: str,
        *,
        overflow: Overflow = Overflow.DROP_OLDEST,
        limit: int | None = None,
        network_id: int | None = None,
    ) -> Subscription:
        """Messages of a topic, as an async context manager and iterator.

        `limit` messages may wait for the consumer; `overflow` says what happens
        to one more.  Messages published by this node are not among them.
        """
        return self.network(network_id).deliveries.subscribe(topic, overflow, limit)

    async def publish(
        self,
        topic: str,
        data: bytes,
        *,
        written_by: int = 0,
        timeout_s: float | None = None,
        network_id: int | None = None,
    ) -> Receipt:
        """Publish a message and say what became of it.

        With `written_by` it waits until so many peers have it written, at most
        `timeout_s` (default: the settings' publish_timeout_s).  NobodyTakesTopic
        when no peer takes the topic within that time; PublishRefused when the
        message is too large or, by its content, known already.  When cancelled,
        nothing was sent, unless it was waiting for `written_by` peers.
        """
        (receipt,) = await self.publish_batch(
            topic, (data,), written_by=written_by, timeout_s=timeout_s, network_id=network_id
        )
        return receipt

    async def publish_batch(
        self,
        topic: str,
        batch: Iterable[bytes],
        *,
        written_by: int = 0,
        timeout_s: float | None = None,
        network_id: int | None = None,
    ) -> list[Receipt]:
        """Publish several messages in one pass, and say what became of each.

        The batch is read to its end before the first of them is published.
        They leave together, which costs a fraction of as many calls of
        `publish`.  With `written_by` it waits for the last of them, behind which
        none of the others waits: so a fast publisher keeps to the pace of its
        peers.  When one is refused, PublishRefused says how many before it were published.
        """
        gossip = self.network(network_id).live.gossip
        timeout_s = self.params.publish_timeout_s if timeout_s is None else timeout_s
        view = gossip.router.view
        deadline_s = trio.current_time() + timeout_s
        if not view.topic_peers(topic):
            with trio.move_on_at(deadline_s):
                await gossip.wait_until(lambda: bool(view.topic_peers(topic)))
            if not view.topic_peers(topic):
                raise NobodyTakesTopic(
                    f"no connected peer took {topic} within {timeout_s:g} s "
                    f"({len(view.peers)} peers are connected); nothing was sent"
                )
        return await gossip.publish_batch(topic, batch, written_by=written_by, deadline_s=deadline_s)

    def add_validator(
        self, topic: str, validator: Validator, *, in_thread: bool = False, network_id: int | None = None
    ) -> None:
        """Have each message of a topic judged before it is delivered and passed on.

        The validator gets a ReceivedMessage and answers with a Verdict, or True
        to accept and False to reject.  It may be async; a plain function that
        takes long belongs into a thread.
        """
        self.network(network_id).validate(topic, validator, in_thread=in_thread)

    def add_sink(
        self,
        name: str,
        deliver: Deliver,
        queue_limit: int | None = None,
        *,
        library: Library = "trio",
        topics: Sequence[str] | None = None,
        overflow: Overflow = Overflow.DROP_OLDEST,
        queue_limit_bytes: int | None = None,
        batch_limit: int = SINK_BATCH_LIMIT,
        network_id: int | None = None,
    ) -> Sink:
        """Have messages carried away, in batches, by an async callable of Trio or of asyncio.

        It is called with up to `batch_limit` messages, and again when it has
        returned.  Returning means that they are safe; those that will never be it
        may count in a mapping from Outcome.REFUSED or TOO_LARGE to their number.  When it raises
        the batch is lost and counted: whoever wants another attempt makes it inside.
        A callable that is an async context manager too is entered first and left last.
        The mesh never waits for it: `queue_limit` messages may, and one more is
        dropped by `overflow`, which cannot be `wait`.  `topics` are taken for it;
        without them it gets those that the network takes.
        """
        nursery = self.nursery
        drain = self.sinks.drain(deliver, library, batch_limit)
        sink, deliveries = self._open_sink(name, topics, overflow, queue_limit, queue_limit_bytes, network_id)
        nursery.start_soon(self.sinks.run, sink, deliveries, drain)
        return sink

    async def start_sink(
        self,
        name: str,
        drain: Drain,
        queue_limit: int | None = None,
        *,
        topics: Sequence[str] | None = None,
        overflow: Overflow = Overflow.DROP_OLDEST,
        queue_limit_bytes: int | None = None,
        network_id: int | None = None,
    ) -> Sink:
        """A sink that takes messages out of its queue itself.  What keeps it from starting is raised here."""
        nursery = self.nursery
        sink, deliveries = self._open_sink(name, topics, overflow, queue_limit, queue_limit_bytes, network_id)
        with ungrouped():
            await nursery.start(self.sinks.run, sink, deliveries, drain)
        return sink

    def _open_sink(
        self,
        name: str,
        topics: Sequence[str] | None,
        overflow: Overflow,
        limit: int | None,
        limit_bytes: int | None,
        network_id: int | None,
    ) -> tuple[Sink, Deliveries]:
        deliveries = self.network(network_id).deliveries
        queue = SinkQueue(
            name,
            self.params.sink_limit if limit is None else limit,
            self.params.sink_limit_bytes if limit_bytes is None else limit_bytes,
            overflow,
            None if topics is None else frozenset(topics),
            self.sinks.books_of(name),
        )
        return self.sinks.open(queue, deliveries), deliveries

    def add_responder(self, responder: Responder, *, network_id: int | None = None) -> None:
        """Answer the requests of one protocol."""
        self.network(network_id).respond(responder)

    # Peers.

    async def connect(self, *addresses: Multiaddr | str, network_id: int | None = None) -> Connection:
        """A connection to the peer that the addresses lead to: the one there is, or a new one."""
        parsed = [Multiaddr.from_text(each) if isinstance(each, str) else each for each in addresses]
        return await self.network(network_id).connect(parsed)

    def ping(
        self, connection: Connection, *, timeout_s: float = DEFAULT_TIMEOUT_S, interval_s: float = 1.0
    ) -> AbstractAsyncContextManager[RoundTrips]:
        """Round trips to a peer in seconds, one per `interval_s`: an async context manager of an iterator.

        The iterator raises RemoteError when the peer does not answer rightly within `timeout_s`.
        """
        return ping(connection, timeout_s=timeout_s, interval_s=interval_s)

    async def identify(self, connection: Connection, network_id: int | None = None) -> Identify:
        """What a peer says of itself, asked anew."""
        return await self.network(network_id).live.identify.ask(connection)

    def peers(self, network_id: int | None = None) -> list[PeerInfo]:
        """Everyone connected, as they are now."""
        return describe_peers(self.network(network_id))

    def mesh(self, topic: str, network_id: int | None = None) -> list[PeerId]:
        """The peers in the mesh of a topic."""
        return self.network(network_id).live.gossip.router.view.mesh(topic)

    async def wait_for_mesh(
        self, topic: str, count: int, timeout_s: float, network_id: int | None = None
    ) -> list[PeerId]:
        """Wait until a topic's mesh has `count` peers; MeshTooSmall when it does not in time."""
        gossip = self.network(network_id).live.gossip
        view = gossip.router.view
        with trio.move_on_after(timeout_s):
            await gossip.wait_until(lambda: len(view.mesh(topic)) >= count)
        mesh = view.mesh(topic)
        if len(mesh) < count:
            raise MeshTooSmall(
                f"the mesh of {topic} has {len(mesh)} of {count} peers after {timeout_s:g} s; "
                f"{len(view.topic_peers(topic))} of {len(view.peers)} connected peers take the topic"
            )
        return mesh

    # Metrics.

    async def refresh_metrics(self) -> Snapshot:
        """Take a new snapshot now and give it."""
        return await self.snapshotter.refresh()

    def metric(self, name: str, *labels: str) -> object:
        """The value of one series in the present snapshot; LocalError when there is none."""
        for family in self.snapshotter.current.families:
            if family.spec.name == name:
                return family.value(*labels)
        raise LocalError(f"the present snapshot has no family {name}")
