"""One router, peers that are played by the test, and everything that was observed."""

import random
from typing import Any

import attrs
from leanmesh.gossip import entries, wire
from leanmesh.gossip.message_id import sha256_of_data
from leanmesh.gossip.observer import Misbehaviour, Observer
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.router import Router
from leanmesh.gossip.rpc import Control, IHave, Message, Prune, Rpc, Subscription
from leanmesh.gossip.wire_params import WireLimits
from leanmesh.identity.peer_id import PeerId
from leanmesh.wire.varint import decode_varint

TOPIC = "blocks"
LIMITS = WireLimits()


def peer_id(number: int) -> PeerId:
    return PeerId(b"\x00\x24" + number.to_bytes(36, "big"))


def message(data: bytes, topic: str = TOPIC) -> Message:
    return Message(topic, data, None, None, None, None, entries.message(topic.encode(), data))


def id_of(data: bytes) -> bytes:
    return sha256_of_data(message(data), data)


class Recording(Observer):
    """Every call, as (name, *arguments) without the time."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name not in Observer.__dict__:
            return object.__getattribute__(self, name)

        def record(*arguments: Any) -> None:
            values = (tuple(each) if isinstance(each, list) else each for each in arguments[:-1])
            self.calls.append((name, *values))

        return record

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]

    def count(self, name: str) -> int:
        return len(self.of(name))

    def total(self, name: str) -> int:
        """The sum of the counts that the calls end with."""
        return sum(call[-1] for call in self.of(name))


@attrs.define(eq=False)
class Books:
    """The books of received copies, out of observer calls alone."""

    calls: list[tuple[Any, ...]]

    OUTCOMES = (
        "accepted",
        "duplicate",
        "rejected",
        "ignored",
        "throttled",
        "oversized",
        "not_subscribed",
    )

    @property
    def received(self) -> int:
        return sum(call[0] == "message_received" for call in self.calls)

    @property
    def decided(self) -> int:
        return sum(call[0] in self.OUTCOMES for call in self.calls)

    @property
    def pending(self) -> int:
        return next((call[1] for call in reversed(self.calls) if call[0] == "pending_changed"), 0)

    @property
    def balance(self) -> int:
        return self.received - self.decided - self.pending


class OneRouter:
    """A router under test.  `now_s` is the test's to move."""

    def __init__(
        self, params: GossipParams | None = None, *, topics: tuple[str, ...] = (TOPIC,), **options: Any
    ) -> None:
        self.now_s = 1000.0
        self.observer = Recording()
        self.delivered: list[tuple[str, bytes, PeerId]] = []
        self.peers = 0

        def deliver(message: Message, message_id: bytes, data: bytes, source: PeerId, now_s: float) -> None:
            self.delivered.append((message.topic, data, source))

        self.local = options.pop("local", peer_id(0))
        self.params = params or GossipParams()
        self.router = Router(
            self.local,
            self.params,
            random.Random(options.pop("seed", 0)),
            now_s=self.now_s,
            deliver=deliver,
            observer=self.observer,
            **options,
        )
        for topic in topics:
            self.router.subscribe(topic, self.now_s)

    # Peers.

    def peer(
        self,
        *,
        topics: tuple[str, ...] = (TOPIC,),
        protocol: str = "/meshsub/1.2.0",
        agent: str = "leanmesh/0",
        is_outbound: bool = False,
    ) -> PeerId:
        """A new peer that takes these topics.  What it was sent so far is put aside."""
        self.peers += 1
        peer = peer_id(self.peers)
        self.router.add_peer(peer, protocol, agent, is_outbound=is_outbound, now_s=self.now_s)
        if topics:
            self.say(peer, subscribe=topics)
        self.sent(peer)
        return peer

    def member(self, **options: Any) -> PeerId:
        """A new peer that is in the mesh."""
        peer = self.peer(**options)
        self.say(peer, graft=(TOPIC,))
        assert peer in self.mesh(), "the mesh is full"
        self.sent(peer)
        return peer

    def outsider(self, **options: Any) -> PeerId:
        """A new peer that takes the topic and has pruned us."""
        peer = self.peer(**options)
        self.say(peer, prune=(Prune(TOPIC, 3600),))
        assert peer not in self.mesh()
        self.sent(peer)
        return peer

    def say(
        self,
        peer: PeerId,
        *,
        subscribe: tuple[str, ...] = (),
        unsubscribe: tuple[str, ...] = (),
        publish: tuple[Message, ...] = (),
        ihave: tuple[bytes, ...] = (),
        iwant: tuple[bytes, ...] = (),
        graft: tuple[str, ...] = (),
        prune: tuple[Prune, ...] = (),
        idontwant: tuple[bytes, ...] = (),
    ) -> None:
        """One RPC from a peer, as bytes."""
        control = Control(
            [IHave(TOPIC, list(ihave))] if ihave else [],
            list(iwant),
            list(graft),
            list(prune),
            list(idontwant),
        )
        subscriptions = [Subscription(True, topic) for topic in subscribe]
        subscriptions += [Subscription(False, topic) for topic in unsubscribe]
        frame = wire.encode(Rpc(subscriptions, list(publish), control))
        self.router.on_frame(peer, frame, self.now_s)

    def beat(self, count: int = 1) -> None:
        """Let heartbeats pass, each when it is due."""
        for _ in range(count):
            self.now_s = max(self.now_s, self.router.next_event_at_s)
            self.router.heartbeat(self.now_s)

    # What comes out.

    def mesh(self, topic: str = TOPIC) -> list[PeerId]:
        return self.router.view.mesh(topic)

    def sent(self, peer: PeerId) -> Rpc:
        """Everything that waits for a peer, as one RPC."""
        result = Rpc([], [], Control())
        assert result.control is not None
        for frame in self.frames(peer):
            rpc = wire.decode(frame, LIMITS)
            result.subscriptions += rpc.subscriptions
            result.publish += rpc.publish
            if rpc.control is not None:
                for name in ("ihave", "iwant", "graft", "prune", "idontwant"):
                    getattr(result.control, name).extend(getattr(rpc.control, name))
        return result

    def frames(self, peer: PeerId) -> list[bytes]:
        frames = self.router.outbox(peer).drain(1 << 30)
        return [frame[decode_varint(frame, 0)[1] :] for frame in frames]

    def sent_data(self, peer: PeerId) -> list[bytes]:
        return [each.data for each in self.sent(peer).publish]

    def discard_sent(self) -> None:
        for peer in self.router.view.peers:
            self.sent(peer)

    @property
    def data(self) -> list[bytes]:
        return [data for _, data, _ in self.delivered]

    @property
    def books(self) -> Books:
        return Books(self.observer.calls)


def misbehaviour(bench: OneRouter, peer: PeerId) -> dict[Misbehaviour, int]:
    view = bench.router.view.peer(peer, bench.now_s)
    assert view is not None
    return dict(view.misbehaviour)
