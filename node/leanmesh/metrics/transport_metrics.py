"""Counts what the transports report: connections, dials, handshakes and bytes.

The transport layer's observer by shape; nothing of that layer is imported.
"""

from typing import Protocol

import attrs

from leanmesh.metrics import catalog_lean as lean
from leanmesh.metrics import catalog_node as node
from leanmesh.metrics.cells import Cells, Histogram
from leanmesh.metrics.prime import prime

DIRECTIONS = ("inbound", "outbound")


class ConnectionLike(Protocol):
    """What is counted of a connection."""

    @property
    def transport(self) -> str:
        """Its transport's name."""
        ...

    @property
    def is_outbound(self) -> bool:
        """Whether we dialed it."""
        ...

    @property
    def remote_peer(self) -> bytes:
        """Who is at the other end."""
        ...


class FailureLike(Protocol):
    """What is counted of a failed attempt."""

    @property
    def kind(self) -> str:
        """Why: `timeout`, or something else."""
        ...


@attrs.define(eq=False)
class TransportMetrics:
    """The connection families, for one network; those of a process write the same cells.

    A peer counts once per network, as it does in the meshes.
    """

    cells: Cells
    _connected: dict[bytes, int] = attrs.field(factory=dict[bytes, int], init=False)
    _counters: dict[tuple[str, ...], int] = attrs.field(factory=dict[tuple[str, ...], int], init=False)
    # By transport: these two are counted for every chunk.
    _received_bytes: dict[str, int] = attrs.field(factory=dict[str, int], init=False)
    _sent_bytes: dict[str, int] = attrs.field(factory=dict[str, int], init=False)
    _handshakes: dict[tuple[str, bool], Histogram] = attrs.field(
        factory=dict[tuple[str, bool], Histogram], init=False
    )
    _peers: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._peers = self.cells.gauge(lean.CONNECTED_PEERS)
        for spec in (
            lean.PEER_CONNECTION_EVENTS,
            lean.PEER_DISCONNECTION_EVENTS,
            node.DIALS,
            node.HANDSHAKE,
            node.TRANSPORT_BYTES,
            node.TRANSPORT_REFUSED,
        ):
            prime(self.cells, spec)

    def listening(self, address: object) -> None:
        """Nothing to count."""

    def dial_started(self, transport: str, address: object) -> None:
        """Counted when it ends."""

    def dial_succeeded(self, transport: str, address: object, duration_s: float) -> None:
        """A dial became a connection."""
        self._dialed(transport, "success")

    def dial_failed(self, transport: str, error: FailureLike, duration_s: float) -> None:
        """A dial did not."""
        self._dialed(transport, _result(error))

    def accept_failed(self, transport: str, error: FailureLike, duration_s: float) -> None:
        """Somebody connected and did not become a peer."""
        self._attempted("inbound", _result(error))

    def refused(self, transport: str, limit: str) -> None:
        """A limit turned a connection or a stream away.  Attempts that this ended are told apart from it."""
        self._add(node.TRANSPORT_REFUSED, (limit,))

    def handshake_finished(self, transport: str, is_outbound: bool, duration_s: float) -> None:
        """A connection is secured."""
        histogram = self._handshakes.get((transport, is_outbound))
        if histogram is None:
            histogram = self.cells.histogram(node.HANDSHAKE, transport, DIRECTIONS[is_outbound])
            self._handshakes[transport, is_outbound] = histogram
        histogram.observe(round(duration_s / node.HANDSHAKE.resolution))

    def connection_opened(self, connection: ConnectionLike) -> None:
        """One connection more."""
        if not connection.is_outbound:
            self._attempted("inbound", "success")
        self._hold(connection, 1)
        peer = connection.remote_peer
        self._connected[peer] = self._connected.get(peer, 0) + 1
        if self._connected[peer] == 1:
            self.cells.signed_words[self._peers] += 1

    def connection_closed(self, connection: ConnectionLike, reason: str, detail: str) -> None:
        """One connection less."""
        direction = DIRECTIONS[connection.is_outbound]
        self._add(lean.PEER_DISCONNECTION_EVENTS, (direction, str(reason)))
        self._hold(connection, -1)
        peer = connection.remote_peer
        self._connected[peer] -= 1
        if not self._connected[peer]:
            del self._connected[peer]
            self.cells.signed_words[self._peers] -= 1

    def bytes_received(self, transport: str, size_bytes: int) -> None:
        """A chunk came."""
        index = self._received_bytes.get(transport)
        if index is None:
            index = self.cells.counter(node.TRANSPORT_BYTES, transport, "inbound")
            self._received_bytes[transport] = index
        self.cells.words[index] += size_bytes

    def bytes_sent(self, transport: str, size_bytes: int) -> None:
        """A chunk went."""
        index = self._sent_bytes.get(transport)
        if index is None:
            index = self.cells.counter(node.TRANSPORT_BYTES, transport, "outbound")
            self._sent_bytes[transport] = index
        self.cells.words[index] += size_bytes

    def _dialed(self, transport: str, result: str) -> None:
        self._add(node.DIALS, (transport, result))
        self._attempted("outbound", result)

    def _attempted(self, direction: str, result: str) -> None:
        self._add(lean.PEER_CONNECTION_EVENTS, (direction, result))

    def _hold(self, connection: ConnectionLike, change: int) -> None:
        direction = DIRECTIONS[connection.is_outbound]
        index = self.cells.gauge(node.CONNECTIONS, connection.transport, direction)
        self.cells.signed_words[index] += change

    def _add(self, spec: node.CounterSpec, labels: tuple[str, ...], count: int = 1) -> None:
        key = (spec.name, *labels)
        index = self._counters.get(key)
        if index is None:
            index = self._counters[key] = self.cells.counter(spec, *labels)
        self.cells.words[index] += count


def _result(error: FailureLike) -> str:
    return "timeout" if error.kind == "timeout" else "error"
