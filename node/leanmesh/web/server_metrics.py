"""What the metrics page says of the server that answers it."""

from collections.abc import Iterator

from leanmesh.metrics.catalog_node import HTTP_REFUSED
from leanmesh.metrics.sample import Sample
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.sources import SourceHandle
from leanmesh.web.server import HttpServer


def add_server_metrics(snapshotter: Snapshotter, server: HttpServer) -> SourceHandle:
    """Export whom the server turned away; the next scrape has it, also when there is a snapshot already."""

    def read() -> Iterator[Sample]:
        yield Sample(HTTP_REFUSED, (), server.connections_refused)

    handle = snapshotter.add_source("http", (HTTP_REFUSED,), read)
    snapshotter.mark_outdated()
    return handle
