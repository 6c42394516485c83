"""The mesh-peer gauges, from the network slots of one copy: the total is the sum of what is beside it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from leanmesh.metrics.catalog_lean import MESH_PEERS, MESH_PEERS_BY_CLIENT
from leanmesh.metrics.catalog_node import NETWORK_MESH_PEERS, NETWORK_RUNNING
from leanmesh.metrics.sample import Sample
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.sources import SourceHandle

UNKNOWN = "unknown"


class NodeNames(Protocol):
    """A registry of node names: which clients are known, and how many mesh peers each of them runs."""

    @property
    def names(self) -> Sequence[str]:
        """Every registered name."""
        ...

    def mesh_peers(self) -> Mapping[str, int]:
        """Mesh peers by registered name, counted as the network slots count them; missing names have 0."""
        ...


def add_mesh_peers(snapshotter: Snapshotter, names: NodeNames | None = None) -> SourceHandle:
    """Export how many peers the meshes have: by network, and in total or by client.

    With a registry the total is split by client and not exported beside the
    parts: whoever adds up the family must not count a peer twice.  Networks
    that never ran are not on the page; stopped ones stay, with 0.
    """
    known: dict[int, None] = {}

    def read() -> Iterator[Sample]:
        copy = snapshotter.cells_copy
        if copy is None:
            return
        total = 0
        for network_id in range(len(copy.network_words)):
            is_running, count = copy.network(network_id)
            if is_running:
                known[network_id] = None
            if network_id in known:
                yield Sample(NETWORK_RUNNING, (str(network_id),), int(is_running))
                yield Sample(NETWORK_MESH_PEERS, (str(network_id),), count)
            total += count
        if names is None:
            yield Sample(MESH_PEERS, (), total)
        else:
            yield from _by_client(names, total)

    total_spec = MESH_PEERS if names is None else MESH_PEERS_BY_CLIENT
    return snapshotter.add_source("mesh_peers", (NETWORK_MESH_PEERS, NETWORK_RUNNING, total_spec), read)


def _by_client(names: NodeNames, total: int) -> Iterator[Sample]:
    counts = names.mesh_peers()
    named = 0
    for name in dict.fromkeys(names.names):
        count = counts.get(name, 0)
        named += count
        yield Sample(MESH_PEERS_BY_CLIENT, (name,), count)
    # Also when it is 0.  A client called `unknown` shares the series.
    yield Sample(MESH_PEERS_BY_CLIENT, (UNKNOWN,), max(0, total - named))
