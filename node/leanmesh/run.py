"""The composition root: builds every layer from its settings and holds the outer nursery."""

import logging
import os
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import attrs
import trio

from leanmesh.contain import ContainedErrors
from leanmesh.errors import LocalError, ungrouped
from leanmesh.gossip.params import GossipParams
from leanmesh.identity.key_file import read_or_create_key_file
from leanmesh.identity.keys import PrivateKey
from leanmesh.metrics.bookkeeping import add_bookkeeping
from leanmesh.metrics.catalog_lean import NODE_INFO, NODE_START_TIME
from leanmesh.metrics.catalog_node import LOOP_LATENESS
from leanmesh.metrics.cells import Cells, runtime_directory
from leanmesh.metrics.mesh_peers import add_mesh_peers
from leanmesh.metrics.process import add_process_metrics
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.sources import Sources
from leanmesh.service.api import PAGES
from leanmesh.service.descriptors import descriptor_shortage, raise_descriptor_limit
from leanmesh.service.events import tell
from leanmesh.service.network import Network
from leanmesh.service.network_metrics import AllNetworkMetrics
from leanmesh.service.node import Node
from leanmesh.service.params import NetworkParams
from leanmesh.service.recording import Recordings
from leanmesh.service.sink_metrics import SinkMetrics
from leanmesh.service.sinks import Deliver
from leanmesh.service.subscriptions import Overflow, ReceivedMessage
from leanmesh.service.watchers import AllWatchers
from leanmesh.service.work import MeasuredWork
from leanmesh.settings import Settings
from leanmesh.transport.assembly import memory_switch, tcp_switch
from leanmesh.transport.memory import MemoryHost
from leanmesh.transport.observer import TransportObserver
from leanmesh.transport.switch import Switch
from leanmesh.web.endpoints import JsonSource, build_app
from leanmesh.web.server import HttpServer
from leanmesh.web.server_metrics import add_server_metrics

# What the commands need of the layers below.
__all__ = [
    "Node",
    "Overflow",
    "Ready",
    "ReceivedMessage",
    "client_settings",
    "open_node",
    "run",
]

LOGGER = logging.getLogger(__name__)

# Ten looks a second see every stall of a tenth of a second, and cost 0.01 % of a core.
LOOP_TICK_S = 0.1

# A leaf takes part and costs its peers little; one outbound peer is one it chose itself.
LEAF_MESH = {"mesh_target": 2, "mesh_low": 1, "mesh_high": 3, "mesh_best": 1, "mesh_outbound": 0}

# What stopping may take beyond the networks' own deadline.
STOP_GRACE_S = 1.0


@attrs.frozen
class Ready:
    """What is known once everything runs: the networks, the address that was taken, the cells' file."""

    node: Node
    metrics_url: str
    cells_path: Path | None


@attrs.define(eq=False)
class Composition:
    """The parts of one node that are made before it runs.

    `hosts` puts networks on hosts of a network in memory, by network id; the
    others use the machine's TCP.  `seed` makes the choices of the gossip
    core repeatable; keys are not drawn from it.
    """

    settings: Settings
    cells: Cells
    hosts: Mapping[int, MemoryHost] = attrs.field(factory=dict[int, MemoryHost])
    seed: int | None = None
    _keys: dict[int, PrivateKey] = attrs.field(factory=dict[int, PrivateKey])
    _sources: Sources = attrs.field(factory=Sources)
    contained: ContainedErrors = attrs.field(factory=ContainedErrors, init=False)
    snapshotter: Snapshotter = attrs.field(init=False)
    work: MeasuredWork | None = attrs.field(init=False)
    node: Node = attrs.field(init=False)
    _on_sockets: set[int] = attrs.field(factory=set[int], init=False)
    _is_short_told: bool = attrs.field(default=False, init=False)
    metrics: AllNetworkMetrics = attrs.field(init=False)
    watchers: AllWatchers = attrs.field(init=False)
    recordings: Recordings | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        cells, settings = self.cells, self.settings
        cells.signed_words[cells.gauge(NODE_INFO, "leanmesh", version("leanmesh"))] = 1
        cells.signed_words[cells.gauge(NODE_START_TIME)] = int(time.time())
        self.snapshotter = Snapshotter(settings.metrics, sources=self._sources, cells=cells)
        add_process_metrics(self.snapshotter)
        add_mesh_peers(self.snapshotter)
        add_bookkeeping(self.snapshotter, self.contained, cells)
        self.work = MeasuredWork.build(settings.collector, cells, self.snapshotter)
        self.node = Node(
            settings.service,
            self.snapshotter,
            self.contained,
            self.build_network,
            None if self.work is None else self.work.meter,
            in_asyncio=_in_asyncio,
        )
        self.metrics = AllNetworkMetrics(cells, self.node.networks, self.snapshotter.mark_outdated)
        self.snapshotter.refreshers.register("networks", self.metrics.refresh)
        self.snapshotter.refreshers.register("sinks", SinkMetrics(cells, self.node.sinks.books).refresh)
        self.recordings = Recordings.build(settings.record, cells)
        # Last, because it opens the trace's file: what fails before has nothing to close.
        self.watchers = AllWatchers.build(settings.lag, settings.trace, self.snapshotter, cells)

    def build_network(self, params: NetworkParams) -> Network:
        """One network of the node, not yet running."""
        settings = self.settings
        self._check_descriptors(params)
        generator = self._generator(params.network_id)
        key = self._key(params)

        def make_switch(key: PrivateKey, observer: TransportObserver) -> Switch:
            host = self.hosts.get(params.network_id)
            if host is not None:
                return memory_switch(host, key, settings.transport, generator, observer)
            return tcp_switch(key, settings.transport, generator, observer)

        return Network(
            params,
            settings.service,
            _gossip_params(settings.gossip, params),
            key,
            make_switch,
            generator,
            self.metrics.of(params.network_id),
            self.contained,
            self.node.meter,
            watchers=self.watchers.of(params.network_id, key.peer_id),
            recordings=self.recordings,
        )

    def _key(self, params: NetworkParams) -> PrivateKey:
        """The identity of a network; one without a file is the same when the network is started again."""
        if params.key_file is not None:
            return read_or_create_key_file(Path(params.key_file).expanduser())
        return self._keys.setdefault(params.network_id, PrivateKey.generate())

    async def start_sinks(self) -> None:
        """Start the sinks of the settings; NodeError when one of them cannot."""
        for params in self.settings.nats:
            # Another library, and asyncio with it: only for those who use them.
            from leanmesh.bridge.nats_sink import NatsSink

            await self.node.start_sink(
                params.name,
                NatsSink(params),
                params.queue_limit,
                topics=params.topics or None,
                overflow=Overflow(params.overflow),
                queue_limit_bytes=params.queue_limit_bytes,
                network_id=params.network_id,
            )

    async def stop(self, nursery: trio.Nursery) -> None:
        """Stop what runs, as much as there is of it, and end the nursery, also when that cannot be done.

        What is shielded in there ends here and nowhere else.
        """
        trace_file = self.watchers.trace_file
        try:
            with trio.move_on_after(self.settings.service.stop_timeout_s + STOP_GRACE_S, shield=True):
                await self.node.stop()
            if self.work is not None:
                self.work.stop()
        finally:
            try:
                if trace_file is not None:
                    await trace_file.aclose()
            finally:
                self.node.close()
                nursery.cancel_scope.cancel()

    def _check_descriptors(self, params: NetworkParams) -> None:
        """Say once when the networks on sockets may need more descriptors than there are."""
        if params.network_id in self.hosts or self._is_short_told:
            return
        self._on_sockets.add(params.network_id)
        connections = len(self._on_sockets) * self.settings.transport.connections_limit
        shortage = descriptor_shortage(connections)
        if shortage is not None:
            self._is_short_told = True
            tell("descriptors", shortage, level=logging.WARNING, connections=connections)

    def _generator(self, network_id: int) -> Random:
        return SystemRandom() if self.seed is None else Random(f"{self.seed}/{network_id}")


def _gossip_params(params: GossipParams, network: NetworkParams) -> GossipParams:
    return attrs.evolve(params, **LEAF_MESH) if network.role == "leaf" else params


@asynccontextmanager
async def open_node(
    settings: Settings | None = None,
    *,
    cells: Cells | None = None,
    hosts: Mapping[int, MemoryHost] | None = None,
    seed: int | None = None,
    keys: Mapping[int, PrivateKey] | None = None,
    sources: Sources | None = None,
) -> AsyncGenerator[Node]:
    """Run a node for as long as the context lasts: ready when entered, cleanly stopped when left.

    Without settings it is one network with the defaults.  `keys` are those of
    networks without a key file, by network id; the others get new ones.  `sources` takes what
    is not kept in cells: a worker's puts it there, for its supervisor.  Whatever the end of the
    context, the networks drain and say goodbye, within `stop_timeout_s`.
    """
    own_cells = Cells.anonymous() if cells is None else cells
    try:
        composition = Composition(
            settings or Settings(), own_cells, hosts or {}, seed, dict(keys or {}), sources or Sources()
        )
        node = composition.node
        with ungrouped():
            async with trio.open_nursery() as nursery:
                try:
                    nursery.start_soon(watch_loop, own_cells)
                    if composition.work is not None:
                        await nursery.start(composition.work.run)
                    await nursery.start(composition.snapshotter.run)
                    if composition.watchers.trace_file is not None:
                        await nursery.start(composition.watchers.trace_file.run)
                    await nursery.start(node.run)
                    for params in composition.settings.network:
                        await node.start_network(params)
                    await composition.start_sinks()
                    await node.refresh_metrics()
                    yield node
                finally:
                    await composition.stop(nursery)
    finally:
        if cells is None:
            own_cells.close()


async def run(
    settings: Settings,
    *,
    hosts: Mapping[int, MemoryHost] | None = None,
    seed: int | None = None,
    task_status: trio.TaskStatus[Ready] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a node and its HTTP endpoint until cancelled.

    Reports readiness when it listens and the first scrape is answered with data.
    It takes the process for its own: the limit of open files is raised as far as permitted.
    """
    raise_descriptor_limit()
    cells = open_cells()
    try:
        async with (
            open_node(settings, cells=cells, hosts=hosts, seed=seed) as node,
            trio.open_nursery() as nursery,
        ):
            app = build_app(
                node.snapshotter,
                settings.web,
                json_sources=_api(node),
                on_answered=None if node.meter is None else node.meter.answered,
            )
            server = HttpServer(app, settings.web, node.contained)
            add_server_metrics(node.snapshotter, server)
            address = await nursery.start(server.run)
            task_status.started(Ready(node, f"http://{address}/metrics", cells.block.path))
    finally:
        cells.close()


def _api(node: Node) -> dict[str, JsonSource]:
    return {path: partial(describe, node) for path, describe in PAGES.items()}


def _in_asyncio(deliver: Deliver) -> AbstractAsyncContextManager[Deliver]:
    from leanmesh.bridge.asyncio_room import in_asyncio

    return in_asyncio(deliver)


def client_settings(**network: Any) -> Settings:
    """Settings of a node that serves one command: it listens nowhere and takes only what is given."""
    given = {name: value for name, value in network.items() if value is not None}
    return Settings(network=(NetworkParams(listen=(), **given),))


def open_cells() -> Cells:
    """Cells in a file that other processes can read, or in memory of our own when no file can be had."""
    try:
        return Cells.in_file(runtime_directory(), str(os.getpid()))
    except (LocalError, OSError) as error:
        LOGGER.warning("cells cannot be read by other processes: %s", error)
        return Cells.anonymous()


async def watch_loop(cells: Cells) -> None:
    """Measure how late the loop wakes a task, and say that it goes round at all."""
    lateness = cells.histogram(LOOP_LATENESS)
    while True:
        due_s = trio.current_time() + LOOP_TICK_S
        await trio.sleep_until(due_s)
        lateness.observe(round((trio.current_time() - due_s) / LOOP_LATENESS.resolution))
        cells.beat()
