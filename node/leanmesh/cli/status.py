"""The status display of a devnet: a table that renews itself on a terminal, a line now and then elsewhere."""

import math

import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table

from leanmesh.cli.output import emit, say
from leanmesh.cli.tables import add_row, cell
from leanmesh.devnet import Devnet, NodeStatus

RENEWAL_S = 0.5
LINE_INTERVAL_S = 5.0


async def show_status(net: Devnet, url: str, *, is_interactive: bool, is_json: bool) -> None:
    """Show how the network does, until cancelled."""
    if not is_interactive:
        while True:
            await trio.sleep(LINE_INTERVAL_S)
            _tell(net, is_json=is_json)
    with Live(_table(net, url, 0.0), console=Console(), refresh_per_second=4, transient=False) as live:
        began_s = trio.current_time()
        while True:
            await trio.sleep(RENEWAL_S)
            live.update(_table(net, url, trio.current_time() - began_s))


def _tell(net: Devnet, *, is_json: bool) -> None:
    totals = net.totals()
    if is_json:
        emit(event="status", **totals)
        return
    meshes = [status.mesh for status in net.statuses()]
    say(
        f"{totals['published']} published, {totals['delivered']} delivered, "
        f"{totals['duplicates']} duplicates, mesh {min(meshes)} to {max(meshes)} peers, "
        f"latency {_milliseconds(net.latency_s())}"
    )


def _table(net: Devnet, url: str, elapsed_s: float) -> Table:
    totals = net.totals()
    table = Table(
        "net",
        "peer",
        "peers",
        "mesh",
        "published",
        "delivered",
        "duplicates",
        "outbox",
        title=f"leanmesh devnet, {elapsed_s:.0f} s: {net.rate_per_s:g} messages/s of {net.size_bytes} B",
        caption=cell(
            f"{url}   {totals['published']} published, {totals['delivered']} delivered, "
            f"latency {_milliseconds(net.latency_s())}   Ctrl-C ends"
        ),
    )
    for status in net.statuses():
        add_row(table, *_values(status))
    return table


def _values(status: NodeStatus) -> list[object]:
    return [
        status.network_id,
        status.peer_short,
        status.peers,
        status.mesh,
        status.published,
        status.delivered,
        status.duplicates,
        status.outbox,
    ]


def _milliseconds(quantiles_s: tuple[float, float]) -> str:
    median_s, late_s = quantiles_s
    if math.isnan(median_s):
        return "not known yet"
    return f"p50 {1000 * median_s:.2f} ms, p99 {1000 * late_s:.2f} ms"
