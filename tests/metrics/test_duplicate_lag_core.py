"""The tracker looks and does not touch: a network of cores writes the same bytes with it and without."""

from leanmesh.gossip.message_id import sha256_of_data
from leanmesh.gossip.observer import Observer
from leanmesh.gossip.rules import TopicRules
from leanmesh.gossip.validation import Verdict
from leanmesh.metrics.duplicate_lag import LagTracker
from leanmesh.metrics.params import LagParams
from simulator.network import Network, Node

TOPIC = "news"


def run(*, is_tracked: bool) -> tuple[Network, list[LagTracker]]:
    """Thirty seconds of ten nodes, some of which leave; a tenth of the messages is judged invalid."""
    network = Network(7, is_traced=True)
    trackers: list[LagTracker] = []
    for _ in range(10):
        observer = Observer()
        if is_tracked:
            observer = LagTracker(LagParams(is_on=True, pair_limit=20, ttl_s=0.5))
            trackers.append(observer)
        network.add_node(
            observer=observer,
            rules=lambda topic: TopicRules(message_id=sha256_of_data, is_validated=True),
            validator=lambda ticket: (
                Verdict.REJECT if ticket.message.data.endswith(b"0") else Verdict.ACCEPT,
                0.01,
            ),
        )
    network.connect_randomly(6, latency_s=0.05)
    network.subscribe_all(TOPIC)
    for number in range(150):
        network.publish(network.generator.choice(network.nodes), TOPIC, b"%d %d" % (number, number))
        network.run(0.2)
        if number % 50 == 25:
            leaver = network.generator.choice(network.nodes)
            for other in network.nodes:
                network.disconnect(leaver, other)
            network.connect(
                leaver, network.generator.choice([each for each in network.nodes if each is not leaver])
            )
    return network, trackers


def test_deliveries_frames_and_scores_are_identical_with_and_without():
    tracked, trackers = run(is_tracked=True)
    plain, _ = run(is_tracked=False)
    for one, other in zip(tracked.nodes, plain.nodes, strict=True):
        # The trace holds every event and the bytes of every frame written.
        assert one.trace == other.trace
        assert one.data == other.data
        assert one.cuts == other.cuts
        assert peers(one, tracked.now_s) == peers(other, plain.now_s)
    assert sum(tracker.observed for tracker in trackers) > 1000


def peers(node: Node, now_s: float) -> dict[bytes, object]:
    """What a node knows of its peers, their scores among it."""
    return {peer: node.router.view.peer(peer, now_s) for peer in node.router.view.peers}
