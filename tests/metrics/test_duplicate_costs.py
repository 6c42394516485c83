"""What duplicates cost: useful bytes, what IDONTWANT saved, and what crossed it, on a mesh of cores."""

import pytest
from leanmesh.gossip.message_id import sha256_of_data
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.rules import TopicRules
from leanmesh.gossip.validation import Verdict
from leanmesh.metrics import catalog_gossipsub as gossipsub
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import CounterSpec
from leanmesh.metrics.gossip_metrics import GossipMetrics
from simulator.network import Network

TOPIC = "news"
DATA_BYTES = 5000
MESSAGES = 40


class Measured:
    """Six cores in one mesh, each with its metrics."""

    def __init__(self, **params) -> None:
        self.network = Network(3)
        self.cells: list[Cells] = []
        for _ in range(6):
            cells = Cells.anonymous()
            self.cells.append(cells)
            # IDONTWANT leaves at once, the message when it is judged: between the two copies are spared.
            self.network.add_node(
                GossipParams(**params),
                observer=GossipMetrics(cells, "0"),
                rules=lambda topic: TopicRules(message_id=sha256_of_data, is_validated=True),
                validator=lambda ticket: (Verdict.ACCEPT, 0.05),
            )
        for number, one in enumerate(self.network.nodes):
            for other in self.network.nodes[number + 1 :]:
                self.network.connect(one, other, latency_s=0.01 * (1 + one.number + other.number))
        self.network.subscribe_all(TOPIC)
        self.network.run(3)
        for number in range(MESSAGES):
            self.network.publish(self.network.nodes[number % 6], TOPIC, b"%05d" % number * (DATA_BYTES // 5))
            self.network.run(0.5)

    def sum(self, spec: CounterSpec) -> int:
        return sum(cells.words[cells.counter(spec, "0", TOPIC)] for cells in self.cells)


@pytest.fixture(scope="module")
def measured() -> Measured:
    return Measured()


def test_useful_bytes_are_those_of_first_copies(measured: Measured):
    size_bytes = measured.sum(gossipsub.RECEIVED_BYTES) / measured.sum(gossipsub.RECEIVED_UNFILTERED)
    assert measured.sum(gossipsub.RECEIVED) == 5 * MESSAGES
    assert measured.sum(gossipsub.USEFUL_BYTES) == 5 * MESSAGES * size_bytes
    wasted_bytes = measured.sum(gossipsub.RECEIVED_BYTES) - measured.sum(gossipsub.USEFUL_BYTES)
    assert wasted_bytes == measured.sum(gossipsub.DUPLICATES) * size_bytes


def test_idontwant_spares_copies_and_some_cross_it(measured: Measured):
    size_bytes = measured.sum(gossipsub.RECEIVED_BYTES) / measured.sum(gossipsub.RECEIVED_UNFILTERED)
    spared, crossed = measured.sum(gossipsub.SPARED), measured.sum(gossipsub.CROSSED)
    assert spared > 0
    assert measured.sum(gossipsub.SPARED_BYTES) == spared * size_bytes
    assert 0 < crossed <= measured.sum(gossipsub.DUPLICATES)


def test_below_the_threshold_nothing_is_declined_and_every_copy_comes(measured: Measured):
    plain = Measured(idontwant_threshold_bytes=DATA_BYTES + 1)
    assert plain.sum(gossipsub.SPARED) == plain.sum(gossipsub.CROSSED) == 0
    # What was spared, and only that, did not come as a duplicate.
    spared = plain.sum(gossipsub.DUPLICATES) - measured.sum(gossipsub.DUPLICATES)
    assert spared == measured.sum(gossipsub.SPARED)
