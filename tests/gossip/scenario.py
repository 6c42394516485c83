"""One run with everything in it, for the tests that repeat runs.  As a program it prints the traces."""

import sys

from leanmesh.gossip.message_id import sha256_of_data
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.rules import TopicRules
from leanmesh.gossip.validation import Ticket, Verdict
from simulator.network import Network

TOPIC = "blocks"
PARAMS = GossipParams(mesh_target=4, mesh_low=3, mesh_high=6, mesh_best=2, mesh_outbound=1)
PROTOCOLS = ("/meshsub/1.2.0", "/meshsub/1.2.0", "/meshsub/1.1.0", "/meshsub/1.0.0", "/floodsub/1.0.0")
RULES = TopicRules(message_id=sha256_of_data, is_validated=True)


def judge(ticket: Ticket) -> tuple[Verdict, float]:
    verdicts = {b"b": Verdict.REJECT, b"i": Verdict.IGNORE}
    return verdicts.get(ticket.data[:1], Verdict.ACCEPT), 0.001 * (len(ticket.data) % 7)


def play(seed: int) -> Network:
    """Loss, latency, bandwidth, mixed versions, verdicts, churn and a partition."""
    network = Network(seed, is_traced=True)
    for number in range(15):
        network.add_node(
            PARAMS,
            protocol=PROTOCOLS[number % len(PROTOCOLS)],
            validator=judge,
            rules=lambda topic: RULES,
        )
    network.connect_randomly(6, latency_s=0.03, loss=0.05, bytes_per_s=50_000.0)
    network.subscribe_all(TOPIC)
    network.run(2)
    for number in range(60):
        _publish(network, number)
        network.run(0.1)
        if number == 20:
            network.partition(network.nodes[:5])
        if number == 35:
            network.partition(network.nodes[:5], is_cut=False)
            network.unsubscribe(network.nodes[3], TOPIC)
        if number == 40:
            one, other = network.nodes[7], network.nodes[8]
            network.disconnect(one, other)
            network.connect(one, other)
    network.run(5)
    for node in network.nodes:
        # A trace knows every event there is.
        node.face.set_validated(TOPIC, is_validated=node.number % 2 == 0)
        _publish(network, 100 + node.number)
        network.run(0.5)
        node.face.close(network.now_s)
    return network


def _publish(network: Network, number: int) -> None:
    node = network.generator.choice(network.nodes)
    kind = b"bi"[number % 10 : number % 10 + 1] or b"g"
    network.publish(node, TOPIC, kind + b"%d " % number + bytes(network.generator.choice((10, 1000, 3000))))


def main() -> None:
    for node in play(int(sys.argv[1])).nodes:
        for line in node.trace:
            print(node.number, line)


if __name__ == "__main__":
    main()
