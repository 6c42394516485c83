"""Mesh-peer gauges: the total is the sum of the networks, or of the clients, and never both at once."""

import attrs
from exposition import Page, read_page
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.mesh_peers import add_mesh_peers
from leanmesh.metrics.page import PageFormat
from leanmesh.metrics.snapshotter import Snapshotter


@attrs.define
class Registry:
    names: tuple[str, ...]
    counts: dict[str, int]

    def mesh_peers(self) -> dict[str, int]:
        return self.counts


def run_networks(cells: Cells, *counts: int) -> None:
    for network_id, count in enumerate(counts):
        assert cells.networks.store(cells.networks.start(network_id), count)


async def page_of(snapshotter: Snapshotter) -> Page:
    await snapshotter.refresh()
    return read_page((await snapshotter.page()).body, is_openmetrics=False)


async def test_the_total_is_the_sum_over_networks(autojump_clock):
    cells = Cells.anonymous()
    run_networks(cells, 3, 4, 0)
    snapshotter = Snapshotter(cells=cells)
    add_mesh_peers(snapshotter)

    page = await page_of(snapshotter)

    assert page.families["lean_gossip_mesh_peers"] == {("lean_gossip_mesh_peers", ()): 7}
    assert [page.value("leanmesh_network_mesh_peers", network_id=str(i)) for i in range(3)] == [3, 4, 0]
    assert len(page.families["leanmesh_network_mesh_peers"]) == 3


async def test_the_line_is_the_same_in_both_formats(autojump_clock):
    cells = Cells.anonymous()
    run_networks(cells, 4242)
    snapshotter = Snapshotter(cells=cells)
    add_mesh_peers(snapshotter)

    for page_format in PageFormat:
        page = await snapshotter.page(page_format)
        assert b"\nlean_gossip_mesh_peers 4242\n" in page.body


async def test_without_networks_the_total_is_zero_and_there(autojump_clock):
    snapshotter = Snapshotter(cells=Cells.anonymous())
    add_mesh_peers(snapshotter)

    page = await page_of(snapshotter)

    assert page.value("lean_gossip_mesh_peers") == 0
    assert "leanmesh_network_running" not in page.families


async def test_a_stopped_network_stays_with_zero(autojump_clock):
    cells = Cells.anonymous()
    handle = cells.networks.start(5)
    cells.networks.store(handle, 9)
    snapshotter = Snapshotter(cells=cells)
    add_mesh_peers(snapshotter)
    assert (await page_of(snapshotter)).value("leanmesh_network_running", network_id="5") == 1

    cells.networks.stop(handle)
    page = await page_of(snapshotter)

    assert page.value("leanmesh_network_running", network_id="5") == 0
    assert page.value("leanmesh_network_mesh_peers", network_id="5") == 0
    assert page.value("lean_gossip_mesh_peers") == 0


async def test_with_a_registry_every_name_and_unknown_are_there_and_add_up(autojump_clock):
    cells = Cells.anonymous()
    run_networks(cells, 3, 4)
    snapshotter = Snapshotter(cells=cells)
    add_mesh_peers(snapshotter, Registry(("zeam_0", "ream_0", "qlean_0"), {"zeam_0": 4, "ream_0": 1}))

    page = await page_of(snapshotter)

    assert page.families["lean_gossip_mesh_peers"] == {
        ("lean_gossip_mesh_peers", (("client", "zeam_0"),)): 4,
        ("lean_gossip_mesh_peers", (("client", "ream_0"),)): 1,
        ("lean_gossip_mesh_peers", (("client", "qlean_0"),)): 0,
        ("lean_gossip_mesh_peers", (("client", "unknown"),)): 2,
    }
    assert sum(page.families["lean_gossip_mesh_peers"].values()) == 7


async def test_with_a_registry_an_empty_mesh_reads_zero_for_everyone(autojump_clock):
    snapshotter = Snapshotter(cells=Cells.anonymous())
    add_mesh_peers(snapshotter, Registry(("zeam_0",), {}))

    page = await page_of(snapshotter)

    assert page.families["lean_gossip_mesh_peers"] == {
        ("lean_gossip_mesh_peers", (("client", "zeam_0"),)): 0,
        ("lean_gossip_mesh_peers", (("client", "unknown"),)): 0,
    }
