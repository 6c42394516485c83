"""A leanmesh node with the command line and the JSON lines of the interop peers, as benchmarks need them.

See tests/interop/README.md.  It is the library's face and nothing below it: what an application would write.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from itertools import islice

import attrs
import leanmesh
import trio
from leanmesh.metrics.params import CollectorParams

# Published in one go, and written before the next ones: a publisher that outruns its peers would lose.
BATCH = 64
HEADER_BYTES = 24
REPORT_S = 1.0
SUBSCRIPTION_LIMIT = 1 << 16


def emit(event: str, **fields: object) -> None:
    """Write one line, and see it out."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


@attrs.define
class Summary:
    """Totals since the start, latencies since the last line."""

    received: int = 0
    bytes: int = 0
    published: int = 0
    dropped: int = 0
    latencies_ns: list[int] = attrs.Factory(list)

    def add(self, messages: Sequence[leanmesh.ReceivedMessage]) -> None:
        """Count what was delivered."""
        now_ns = time.time_ns()
        self.received += len(messages)
        for message in messages:
            data = message.data
            self.bytes += len(data)
            self.latencies_ns.append(now_ns - int.from_bytes(data[16:HEADER_BYTES], "big"))

    def emit(self) -> None:
        """Write the line."""
        ordered, self.latencies_ns = sorted(self.latencies_ns), []
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        latency_ms = {
            name: ordered[int(share * (len(ordered) - 1))] / 1e6 for name, share in shares.items() if ordered
        }
        emit(
            "summary",
            received=self.received,
            bytes=self.bytes,
            published=self.published,
            dropped=self.dropped,
            **({"latency_ms": latency_ms} if ordered else {}),
        )


class Payloads:
    """One publisher's messages: 8 bytes of the sender, a sequence number, the time, and a filler."""

    def __init__(self, sender: bytes, size_bytes: int) -> None:
        self._sender = sender[-8:]
        self._filler = bytes(size_bytes - HEADER_BYTES)
        self.count = 0

    def __iter__(self) -> "Payloads":
        return self

    def __next__(self) -> bytes:
        self.count += 1
        header = self._sender + self.count.to_bytes(8, "big") + time.time_ns().to_bytes(8, "big")
        return header + self._filler


async def consume(node: leanmesh.Node, topic: str, summary: Summary) -> None:
    async with node.subscribe(topic, overflow=leanmesh.Overflow.WAIT, limit=SUBSCRIPTION_LIMIT) as messages:
        while True:
            summary.add(await messages.receive_batch())


async def publish(node: leanmesh.Node, topic: str, options: argparse.Namespace, summary: Summary) -> None:
    payloads = Payloads(bytes(node.network().key.peer_id), options.size)
    began_s = trio.current_time()
    while not options.count or payloads.count < options.count:
        if options.publish_rate:
            await trio.sleep_until(began_s + payloads.count / options.publish_rate)
            receipts = [await node.publish(topic, next(payloads))]
        else:
            left = options.count - payloads.count if options.count else BATCH
            batch = list(islice(payloads, min(BATCH, left)))
            receipts = await node.publish_batch(topic, batch, written_by=options.written_by)
        summary.published += len(receipts)
        summary.dropped += sum(sum(receipt.dropped.values()) for receipt in receipts)
    emit("published_all", topic=topic, count=payloads.count, seconds=trio.current_time() - began_s)


async def report(node: leanmesh.Node, summary: Summary, options: argparse.Namespace) -> None:
    while True:
        await trio.sleep(REPORT_S)
        for topic in options.topic:
            emit("mesh", topic=topic, peers=sorted(map(str, node.mesh(topic))))
        summary.emit()


async def main(options: argparse.Namespace) -> None:
    network = leanmesh.NetworkParams(
        listen=tuple(options.listen), peers=tuple(options.peer), signing=options.signing
    )
    collector = CollectorParams(is_on=not options.unmetered)
    settings = leanmesh.Settings(network=(network,), collector=collector)
    start = trio.Event()
    if not options.hold:
        start.set()

    async def publish_when_told(topic: str) -> None:
        await start.wait()
        await publish(node, topic, options, summary)

    summary = Summary()
    async with leanmesh.open_node(settings) as node, trio.open_nursery() as nursery:
        for topic in options.topic:
            if not options.publish_only:
                nursery.start_soon(consume, node, topic, summary)
            if not options.subscribe_only:
                nursery.start_soon(publish_when_told, topic)
        nursery.start_soon(report, node, summary, options)
        emit(
            "listening",
            peer_id=str(node.network().key.peer_id),
            addresses=[str(address) for address in node.network().listen_addresses],
            implementation="leanmesh",
        )
        await obey(start)
        nursery.cancel_scope.cancel()


async def obey(start: trio.Event) -> None:
    """Follow standard input until it ends, which a dead parent causes too."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        if line.strip() == "publish":
            start.set()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="leanmesh peer")
    for name in ("listen", "peer", "topic"):
        parser.add_argument(f"--{name}", action="append", default=[])
    for name in ("hold", "subscribe-only", "publish-only", "unmetered"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--signing", choices=("strict", "none"), default="strict")
    parser.add_argument("--report", choices=("summary",), default="summary")
    parser.add_argument("--publish-rate", type=float, default=0.0, help="per second; 0: as fast as it goes")
    parser.add_argument("--count", type=int, default=0, help="messages per topic; 0: without end")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--written-by", type=int, default=1, help="peers to have each batch before the next")
    options = parser.parse_args()
    options.listen = options.listen or ["/ip4/127.0.0.1/tcp/0"]
    return options


if __name__ == "__main__":
    trio.run(main, parse())
