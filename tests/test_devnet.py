"""The devnet's own books: what it says it published is what its nodes published."""

import trio
from leanmesh.devnet import Devnet
from leanmesh.gossip.params import GossipParams
from leanmesh.settings import Settings
from leanmesh.web.params import WebParams

NODES = 4


async def test_a_devnet_stopped_in_the_middle_of_a_publish_counts_it_and_misses_none():
    settings = Settings(web=WebParams(listen="127.0.0.1:0"))
    net = Devnet(settings, nodes=NODES, is_in_memory=True, rate_per_s=500.0, size_bytes=100, seed=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(net.run)
        while sum(net.published.values()) < 20:
            await trio.sleep(0.001)
        with trio.fail_after(10):
            while published(net) == sum(net.published.values()):
                await trio.lowlevel.checkpoint()
        await net.settle(10.0)
        totals = net.totals()
        assert (totals["published"], totals["missing"]) == (published(net), 0)
        assert totals["delivered"] == totals["published"] * (NODES - 1)
        nursery.cancel_scope.cancel()


async def test_peers_may_come_and_go_while_the_first_meshes_form():
    # The first peers soon have meshes, and the last has not when one of the others is stopped.
    gossip = GossipParams(mesh_low=1, mesh_outbound=0)
    settings = Settings(web=WebParams(listen="127.0.0.1:0"), gossip=gossip)
    net = Devnet(settings, nodes=NODES, is_in_memory=True, rate_per_s=100.0, size_bytes=100, seed=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(net.run)
        await net.stop_peer(2)
        with trio.fail_after(30):
            while not all(net.published[number] for number in (0, 1, 3)):
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_a_peer_that_is_stopped_as_soon_as_it_was_started_does_not_end_the_devnet():
    settings = Settings(web=WebParams(listen="127.0.0.1:0"))
    net = Devnet(settings, nodes=2, is_in_memory=True, rate_per_s=0, seed=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(net.run)
        for _ in range(3):
            await net.stop_peer(0)
            await net.start_peer(0)
        await net.stop_peer(0)
        assert list(net.node.networks) == [1]
        nursery.cancel_scope.cancel()


def published(net: Devnet) -> int:
    """How many messages there are: whoever publishes one has seen its id at once."""
    return max(network.live.gossip.router.view.seen_ids for network in net.node.networks.values())
