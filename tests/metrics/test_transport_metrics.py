"""What the transports report, as the page shows it: attempts, refusals, connections, peers."""

import attrs
import pytest
from leanmesh.metrics.catalog_node import TRANSPORT_LIMITS
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.transport_metrics import TransportMetrics


@attrs.frozen
class Failure:
    kind: str = "error"


@attrs.frozen
class Connection:
    remote_peer: bytes
    is_outbound: bool = False
    transport: str = "tcp"


@pytest.fixture
def cells() -> Cells:
    return Cells.anonymous()


@pytest.fixture
def metrics(cells: Cells) -> TransportMetrics:
    return TransportMetrics(cells)


def shown(cells: Cells, name: str) -> dict[tuple[str, ...], int]:
    """The series of one family that are not 0."""
    families = {spec.name: dict(values) for spec, values in cells.copy().families()}
    return {labels: value for labels, value in families.get(name, {}).items() if value}


ATTEMPTS = "lean_peer_connection_events_total"
REFUSED = "leanmesh_transport_refused_total"


def test_every_limit_has_a_series_before_anything_happened(cells: Cells, metrics: TransportMetrics):
    families = {spec.name: dict(values) for spec, values in cells.copy().families()}
    assert families[REFUSED] == {(limit,): 0 for limit in TRANSPORT_LIMITS}
    assert set(families[ATTEMPTS].values()) == {0}
    assert len(families[ATTEMPTS]) == 6
    assert len(families["lean_peer_disconnection_events_total"]) == 8


@pytest.mark.parametrize("limit", [*TRANSPORT_LIMITS, "another_limit"])
def test_a_refusal_counts_under_its_limit_and_is_no_attempt(
    cells: Cells, metrics: TransportMetrics, limit: str
):
    metrics.refused("tcp", limit)
    metrics.refused("memory", limit)
    assert shown(cells, REFUSED) == {(limit,): 2}
    assert shown(cells, ATTEMPTS) == {}


def test_every_attempt_counts_once_by_direction_and_result(cells: Cells, metrics: TransportMetrics):
    metrics.connection_opened(Connection(b"a"))
    metrics.accept_failed("tcp", Failure(), 0.0)
    metrics.accept_failed("tcp", Failure("timeout"), 0.0)
    metrics.accept_failed("tcp", Failure("refused"), 0.0)
    metrics.dial_succeeded("tcp", object(), 0.1)
    metrics.connection_opened(Connection(b"b", is_outbound=True))
    metrics.dial_failed("tcp", Failure("refused"), 0.0)
    assert shown(cells, ATTEMPTS) == {
        ("inbound", "success"): 1,
        ("inbound", "error"): 2,
        ("inbound", "timeout"): 1,
        ("outbound", "success"): 1,
        ("outbound", "error"): 1,
    }
    assert shown(cells, "leanmesh_dials_total") == {("tcp", "success"): 1, ("tcp", "error"): 1}


def test_a_peer_with_two_connections_is_one_peer_until_the_last_has_gone(
    cells: Cells, metrics: TransportMetrics
):
    one, two = Connection(b"a"), Connection(b"a", is_outbound=True)
    metrics.connection_opened(one)
    metrics.connection_opened(two)
    assert shown(cells, "lean_connected_peers") == {(): 1}
    assert shown(cells, "leanmesh_connections") == {("tcp", "inbound"): 1, ("tcp", "outbound"): 1}

    metrics.connection_closed(one, "error", "")
    assert shown(cells, "lean_connected_peers") == {(): 1}
    metrics.connection_closed(two, "local_close", "")
    assert shown(cells, "lean_connected_peers") == shown(cells, "leanmesh_connections") == {}
    assert shown(cells, "lean_peer_disconnection_events_total") == {
        ("inbound", "error"): 1,
        ("outbound", "local_close"): 1,
    }


def test_bytes_add_up_by_transport_and_direction(cells: Cells, metrics: TransportMetrics):
    for size in (10, 20):
        metrics.bytes_received("tcp", size)
        metrics.bytes_sent("memory", 2 * size)
    assert shown(cells, "leanmesh_transport_bytes_total") == {
        ("tcp", "inbound"): 30,
        ("memory", "outbound"): 60,
    }
