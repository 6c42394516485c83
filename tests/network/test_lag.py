"""Duplicate lag on whole nodes: it finds the order that the links make, and the figures add up."""

import pytest
import trio
from leanmesh.gossip.params import GossipParams
from leanmesh.metrics.catalog_lag import LAG_BOUNDS_S
from leanmesh.metrics.params import LagParams
from leanmesh.metrics.sample import HistogramValue
from leanmesh.service.api import PAGES
from leanmesh.service.node import Node
from leanmesh.transport.memory_pipe import Link
from network.nodes import TOPIC, Nodes, collect

NODES = 10
MESSAGES = 40
# Everybody is in everybody's mesh, so that each message comes from everyone.
FULL_MESH = GossipParams(mesh_target=9, mesh_low=9, mesh_high=12, mesh_outbound=0)
# From node 1, which looks, to each other one.
DELAYS_S = {number: 0.001 * 2 ** (number % 7) + 0.0002 * number for number in range(2, 10)}
PUBLISHER = 10


def lag_of(node: Node):
    (network,) = PAGES["/api/lag"](node)["networks"]
    return network


def family(node: Node, name: str) -> dict[tuple[str, ...], HistogramValue | int]:
    """The series of one family, without the label of the network."""
    found = [
        each for each in node.snapshotter.current.families if each.spec.name == f"leanmesh_duplicate_{name}"
    ]
    return {series.labels[1:]: series.value for each in found for series in each.series}


async def test_the_figures_recover_the_order_and_the_delays_of_the_links(autojump_clock, nodes: Nodes):
    nodes.gossip, nodes.lag = FULL_MESH, LagParams(is_on=True, has_pairs=True)
    # The publisher's own copy comes last.
    nodes.memory.set_link(nodes.ip(1), nodes.ip(PUBLISHER), Link(latency_s=0.3))
    for number, delay_s in DELAYS_S.items():
        nodes.memory.set_link(nodes.ip(1), nodes.ip(number), Link(latency_s=delay_s))
    await nodes.start_all(NODES)
    await nodes.wait_for_meshes(NODES - 1)
    for number in range(MESSAGES):
        await nodes[PUBLISHER].publish(TOPIC, b"message %d" % number)
        await trio.sleep(0.5)
    await nodes[1].refresh_metrics()

    # All had it from the publisher after the same 10 ms; from there on it is the links' delays.
    order = sorted(DELAYS_S, key=DELAYS_S.__getitem__)
    lags_s = {number: DELAYS_S[number] - DELAYS_S[order[0]] for number in order[1:]}
    lags_s[PUBLISHER] = 0.3 - 0.01 - DELAYS_S[order[0]]
    told = lag_of(nodes[1])
    by_peer = {peer["peer"]: peer for peer in told["peers"]}
    winner, losers = by_peer.pop(str(nodes.peer(order[0]))), by_peer
    assert (winner["firsts"], winner["share"]) == (MESSAGES, 1.0)
    assert winner["others_behind"]["count"] == MESSAGES * len(lags_s)
    assert set(told["never_first"]) == {str(nodes.peer(number)) for number in lags_s}
    means_s = {number: losers[str(nodes.peer(number))]["late"]["mean_s"] for number in lags_s}
    assert sorted(means_s, key=means_s.__getitem__) == sorted(lags_s, key=lags_s.__getitem__)

    pairs = family(nodes[1], "lag_by_pair_seconds")
    assert len(pairs) == len(lags_s)
    for number, lag_s in lags_s.items():
        late = losers[str(nodes.peer(number))]["late"]
        assert late["count"] == MESSAGES
        assert late["mean_s"] == pytest.approx(lag_s, abs=2e-9)
        below_s, above_s = band_of(lag_s)
        assert below_s < late["median_s"] <= above_s
        value = pairs[str(nodes.peer(order[0])), str(nodes.peer(number))]
        assert value.count == MESSAGES
        assert value.counts[LAG_BOUNDS_S.index(above_s)] == MESSAGES


def band_of(lag_s: float) -> tuple[float, float]:
    for below_s, above_s in zip((0.0, *LAG_BOUNDS_S), LAG_BOUNDS_S, strict=False):
        if lag_s <= above_s:
            return below_s, above_s
    raise AssertionError(f"{lag_s} is beyond the last band")


async def deliveries(nodes: Nodes, nursery: trio.Nursery, lag: LagParams) -> list[list[bytes]]:
    nodes.lag = lag
    await nodes.start_all(6)
    await nodes.wait_for_meshes(5)
    inboxes = [await collect(nursery, node) for node in nodes]
    for number in range(30):
        await nodes[1 + number % 6].publish(TOPIC, b"%d" % number)
    await trio.sleep(5)
    await nodes.stop_all()
    return [inbox.data for inbox in inboxes]


async def test_deliveries_are_the_same_with_and_without(autojump_clock, nodes: Nodes, nursery: trio.Nursery):
    without = await deliveries(nodes, nursery, LagParams())
    tracked = await deliveries(nodes, nursery, LagParams(is_on=True, has_pairs=True))
    assert [sorted(inbox) for inbox in tracked] == [sorted(inbox) for inbox in without]
    assert sum(map(len, without)) == 30 * 5


@pytest.mark.parametrize("rate", [1, 4])
async def test_after_saturation_the_figures_are_the_duplicates_to_the_unit(real_nodes: Nodes, rate: int):
    nodes = real_nodes
    nodes.memory._link = Link()
    nodes.lag = LagParams(is_on=True, has_pairs=True, sample_rate=rate, pair_limit=7, ttl_s=0.2)
    await nodes.start_all(6)
    await nodes.wait_for_meshes(5)

    async def publish(node: Node, number: int) -> None:
        for count in range(200):
            await node.publish(TOPIC, b"%d %d" % (number, count))

    async with trio.open_nursery() as publishers:
        for number, node in enumerate(nodes):
            publishers.start_soon(publish, node, number)
    everyone = list(nodes)
    for node in everyone:
        await check_sum(node)
    await nodes.stop_all()
    for node in everyone:
        await check_sum(node, is_stopped=True)


async def check_sum(node: Node, *, is_stopped: bool = False) -> None:
    await node.refresh_metrics()
    duplicates = sum(
        series.value
        for series in node.snapshotter.current.family("gossipsub_duplicate_messages_total").series
    )
    total = family(node, "lag_seconds")[()]
    outside = {reason: count for (reason,), count in family(node, "lag_outside_total").items()}
    pairs = family(node, "lag_by_pair_seconds")
    other = pairs.pop(("other", "other")).count
    assert duplicates > 1000
    assert other == outside["other"]
    assert total.count + outside["expired"] + outside["unsampled"] == duplicates
    if is_stopped:
        assert pairs == {}
    else:
        assert len(pairs) == 7
        assert sum(value.count for value in pairs.values()) + sum(outside.values()) == duplicates


async def test_who_leaves_takes_its_series_along_and_the_total_stays(autojump_clock, nodes: Nodes):
    nodes.lag = LagParams(is_on=True, has_pairs=True)
    await nodes.start_all(4)
    await nodes.wait_for_meshes(3)
    for number in range(10):
        await nodes[2].publish(TOPIC, b"%d" % number)
        await trio.sleep(0.1)
    await nodes[1].refresh_metrics()
    gone = str(nodes.peer(3))
    before = family(nodes[1], "lag_seconds")[()]
    assert (gone,) in family(nodes[1], "lag_by_loser_seconds")

    await nodes.stop(3)
    await trio.sleep(1)
    await nodes[1].refresh_metrics()
    assert family(nodes[1], "lag_seconds")[()] == before
    for name in ("lag_by_winner_seconds", "lag_by_loser_seconds", "lag_by_pair_seconds"):
        assert not any(gone in labels for labels in family(nodes[1], name))


async def test_off_it_is_not_there(autojump_clock, nodes: Nodes):
    node = await nodes.start(1)
    assert PAGES["/api/lag"](node)["networks"] == []
    assert PAGES["/api/lag/pairs"](node)["pairs"] == []
    assert not [each for each in node.snapshotter.current.families if "duplicate_lag" in each.spec.name]
