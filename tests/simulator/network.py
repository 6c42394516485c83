"""A network of routers in virtual time."""

import heapq
import random
from collections.abc import Callable, Iterable

import attrs
from leanmesh.errors import RemoteError
from leanmesh.gossip.forward import PublishReceipt
from leanmesh.gossip.observer import CutReason, Observer
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.router import Router
from leanmesh.gossip.rpc import Message
from leanmesh.gossip.trace import Recorder, Tape
from leanmesh.gossip.validation import Ticket, Verdict
from leanmesh.identity.peer_id import PeerId
from leanmesh.wire.varint import decode_varint

from simulator.links import Link

DRAIN_BYTES = 64 * 1024
NEWEST = "/meshsub/1.2.0"

# What an application says of a message, and after how long.
Validator = Callable[[Ticket], tuple[Verdict, float]]


def peer_id(number: int) -> PeerId:
    return PeerId(b"\x00\x24" + number.to_bytes(36, "big"))


@attrs.define(eq=False)
class Delivery:
    """What one application got."""

    topic: str
    data: bytes
    peer: PeerId
    at_s: float


@attrs.define(eq=False)
class Node:
    """One router, its application and its ends of the links."""

    number: int
    peer: PeerId
    protocol: str
    seed: int
    started_s: float
    router: Router
    face: Recorder | Router
    deliveries: list[Delivery]
    links: dict[PeerId, Link] = attrs.field(factory=dict)
    validator: Validator | None = None
    cuts: list[tuple[PeerId, CutReason]] = attrs.field(factory=list)
    refused: list[str] = attrs.field(factory=list)
    trace: list[str] = attrs.field(factory=list)

    @property
    def data(self) -> list[bytes]:
        return [delivery.data for delivery in self.deliveries]


class Network:
    """Nodes, links and a clock.  The same calls with the same seed give the same run."""

    def __init__(self, seed: int = 0, *, is_traced: bool = False) -> None:
        self.now_s = 0.0
        self.nodes: list[Node] = []
        self.frames_sent = 0
        self.bytes_sent = 0
        self.generator = random.Random(seed)
        self._is_traced = is_traced
        self._by_peer: dict[PeerId, Node] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    # Building.

    def add_node(
        self,
        params: GossipParams | None = None,
        *,
        peer: PeerId | None = None,
        protocol: str = NEWEST,
        observer: Observer | None = None,
        validator: Validator | None = None,
        **router_options: object,
    ) -> Node:
        number = len(self.nodes)
        peer = peer or peer_id(number)
        deliveries: list[Delivery] = []

        def deliver(message: Message, message_id: bytes, data: bytes, source: PeerId, now_s: float) -> None:
            deliveries.append(Delivery(message.topic, data, source, now_s))

        seed = self.generator.getrandbits(64)
        # Nodes start at different times: heartbeats must not beat as one.
        started_s = self.now_s + self.generator.random()
        router = Router(
            peer,
            params or GossipParams(),
            random.Random(seed),
            now_s=started_s,
            deliver=deliver,
            observer=observer or Observer(),
            **router_options,
        )
        node = Node(number, peer, protocol, seed, started_s, router, router, deliveries, validator=validator)
        if self._is_traced:
            node.face = Recorder(router, Tape(node.trace.append))
        self.nodes.append(node)
        self._by_peer[peer] = node
        self._at(router.next_event_at_s, lambda: self._beat(node))
        return node

    def connect(self, one: Node, other: Node, **link: object) -> None:
        """One dials the other.  They speak the older of their protocols."""
        protocol = min(one.protocol, other.protocol)
        for node, far, is_outbound in ((one, other, True), (other, one, False)):
            node.links[far.peer] = Link(**link)
            node.face.add_peer(far.peer, protocol, "leanmesh/0", is_outbound=is_outbound, now_s=self.now_s)
        self._settle(one)
        self._settle(other)

    def disconnect(self, one: Node, other: Node) -> None:
        for node, far in ((one, other), (other, one)):
            if node.links.pop(far.peer, None) is not None:
                node.face.remove_peer(far.peer, self.now_s)
                self._settle(node)

    def connect_all(self, **link: object) -> None:
        for index, one in enumerate(self.nodes):
            for other in self.nodes[index + 1 :]:
                self.connect(one, other, **link)

    def connect_randomly(self, degree: int, **link: object) -> None:
        """A connected graph: a path through all nodes, and random edges up to about this degree."""
        for one, other in zip(self.nodes, self.nodes[1:], strict=False):
            self.connect(one, other, **link)
        for one in self.nodes:
            while len(one.links) < min(degree, len(self.nodes) - 1):
                other = self.generator.choice(self.nodes)
                if other is not one and other.peer not in one.links:
                    self.connect(one, other, **link)

    def partition(self, group: Iterable[Node], *, is_cut: bool = True) -> None:
        """Cut every link between a group and the rest, unnoticed; or heal it."""
        inside = {node.peer: None for node in group}
        for node in self.nodes:
            for far, link in node.links.items():
                if (node.peer in inside) != (far in inside):
                    link.is_cut = is_cut

    def link(self, source: Node, target: Node) -> Link:
        return source.links[target.peer]

    # What applications do.

    def subscribe(self, node: Node, topic: str) -> None:
        node.face.subscribe(topic, self.now_s)
        self._settle(node)

    def subscribe_all(self, topic: str) -> None:
        for node in self.nodes:
            self.subscribe(node, topic)

    def unsubscribe(self, node: Node, topic: str) -> None:
        node.face.unsubscribe(topic, self.now_s)
        self._settle(node)

    def publish(self, node: Node, topic: str, data: bytes) -> PublishReceipt:
        receipt = node.face.publish(topic, data, self.now_s)
        self._settle(node)
        return receipt

    def send_raw(self, source: Node, target: Node, frame: bytes) -> None:
        """A node that does not keep to the rules: a frame that its router did not make."""
        self._send(source, target, frame)

    # Time.

    def run(self, duration_s: float) -> None:
        """Let that much time pass."""
        end_s = self.now_s + duration_s
        while self._events and self._events[0][0] <= end_s:
            self.now_s, _, action = heapq.heappop(self._events)
            action()
        self.now_s = end_s

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something after a delay."""
        self._at(self.now_s + delay_s, action)

    def _at(self, at_s: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (at_s, self._count, action))

    # The shell of every node.

    def _beat(self, node: Node) -> None:
        node.face.heartbeat(self.now_s)
        self._at(node.router.next_event_at_s, lambda: self._beat(node))
        self._settle(node)

    def _settle(self, node: Node) -> None:
        """What a shell does after a pass."""
        for ticket in node.router.take_tickets():
            self._judge(node, ticket)
        for peer, reason in node.router.take_cuts():
            node.cuts.append((peer, reason))
            self.disconnect(node, self._by_peer[peer])
        for peer in node.router.take_ready():
            self._write(node, self._by_peer[peer])

    def _judge(self, node: Node, ticket: Ticket) -> None:
        assert node.validator is not None, "a topic is validated and nobody validates"
        verdict, delay_s = node.validator(ticket)

        def answer() -> None:
            node.face.on_verdict(ticket, verdict, self.now_s)
            self._settle(node)

        self.at(delay_s, answer)

    def _write(self, node: Node, far: Node) -> None:
        link = node.links.get(far.peer)
        if link is None or link.is_writer_waiting:
            return
        while not node.router.outbox(far.peer).is_empty:
            if link.busy_until_s > self.now_s:
                link.is_writer_waiting = True
                self._at(link.busy_until_s, lambda: self._write_on(node, far, link))
                return
            for frame in self._drain(node, far.peer):
                self._send(node, far, frame[decode_varint(frame, 0)[1] :])

    def _write_on(self, node: Node, far: Node, link: Link) -> None:
        link.is_writer_waiting = False
        if node.links.get(far.peer) is link:
            self._write(node, far)

    def _drain(self, node: Node, peer: PeerId) -> list[bytes]:
        if isinstance(node.face, Recorder):
            return node.face.drain(peer, DRAIN_BYTES)
        return node.router.outbox(peer).drain(DRAIN_BYTES)

    def _send(self, source: Node, target: Node, frame: bytes) -> None:
        link = source.links[target.peer]
        link.occupy(len(frame), self.now_s)
        self.frames_sent += 1
        self.bytes_sent += len(frame)
        if link.loss and self.generator.random() < link.loss:
            return
        self._at(link.arrival_s(self.now_s), lambda: self._arrive(source, target, link, frame))

    def _arrive(self, source: Node, target: Node, link: Link, frame: bytes) -> None:
        if link.is_cut or source.links.get(target.peer) is not link:
            return
        try:
            target.face.on_frame(source.peer, frame, self.now_s)
        except RemoteError as error:
            target.refused.append(str(error))
            self.disconnect(target, source)
        self._settle(target)
