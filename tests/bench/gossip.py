"""CPU and memory of the gossip core alone: no sockets, no tasks, no encryption.

Messages come 60 to a frame, as a busy peer sends them; what goes out is drained
after each frame.  Times are CPU times: neighbours on the machine disturb them less.
"""

import gc
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import Result, at_most, note
from leanmesh.gossip import entries
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.router import Router
from leanmesh.gossip.rpc import Control, Rpc, Subscription

sys.path.append(str(Path(__file__).parent.parent))
from simulator.network import Network, peer_id

TOPIC = "bench"
MEMBERS = 9
PER_FRAME = 60
MESSAGES = 12_000
REPEATS = 5
DRAIN_BYTES = 1 << 30


def run() -> Iterator[Result]:
    """The figures of the issue's aims, then what explains them."""
    yield from _forwarding()
    for peers in (10, 100, 1000):
        aim = at_most if peers == 1000 else None
        value = _heartbeat_ms(peers)
        against = f"{peers} peers of one topic, 90 messages to advertise"
        name = f"heartbeat_{peers}_peers"
        yield aim(name, value, "ms", 10.0, against) if aim else note(name, value, "ms", against)
    yield note("memory_per_peer", _memory_per_peer(), "bytes", "1,000 peers of one topic")
    yield note("memory_per_cached_message", _memory_per_message(), "bytes", "beyond its 1,024 bytes of data")
    yield from _network()


def _router(peers: int, **options: object) -> Router:
    """A router with this many peers that take one topic."""
    router = Router(
        peer_id(0),
        GossipParams(**options),
        random.Random(1),
        now_s=0.0,
        deliver=lambda *delivery: None,
    )
    router.subscribe(TOPIC, 0.0)
    for number in range(1, peers + 1):
        peer = peer_id(number)
        router.add_peer(peer, "/meshsub/1.2.0", "leanmesh/0", is_outbound=bool(number % 2), now_s=0.0)
        router.on_rpc(peer, Rpc([Subscription(True, TOPIC)], [], None), 0.0)
    return router


def _relay(**options: object) -> Router:
    """A router whose nine peers are all in its mesh: what one sends goes to eight."""
    router = _router(MEMBERS, **options)
    for number in range(1, MEMBERS + 1):
        router.on_rpc(peer_id(number), Rpc([], [], Control(graft=[TOPIC])), 0.0)
    _drain(router)
    assert len(router.view.mesh(TOPIC)) == MEMBERS
    return router


def _drain(router: Router) -> None:
    for outbox in router.take_ready().values():
        outbox.drain(DRAIN_BYTES)


def _frames(size_bytes: int) -> list[bytes]:
    fields = [
        entries.message(TOPIC.encode(), number.to_bytes(8, "big") + bytes(size_bytes - 8))
        for number in range(MESSAGES)
    ]
    return [b"".join(fields[start : start + PER_FRAME]) for start in range(0, MESSAGES, PER_FRAME)]


def _cpu_us(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) / MESSAGES * 1e6


def _forwarding() -> Iterator[Result]:
    frames, small = _frames(1024), _frames(64)
    seconds: dict[str, list[float]] = {"forward": [], "announced": [], "small": [], "duplicate": []}
    for _ in range(REPEATS):
        for name, sent, options in (
            ("forward", frames, {"idontwant_threshold_bytes": 1 << 20}),
            ("announced", frames, {}),
            ("small", small, {}),
        ):
            router = _relay(**options)

            def receive(router: Router = router, sent: list[bytes] = sent) -> None:
                for frame in sent:
                    router.on_frame(peer_id(1), frame, 1.0)
                    _drain(router)

            def receive_again(router: Router = router, sent: list[bytes] = sent) -> None:
                for frame in sent:
                    router.on_frame(peer_id(2), frame, 1.0)

            seconds[name].append(_cpu_us(receive))
            if name == "forward":
                seconds["duplicate"].append(_cpu_us(receive_again))
            gc.collect()
    figures = {name: statistics.median(values) for name, values in seconds.items()}
    yield at_most(
        "forward_1KiB", figures["forward"], "us", 10.0, "received once, to 8 peers, unsigned, drained"
    )
    yield note("forward_1KiB_announced", figures["announced"], "us", "the same with IDONTWANT to 8 peers")
    yield note("forward_64B", figures["small"], "us", "the same with 64 bytes of data")
    yield at_most("duplicate_1KiB", figures["duplicate"], "us", 3.0, "seen before, nothing to do")


def _heartbeat_ms(peers: int) -> float:
    router = _router(peers)
    times: list[float] = []
    for beat in range(1, 16):
        for number in range(30):
            router.publish(TOPIC, b"%d %d" % (beat, number) + bytes(100), float(beat))
        _drain(router)
        started = time.process_time()
        router.heartbeat(float(beat))
        times.append(time.process_time() - started)
        _drain(router)
    return statistics.median(times[3:]) * 1e3


def _memory_per_peer() -> float:
    gc.collect()
    tracemalloc.start()
    router = _router(0)
    before, _ = tracemalloc.get_traced_memory()
    for number in range(1, 1001):
        peer = peer_id(number)
        router.add_peer(peer, "/meshsub/1.2.0", "leanmesh/0", is_outbound=False, now_s=0.0)
        router.on_rpc(peer, Rpc([Subscription(True, TOPIC)], [], None), 0.0)
    _drain(router)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / 1000


def _memory_per_message() -> float:
    router = _relay()
    frames = _frames(1024)[:80]
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for frame in frames:
        # A copy: frames are garbage once read, what is kept of them is not.
        router.on_frame(peer_id(1), bytes(bytearray(frame)), 1.0)
        _drain(router)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    count = router.view.history_messages
    return (after - before) / count - 1024


def _network() -> Iterator[Result]:
    """100 nodes, 60 virtual seconds, 10 messages of 1 KiB per second."""
    network = Network(11)
    for _ in range(100):
        network.add_node()
    network.connect_randomly(20)
    network.subscribe_all(TOPIC)
    started = time.process_time()
    for number in range(600):
        network.publish(network.generator.choice(network.nodes), TOPIC, b"%d" % number + bytes(1020))
        network.run(0.1)
    cpu_s = time.process_time() - started
    network.run(5)
    delivered = sum(len(node.data) for node in network.nodes)
    against = f"100 nodes, 60 virtual seconds, 10 messages/s, degree 20; {delivered:,} of 59,400 delivered"
    yield at_most("network_cpu", cpu_s, "s", 60.0, against)
    yield note(
        "network_cpu_per_frame", cpu_s / network.frames_sent * 1e6, "us", f"{network.frames_sent:,} frames"
    )
