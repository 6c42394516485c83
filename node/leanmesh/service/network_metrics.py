"""What the metrics know of the networks: observers for each, and the books of all.

Events are counted where they happen, by the observers.  What is a state
(sizes, queues, balances) is read once per snapshot, by one refresher.
"""

from collections.abc import Callable, Iterable, Mapping

import attrs

from leanmesh.gossip.outbox import Drop, Ledger, Outbox, Priority
from leanmesh.gossip.views import View
from leanmesh.metrics import catalog_gossipsub as gossipsub
from leanmesh.metrics import catalog_node as catalog
from leanmesh.metrics.cells import Cells, Histogram, NetworkHandle
from leanmesh.metrics.gossip_metrics import GossipMetrics
from leanmesh.metrics.prime import prime
from leanmesh.metrics.stored_values import StoredValues
from leanmesh.metrics.transport_metrics import TransportMetrics
from leanmesh.service.network import Network
from leanmesh.service.subscriptions import DeliveryBooks

LEDGER_COLUMNS = ("written", *Drop)


def add_ledger(total: Ledger, more: Ledger) -> None:
    """Add the books of one outbox to those of many."""
    for field in attrs.fields(Ledger):
        setattr(total, field.name, getattr(total, field.name) + getattr(more, field.name))


@attrs.define(eq=False)
class NetworkMetrics:
    """The metrics of one network id.  They go on when the network is started again."""

    cells: Cells
    network_id: int
    on_mesh_change: Callable[[], None]
    gossip: GossipMetrics = attrs.field(init=False)
    transport: TransportMetrics = attrs.field(init=False)
    delivery: DeliveryBooks = attrs.field(factory=DeliveryBooks, init=False)
    closed: Ledger = attrs.field(factory=Ledger, init=False)
    """The books of outboxes whose peers are gone."""
    _slot: NetworkHandle | None = attrs.field(default=None, init=False)
    _duration: Histogram = attrs.field(init=False)
    _lateness: Histogram = attrs.field(init=False)
    _pings_refused: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        label = str(self.network_id)
        self.gossip = GossipMetrics(self.cells, label)
        self.transport = TransportMetrics(self.cells)
        self._duration = self.cells.histogram(gossipsub.HEARTBEAT_DURATION, label)
        self._lateness = self.cells.histogram(gossipsub.HEARTBEAT_LATENESS, label)
        self._pings_refused = self.cells.counter(catalog.PINGS_REFUSED)

    @property
    def duplicates(self) -> int:
        """Copies received of messages that were here already."""
        return self.gossip.became["duplicate"]

    # The slot.

    def start(self) -> None:
        """The network runs.  LocalError when its slot is taken."""
        self._slot = self.cells.networks.start(self.network_id)
        self.on_mesh_change()

    def store(self, count: int) -> None:
        """So many distinct peers are in its meshes."""
        if self._slot is not None:
            self.cells.networks.store(self._slot, count)
            self.on_mesh_change()

    def stop(self) -> None:
        """The network runs no more."""
        if self._slot is not None:
            self.cells.networks.stop(self._slot)
            self._slot = None
            self.on_mesh_change()
        self.gossip.stopped()

    def take_tally(self) -> list[tuple[str, int, int]]:
        """See GossipMetrics."""
        return self.gossip.take_tally()

    # Events that no observer of the core sees.

    def heartbeat_done(self, duration_s: float, lateness_s: float) -> None:
        """A heartbeat took so long and began so late."""
        self._duration.observe(round(duration_s / gossipsub.HEARTBEAT_DURATION.resolution))
        self._lateness.observe(round(lateness_s / gossipsub.HEARTBEAT_LATENESS.resolution))

    def rpcs_sent(self, rpcs: int, size_bytes: int) -> None:
        """So many RPCs were taken out of an outbox to be written."""
        self.gossip.rpcs_sent(rpcs, size_bytes)

    def empty_frames(self, count: int) -> None:
        """So many frames of a peer held nothing."""
        self.gossip.empty_frames(count)

    def identify_silent(self, reason: str) -> None:
        """A peer did not say who it is: timeout, refused or empty.  All networks count together."""
        self.cells.add(self.cells.counter(catalog.IDENTIFY_SILENT, reason))

    def ping_refused(self) -> None:
        """A peer opened more streams for pings than it may have.  All networks count in one cell."""
        self.cells.words[self._pings_refused] += 1

    def outbox_closed(self, outbox: Outbox) -> None:
        """A peer is gone; the books of its outbox go on in ours."""
        for priority in Priority:
            add_ledger(self.closed, outbox.ledger(priority))


@attrs.define(eq=False)
class AllNetworkMetrics:
    """The metrics of every network of the process, and the refresher that reads their states."""

    cells: Cells
    networks: Mapping[int, Network]
    """The networks that run now."""
    on_mesh_change: Callable[[], None] = lambda: None
    """What a scrape shows of the meshes is outdated."""
    _by_id: dict[int, NetworkMetrics] = attrs.field(factory=dict[int, NetworkMetrics], init=False)
    _values: StoredValues = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._values = StoredValues(self.cells)
        for spec in (
            catalog.MESSAGES_BALANCE,
            catalog.OUTBOX_DROPPED,
            catalog.CONNECTIONS,
            catalog.IDENTIFY_SILENT,
        ):
            prime(self.cells, spec)

    def of(self, network_id: int) -> NetworkMetrics:
        """The metrics of one network id; the same ones each time it is started."""
        known = self._by_id.get(network_id)
        if known is None:
            known = self._by_id[network_id] = NetworkMetrics(self.cells, network_id, self.on_mesh_change)
        return known

    def refresh(self) -> None:
        """Bring every state up to date.  Called once per snapshot."""
        outboxes = {priority: [0, 0] for priority in Priority}
        outbound = Ledger()
        for network_id, metrics in self._by_id.items():
            add_ledger(outbound, metrics.closed)
            network = self.networks.get(network_id)
            life = None if network is None else network.life
            if life is not None:
                life.gossip.check_mesh()
            self._refresh_topics(metrics, None if life is None else life.gossip.router.view)
            for link in () if life is None else life.gossip.links.values():
                for priority in Priority:
                    add_ledger(outbound, link.outbox.ledger(priority))
                    outboxes[priority][0] += link.outbox.queued(priority)
                    outboxes[priority][1] += link.outbox.queued_bytes(priority)
        for priority, (messages, size_bytes) in outboxes.items():
            self._values.level(catalog.OUTBOX_MESSAGES, messages, priority.name.lower())
            self._values.level(catalog.OUTBOX_BYTES, size_bytes, priority.name.lower())
        self._close_books(outbound, sum(messages for messages, _ in outboxes.values()))
        self._values.write()

    def _refresh_topics(self, metrics: NetworkMetrics, view: View | None) -> None:
        """Sizes of one network; all 0 when it does not run."""
        label = str(metrics.network_id)
        for topic in metrics.gossip.topics:
            peers, mesh = (len(view.topic_peers(topic)), len(view.mesh(topic))) if view else (0, 0)
            self._values.level(gossipsub.TOPIC_PEERS, peers, label, topic)
            self._values.level(gossipsub.MESH_PEERS, mesh, label, topic)
        self._values.level(gossipsub.MCACHE_MESSAGES, view.history_messages if view else 0, label)
        self._values.level(gossipsub.SEEN_IDS, view.seen_ids if view else 0, label)

    def _close_books(self, outbound: Ledger, queued: int) -> None:
        columns = {column: int(getattr(outbound, column)) for column in LEDGER_COLUMNS}
        for column, count in columns.items():
            self._values.total(catalog.MESSAGES, count, "outbound", str(column))
        books = [metrics.delivery for metrics in self._by_id.values()]
        consumed = sum(book.consumed for book in books)
        self._values.total(catalog.MESSAGES, consumed, "delivery", "consumed")
        dropped = self._dropped(books)
        self._values.total(catalog.MESSAGES, dropped, "delivery", "dropped")
        balances = {
            "inbound": sum(metrics.gossip.balance for metrics in self._by_id.values()),
            "delivery": sum(book.balance for book in books),
            "outbound": outbound.put - sum(columns.values()) - queued,
        }
        for boundary, balance in balances.items():
            self._values.level(catalog.MESSAGES_BALANCE, balance, boundary)

    def _dropped(self, books: Iterable[DeliveryBooks]) -> int:
        by_label: dict[tuple[str, str], int] = {}
        for book in books:
            for (topic, overflow), count in book.dropped.items():
                by_label[topic, overflow] = by_label.get((topic, overflow), 0) + count
        for (topic, overflow), count in by_label.items():
            self._values.total(catalog.SUBSCRIPTION_DROPPED, count, topic, str(overflow))
        return sum(by_label.values())
