"""gossipsub: its settings, what it publishes, and what it tells of its mesh and its messages."""

import hashlib
from argparse import Namespace
from functools import partial
from typing import Any

import libp2p.pubsub.pubsub
import trio
from events import Summary, emit
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import (
    PROTOCOL_ID,
    PROTOCOL_ID_V11,
    PROTOCOL_ID_V12,
    PROTOCOL_ID_V13,
    GossipSub,
)
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub, get_peer_and_seqno_msg_id
from libp2p.pubsub.rpc_queue import RpcQueue
from payload import MESSAGE_IDS, Payloads, content_of, latency_ms, sender_of

LOOK_S = 0.1
REPORT_S = 1.0
LARGEST_RPC_BYTES = 16 << 20
REMEMBERED_FORWARDERS = 1 << 16
LONG_QUEUE_RPCS = 1 << 16

# Longer than the library's 32: this peer counts what arrived, and loses nothing between library and count.
libp2p.pubsub.pubsub.SUBSCRIPTION_CHANNEL_SIZE = 1 << 16


class ToldPubsub(Pubsub):
    """The library's Pubsub, with what a test needs to know and the unsigned form others accept."""

    def __init__(self, *arguments: Any, remembers_forwarders: bool, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.remembers_forwarders = remembers_forwarders
        self.forwarders: dict[bytes, ID] = {}

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Note who brought a message first: the subscription does not tell."""
        if self.remembers_forwarders:
            self.forwarders.setdefault(self.get_message_id(msg), msg_forwarder)
            if len(self.forwarders) > REMEMBERED_FORWARDERS:
                del self.forwarders[next(iter(self.forwarders))]
        await super().push_msg(msg_forwarder, msg)

    async def publish(self, topic_id: str | list[str], data: bytes) -> None:
        """Leave out author and sequence number when unsigned: the library sends them, others reject that."""
        if self.strict_signing:
            await super().publish(topic_id, data)
        else:
            topics = [topic_id] if isinstance(topic_id, str) else topic_id
            await self.push_msg(self.my_id, rpc_pb2.Message(data=data, topicIDs=topics))


class ToldRouter(GossipSub):
    """The library's router, able to pass on more than one message that names no author."""

    def _check_equivocation(self, msg: rpc_pb2.Message) -> bool:
        # The library takes a second message without author and sequence number for a forgery of the first.
        return not msg.from_id or super()._check_equivocation(msg)


def make_router(options: Namespace) -> GossipSub:
    """The router, without protections that take a test's one address for an attack."""
    lean = options.timing == "lean"
    return ToldRouter(
        protocols=[PROTOCOL_ID_V13, PROTOCOL_ID_V12, PROTOCOL_ID_V11, PROTOCOL_ID],
        degree=8 if lean else 6,
        degree_low=6 if lean else 5,
        degree_high=12,
        gossip_window=3,
        gossip_history=6 if lean else 5,
        heartbeat_interval=0.7 if lean else 1,  # type: ignore[arg-type]
        adaptive_gossip_enabled=False,
        spam_protection_enabled=False,
        eclipse_protection_enabled=False,
    )


def make_pubsub(host: Any, router: GossipSub, options: Namespace) -> ToldPubsub:
    """Pubsub with the id scheme and signing that were asked for."""
    is_signed = options.signing == "strict"
    if options.report == "messages":
        # Each message is asked for then, and on a busy machine the library drops its own, silently, when more
        # than 32 RPCs wait for a peer.  Where it is measured it stays as it is.
        libp2p.pubsub.pubsub.RpcQueue = partial(RpcQueue, max_size=LONG_QUEUE_RPCS)  # type: ignore[misc]
    # Without author and sequence number the library's own id is empty for every message.
    id_name = "sha256" if options.id in ("default", "library") and not is_signed else options.id
    return ToldPubsub(
        host,
        router,
        seen_ttl=24 if options.timing == "lean" else 120,
        strict_signing=is_signed,
        msg_id_constructor=MESSAGE_IDS.get(id_name, get_peer_and_seqno_msg_id),
        max_inbound_rpc_size=LARGEST_RPC_BYTES,
        remembers_forwarders=options.report == "messages",
    )


async def run_gossip(pubsub: ToldPubsub, router: GossipSub, options: Namespace, start: trio.Event) -> None:
    """Subscribe, publish and tell, until cancelled."""
    summary = Summary()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, pubsub, router, options.topic)
        nursery.start_soon(report, router, summary, options)
        for topic in options.topic:
            if not options.publish_only:
                nursery.start_soon(receive, pubsub, await pubsub.subscribe(topic), topic, summary, options)
            if options.publishes:
                nursery.start_soon(publish, pubsub, topic, summary, options, start)


async def receive(
    pubsub: ToldPubsub, subscription: Any, topic: str, summary: Summary, options: Namespace
) -> None:
    """Tell or count each message that others published."""
    own_sender = sender_of(pubsub.my_id.to_bytes())
    while True:
        message = await subscription.get()
        content = content_of(message.data, options.is_snappy) or b""
        if content.startswith(own_sender):
            continue
        latency = latency_ms(content)
        summary.add(len(message.data), latency)
        if options.report == "messages":
            message_id = pubsub.get_message_id(message)
            emit(
                "message",
                topic=topic,
                id=message_id.hex(),
                size=len(message.data),
                sha256=hashlib.sha256(message.data).hexdigest(),
                peer=str(pubsub.forwarders.get(message_id)),
                latency_ms=latency,
                **{"from": str(ID(message.from_id)) if message.from_id else None},
            )


async def publish(
    pubsub: ToldPubsub, topic: str, summary: Summary, options: Namespace, start: trio.Event
) -> None:
    """Publish as often and as much as was asked for."""
    await start.wait()
    payloads = Payloads(pubsub.my_id.to_bytes(), options.size, options.is_snappy)
    began_s = trio.current_time()
    while not options.count or payloads.sequence < options.count:
        if options.publish_rate:
            await trio.sleep_until(began_s + payloads.sequence / options.publish_rate)
        data = payloads.next()
        await pubsub.publish(topic, data)
        summary.published += 1
        if options.report == "messages":
            digest = hashlib.sha256(data).hexdigest()
            emit("published", topic=topic, sequence=payloads.sequence - 1, size=len(data), sha256=digest)
    emit("published_all", topic=topic, count=payloads.sequence, seconds=trio.current_time() - began_s)


async def watch(pubsub: Pubsub, router: GossipSub, topics: list[str]) -> None:
    """Tell changes of meshes and subscribers: the library has no event for either."""
    meshes: dict[str, set[ID]] = {topic: set() for topic in topics}
    subscribers: dict[str, set[ID]] = {topic: set() for topic in topics}
    while True:
        for topic in topics:
            tell_change(
                topic, subscribers, pubsub.peer_topics.get(topic, set()), "subscribed", "unsubscribed"
            )
            tell_change(topic, meshes, router.mesh.get(topic, set()), "graft", "prune")
        await trio.sleep(LOOK_S)


def tell_change(topic: str, known: dict[str, set[ID]], now: set[ID], came: str, went: str) -> None:
    """One line for each peer that came or went since the last look."""
    for event, peers in ((came, now - known[topic]), (went, known[topic] - now)):
        for peer in sorted(map(str, peers)):
            emit(event, topic=topic, peer=peer)
    known[topic] = set(now)


async def report(router: GossipSub, summary: Summary, options: Namespace) -> None:
    """Tell every mesh, and in summaries the totals, once a second."""
    while True:
        await trio.sleep(REPORT_S)
        for topic in options.topic:
            emit("mesh", topic=topic, peers=sorted(map(str, router.mesh.get(topic, ()))))
        if options.report == "summary":
            summary.emit()
