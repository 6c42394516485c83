"""Many routers on a fake wire: every subscriber gets every message, once, over any graph."""

import pytest
from gossip.one_router import Books, Recording
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.signing import SignaturePolicy, Signer
from leanmesh.gossip.wire_params import OutboxLimits
from leanmesh.identity.keys import KeyKind, PrivateKey
from simulator.network import Network, Node

TOPIC = "blocks"
KEYS = [PrivateKey.of_kind(KeyKind.ED25519, bytes([number]) * 32) for number in range(3)]
PARAMS = GossipParams()
PROTOCOLS = ("/meshsub/1.0.0", "/meshsub/1.1.0", "/meshsub/1.2.0")


def line(size: int, **options: object) -> Network:
    network = Network(1)
    for _ in range(size):
        network.add_node(**options)
    for one, other in zip(network.nodes, network.nodes[1:], strict=False):
        network.connect(one, other)
    network.subscribe_all(TOPIC)
    return network


def everyone_else(network: Network, source: Node) -> list[Node]:
    return [node for node in network.nodes if node is not source]


def test_a_message_travels_along_a_line():
    network = line(12)
    network.run(0.5)
    network.publish(network.nodes[0], TOPIC, b"data")
    network.run(1)
    assert [node.data for node in everyone_else(network, network.nodes[0])] == [[b"data"]] * 11


def test_a_message_travels_through_a_tree():
    network = Network(2)
    for number in range(31):
        node = network.add_node()
        if number:
            network.connect(node, network.nodes[(number - 1) // 2])
    network.subscribe_all(TOPIC)
    network.run(0.5)
    network.publish(network.nodes[-1], TOPIC, b"data")
    network.run(1)
    assert [node.data for node in everyone_else(network, network.nodes[-1])] == [[b"data"]] * 30


def test_in_a_star_the_leaves_outside_the_mesh_are_reached_by_gossip():
    network = Network(3)
    hub = network.add_node()
    for _ in range(30):
        network.connect(network.add_node(), hub)
    network.subscribe_all(TOPIC)
    network.run(3)
    assert len(hub.router.view.mesh(TOPIC)) <= PARAMS.mesh_high
    source = network.nodes[1]
    network.publish(source, TOPIC, b"data")
    network.run(4)
    # Three rounds reach a share of the leaves that is not in the mesh; the rest needs peer exchange.
    reached = sum(node.data == [b"data"] for node in network.nodes)
    assert reached > 20


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.integers(2, 30),
    degree=st.integers(2, 8),
    seed=st.integers(0, 2**32),
    protocol=st.sampled_from(PROTOCOLS),
    is_flooding=st.booleans(),
    large=st.booleans(),
)
def test_on_random_connected_graphs_every_subscriber_gets_every_message_once(
    size: int, degree: int, seed: int, protocol: str, is_flooding: bool, large: bool
):
    network = Network(seed)
    params = GossipParams(is_flood_publishing=is_flooding)
    for number in range(size):
        network.add_node(params, protocol=protocol if number % 3 else "/meshsub/1.2.0")
    network.connect_randomly(degree)
    network.subscribe_all(TOPIC)
    network.run(2)
    published: list[tuple[Node, bytes]] = []
    for number in range(8):
        source = network.generator.choice(network.nodes)
        data = b"%d" % number + bytes(2000 if large else 10)
        network.publish(source, TOPIC, data)
        published.append((source, data))
        network.run(0.05)
    network.run(5)
    for node in network.nodes:
        assert sorted(node.data) == sorted(data for source, data in published if source is not node)
        assert (node.refused, node.cuts) == ([], [])


def test_what_a_lossy_wire_drops_is_found_by_gossip():
    network = Network(4)
    for _ in range(20):
        network.add_node()
    network.connect_all(loss=0.2)
    network.subscribe_all(TOPIC)
    network.run(3)
    for number in range(20):
        network.publish(network.nodes[number], TOPIC, b"%d" % number)
        network.run(0.1)
    network.run(6)
    missing = sum(19 - len(node.data) for node in network.nodes)
    assert missing == 0
    assert all(len(set(node.data)) == len(node.data) for node in network.nodes)


def test_after_a_partition_the_halves_hear_of_what_they_missed():
    network = Network(5)
    for _ in range(20):
        network.add_node()
    network.connect_all()
    network.subscribe_all(TOPIC)
    network.run(3)
    half = network.nodes[:10]
    network.partition(half)
    network.publish(network.nodes[0], TOPIC, b"during")
    network.run(0.5)
    assert sum(node.data == [b"during"] for node in network.nodes) == 9
    network.partition(half, is_cut=False)
    network.run(5)
    assert sum(node.data == [b"during"] for node in network.nodes) == 19


def test_a_slow_reader_is_named_bounded_and_holds_nobody_up():
    network = Network(6)
    observer = Recording()
    limits = OutboxLimits(messages=50, slow_after_s=1)
    source = network.add_node(observer=observer, outbox_limits=limits)
    readers = [network.add_node() for _ in range(5)]
    for reader in readers:
        network.connect(source, reader)
    network.link(source, readers[0]).bytes_per_s = 2_000.0
    network.subscribe_all(TOPIC)
    network.run(2)
    for number in range(200):
        network.publish(source, TOPIC, b"%d" % number + bytes(1000))
        network.run(0.05)
    outbox = source.router.outbox(readers[0].peer)
    assert outbox.count <= limits.messages
    assert {peer for peer, _ in observer.of("slow_peer")} == {readers[0].peer}
    assert [len(reader.data) for reader in readers[1:]] == [200] * 4
    assert 0 < len(readers[0].data) < 50
    dropped = [call for call in observer.of("copies_dropped") if call[1] == "full"]
    assert len(dropped) > 50
    assert {peer for peer, *_ in dropped} == {readers[0].peer}


def test_floodsub_and_every_version_work_together():
    network = Network(7)
    for protocol in (*PROTOCOLS, "/floodsub/1.0.0") * 4:
        network.add_node(protocol=protocol)
    network.connect_all()
    network.subscribe_all(TOPIC)
    network.run(2)
    for node in network.nodes:
        network.publish(node, TOPIC, b"from %d" % node.number + bytes(1500))
    network.run(3)
    assert [len(node.data) for node in network.nodes] == [15] * 16


def test_a_restart_is_back_in_every_mesh_within_two_heartbeats():
    """Stopping sends no PRUNE and leaves no back-off behind."""
    network = Network(8)
    for _ in range(5):
        network.add_node()
    network.connect_all()
    network.subscribe_all(TOPIC)
    network.run(3)
    node, *others = network.nodes
    assert all(node.peer in other.router.view.mesh(TOPIC) for other in others)
    for other in others:
        network.disconnect(node, other)
    network.run(5)
    for other in others:
        network.connect(node, other)
    network.run(2 * PARAMS.heartbeat_interval_s)
    assert all(node.peer in other.router.view.mesh(TOPIC) for other in others)


def test_idontwant_spares_what_a_slow_link_would_carry_for_nothing():
    def duplicates(protocol: str) -> int:
        """The target is near the relay and far from the source.  Signed, or it would echo to the source."""
        network = Network(9)
        observer = Recording()
        source, relay, target = (
            network.add_node(
                peer=key.peer_id,
                protocol=protocol,
                observer=observer if number == 2 else None,
                policy=SignaturePolicy.STRICT_SIGN,
                signer=Signer(key),
            )
            for number, key in enumerate(KEYS)
        )
        for one, other in ((source, relay), (relay, target), (source, target)):
            network.connect(one, other)
        network.link(source, target).bytes_per_s = 100_000.0
        network.subscribe_all(TOPIC)
        network.run(2)
        for number in range(10):
            network.publish(source, TOPIC, b"%d" % number + bytes(50_000))
        network.run(8)
        assert len(target.data) == 10
        return observer.count("duplicate")

    assert duplicates("/meshsub/1.1.0") == 10
    assert duplicates("/meshsub/1.2.0") < 4


def test_the_books_of_every_node_close():
    network = Network(10)
    observers = [Recording() for _ in range(10)]
    for observer in observers:
        network.add_node(observer=observer)
    network.connect_all(loss=0.1)
    network.subscribe_all(TOPIC)
    network.run(2)
    for number in range(50):
        network.publish(network.generator.choice(network.nodes), TOPIC, b"%d" % number + bytes(1200))
        network.run(0.05)
    network.run(3)
    books = [Books(observer.calls) for observer in observers]
    assert [each.balance for each in books] == [0] * 10
    assert all(each.received > 40 for each in books)


def test_churn_costs_who_stays_nothing_and_leaves_nothing_behind():
    network = Network(12)
    stable = [network.add_node() for _ in range(8)]
    network.connect_all()
    network.subscribe_all(TOPIC)
    network.run(2)
    for number in range(30):
        guest = network.add_node()
        for host in stable[number % 3 :: 2]:
            network.connect(guest, host)
        network.subscribe(guest, TOPIC)
        network.run(0.4)
        network.publish(stable[number % 8], TOPIC, b"%d" % number + bytes(1500))
        network.run(0.3)
        for host in stable:
            network.disconnect(guest, host)
        if number % 5 == 0:
            one, other = stable[number % 8], stable[(number + 3) % 8]
            network.disconnect(one, other)
            network.connect(one, other)
    network.run(4)
    for index, node in enumerate(stable):
        own = {number for number in range(30) if number % 8 == index}
        assert sorted(node.data) == sorted(
            b"%d" % number + bytes(1500) for number in range(30) if number not in own
        )
        topic = node.router.view.topic(TOPIC)
        assert topic is not None
        assert sorted(topic.peers) == sorted(other.peer for other in stable if other is not node)
        assert set(topic.mesh) <= set(topic.peers)
        assert (node.cuts, node.refused) == ([], [])


@pytest.mark.parametrize("size", [100])
def test_a_hundred_nodes_keep_up(size: int):
    """The small form of the run that `just bench gossip` times."""
    network = Network(11)
    for _ in range(size):
        network.add_node()
    network.connect_randomly(20)
    network.subscribe_all(TOPIC)
    network.run(3)
    for number in range(20):
        network.publish(network.generator.choice(network.nodes), TOPIC, b"%d" % number + bytes(1000))
        network.run(0.1)
    network.run(2)
    assert sum(len(node.data) for node in network.nodes) == 20 * (size - 1)
    sizes = [len(node.router.view.mesh(TOPIC)) for node in network.nodes]
    assert PARAMS.mesh_low <= min(sizes) <= max(sizes) <= PARAMS.mesh_high
