"""A mesh of three nodes in a process of its own: `mesh_process.py COUNT RATE_PER_S [NATS_URL]`.

One node publishes COUNT numbered messages of 1 KiB; the other two take them, and with NATS_URL one of these
has a sink.  It prints `begun`, and at the end one line of JSON: see Report.
"""

import json
import sys
from contextlib import AsyncExitStack

import attrs
import trio
from bridge.feed import eventually
from leanmesh.bridge.params import NatsParams
from leanmesh.run import open_node
from leanmesh.service import Node, Overflow, Subscription
from leanmesh.service.params import NetworkParams
from leanmesh.settings import Settings

QUEUE_LIMIT = 500
IN_FLIGHT_LIMIT = 100
BATCHES_PER_S = 20
# Both histograms have this bound.
LATE_S = 0.1
LATENESS = {"loop": "leanmesh_loop_lateness_seconds", "heartbeat": "gossipsub_heartbeat_lateness_seconds"}


@attrs.define
class Report:
    """What a mesh did; ids are those of messages."""

    published: list[str] = attrs.field(factory=list[str])
    delivered: list[list[str]] = attrs.field(factory=lambda: [[], []])
    """By receiving node, the one with the sink first."""
    lateness: dict[str, tuple[int, int]] = attrs.field(factory=dict[str, tuple[int, int]])
    """Of that node: how often it was looked at, and how often it was later than LATE_S."""
    queued_most: int = 0
    outcomes: dict[str, int] = attrs.field(factory=dict[str, int])
    balances: list[object] = attrs.field(factory=list[object])


def settings(*peers: Node, url: str | None = None) -> Settings:
    network = NetworkParams(
        listen=("/ip4/127.0.0.1/tcp/0",),
        topics=("news",),
        peers=tuple(str(peer.network().listen_addresses[0]) for peer in peers),
        signing="none",
    )
    if url is None:
        return Settings(network=(network,))
    nats = NatsParams(
        url=url,
        queue_limit=QUEUE_LIMIT,
        in_flight_limit=IN_FLIGHT_LIMIT,
        # Two attempts in a second, so that what an attempt costs the loop is felt often.
        reconnect_limit_s=0.5,
    )
    return Settings(network=(network,), nats=(nats,))


async def publish(node: Node, count: int, rate_per_s: int, report: Report) -> None:
    size = rate_per_s // BATCHES_PER_S
    due_s = trio.current_time()
    for first in range(0, count, size):
        # The pace of the load; whoever is late catches up.
        due_s += 1 / BATCHES_PER_S
        await trio.sleep_until(due_s)
        batch = [b"%020d" % number + bytes(1004) for number in range(first, min(first + size, count))]
        report.published += [receipt.message_id.hex() for receipt in await node.publish_batch("news", batch)]


async def receive(node: Node, messages: Subscription, ids: list[str], report: Report) -> None:
    async for message in messages:
        ids.append(message.message_id.hex())
        # Queue and subscription are filled in one pass, so nothing is in the queue for a moment only.
        for sink in node.sinks:
            report.queued_most = max(report.queued_most, len(sink.queue))


def lateness(node: Node, name: str) -> tuple[int, int]:
    family = node.snapshotter.current.family(name)
    (series,) = family.series
    in_time = sum(
        count
        for bound, count in zip(family.spec.bounds, series.value.counts, strict=False)
        if bound <= LATE_S
    )
    return series.value.count, series.value.count - in_time


async def main(count: int, rate_per_s: int, url: str | None) -> None:
    report = Report()
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(open_node(settings()))
        observed = await stack.enter_async_context(open_node(settings(publisher, url=url)))
        other = await stack.enter_async_context(open_node(settings(publisher, observed)))
        nursery = await stack.enter_async_context(trio.open_nursery())
        for node, ids in zip((observed, other), report.delivered, strict=True):
            messages = node.subscribe("news", overflow=Overflow.DROP_NEWEST, limit=count)
            await stack.enter_async_context(messages)
            nursery.start_soon(receive, node, messages, ids, report)
        await publisher.wait_for_mesh("news", 2, 20)
        print("begun", flush=True)
        await publish(publisher, count, rate_per_s, report)
        await eventually(lambda: all(len(ids) >= count for ids in report.delivered))
        for books in observed.sinks.books.values():
            await eventually(lambda held=books: not held.queued and not held.in_flight)
            report.outcomes = {str(outcome): number for outcome, number in books.outcomes.items() if number}
        await observed.refresh_metrics()
        report.balances = [observed.metric("leanmesh_messages_balance", "delivery")]
        if url is not None:
            report.balances.append(observed.metric("leanmesh_sink_balance", "nats"))
        report.lateness = {how: lateness(observed, name) for how, name in LATENESS.items()}
        nursery.cancel_scope.cancel()
    print(json.dumps(attrs.asdict(report)), flush=True)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]), (sys.argv[3:] or [None])[0])
