"""The soak itself: runs a devnet, restarts its peers, publishes, scrapes, and notes what it sees."""

import gc
import logging
import os
import urllib.request
from collections import Counter
from pathlib import Path
from random import Random

import attrs
import trio
from leanmesh.devnet import Devnet
from leanmesh.gossip.params import GossipParams
from leanmesh.metrics.snapshot import Snapshot
from leanmesh.service.node import Node
from leanmesh.service.subscriptions import Overflow, SubscriptionClosed
from leanmesh.settings import Settings
from leanmesh.web.params import WebParams

TOPIC = "devnet"
SIZE_BYTES = 1024
SAMPLE_S = 1.0
SCRAPE_S = 5.0
# Between the end of a peer and its new beginning.
PAUSE_S = 0.5
# Who is in a mesh again for so long counts among those who must get everything ...
SETTLED_S = 3.0
# ... published so long before its next end.  IHAVE and IWANT repair within two heartbeats; the rest is for
# a machine that is busy with other things.
ARRIVAL_S = 10.0
BACK_TIMEOUT_S = 15.0
# Short, so that a minute shows whether the table stops growing.
SEEN_TTL_S = 10.0
PAGE_BYTES = 1 << 20


@attrs.frozen
class Sample:
    """What the process holds at one time."""

    at_s: float
    memory_bytes: int
    descriptors: int
    objects: int


@attrs.define
class Message:
    """One message, for as long as it may arrive."""

    sent_at_s: float
    due: set[int]
    """Peers that have to get it and have not."""


class LoggedErrors(logging.Handler):
    """Keeps what was logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.lines.append(self.format(record))


@attrs.define(eq=False, kw_only=True)
class Soak:
    """One run, and after it what was seen."""

    duration_s: float
    nodes: int
    rate_per_s: float
    restart_every_s: float
    seed: int
    samples: list[Sample] = attrs.field(factory=list, init=False)
    restarts: int = attrs.field(default=0, init=False)
    back_s: list[float] = attrs.field(factory=list, init=False)
    """How long each restarted peer took to be in a mesh again."""
    published: int = attrs.field(default=0, init=False)
    delivered: int = attrs.field(default=0, init=False)
    expected: int = attrs.field(default=0, init=False)
    missing: Counter[int] = attrs.field(factory=Counter, init=False)
    """By peer: messages it should have got, and did not in time."""
    repeated: int = attrs.field(default=0, init=False)
    scrapes: int = attrs.field(default=0, init=False)
    bad_scrapes: list[str] = attrs.field(factory=list, init=False)
    logged: LoggedErrors = attrs.field(factory=LoggedErrors, init=False)
    at_rest: Snapshot | None = attrs.field(default=None, init=False)
    contained: dict[str, int] = attrs.field(factory=dict, init=False)
    network_restarts: int = attrs.field(default=0, init=False)
    _net: Devnet = attrs.field(init=False)
    _random: Random = attrs.field(init=False)
    _settled_since_s: dict[int, float] = attrs.field(factory=dict, init=False)
    _messages: dict[bytes, Message] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._random = Random(self.seed)
        self._net = Devnet(
            Settings(gossip=GossipParams(seen_ttl_s=SEEN_TTL_S), web=WebParams(listen="127.0.0.1:0")),
            nodes=self.nodes,
            rate_per_s=0.0,
            seed=self.seed,
        )

    @property
    def _node(self) -> Node:
        return self._net.node

    async def run(self) -> None:
        """Soak, come to rest, look once more."""
        logging.getLogger().addHandler(self.logged)
        async with trio.open_nursery() as nursery:
            url = await nursery.start(self._net.run)
            for network_id in range(self.nodes):
                await self._settle(network_id)
            async with trio.open_nursery() as work:
                for network_id in range(self.nodes):
                    work.start_soon(self._consume, network_id)
                for task in (self._publish, self._close_messages, self._sample, self._show):
                    work.start_soon(task)
                work.start_soon(self._churn, work)
                work.start_soon(self._scrape, url)
                await trio.sleep(self.duration_s)
                work.cancel_scope.cancel()
            await trio.sleep(ARRIVAL_S)
            self.at_rest = await self._node.refresh_metrics()
            self.contained = dict(self._node.contained.counts)
            self.network_restarts = sum(self._node.restarts.values())
            nursery.cancel_scope.cancel()

    # Work.

    async def _consume(self, network_id: int) -> None:
        subscription = self._node.subscribe(TOPIC, overflow=Overflow.DROP_OLDEST, network_id=network_id)
        async with subscription:
            try:
                async for received in subscription:
                    self.delivered += 1
                    message = self._messages.get(received.data[:16])
                    if message is not None:
                        message.due.discard(network_id)
            except SubscriptionClosed:
                return

    async def _publish(self) -> None:
        next_s = trio.current_time()
        filler = bytes(SIZE_BYTES - 16)
        while True:
            # What a busy machine holds up is not made up for: a burst would be another experiment.
            next_s = max(next_s + 1 / self.rate_per_s, trio.current_time())
            await trio.sleep_until(next_s)
            settled = list(self._settled_since_s)
            if not settled:
                continue
            publisher = self._random.choice(settled)
            now_s = trio.current_time()
            head = self._random.randbytes(16)
            # Before it is published: it may arrive before publishing returns.
            self._messages[head] = Message(
                now_s,
                {
                    peer
                    for peer, since_s in self._settled_since_s.items()
                    if peer != publisher and now_s - since_s > SETTLED_S
                },
            )
            self.expected += len(self._messages[head].due)
            await self._node.publish(TOPIC, head + filler, network_id=publisher)
            self.published += 1

    async def _close_messages(self) -> None:
        """Whatever has not arrived in time is missing."""
        while True:
            await trio.sleep(SAMPLE_S)
            due_s = trio.current_time() - ARRIVAL_S
            for head in [head for head, message in self._messages.items() if message.sent_at_s < due_s]:
                for peer in self._messages.pop(head).due:
                    self.missing[peer] += 1

    async def _churn(self, work: trio.Nursery) -> None:
        while True:
            await trio.sleep(self.restart_every_s)
            settled = list(self._settled_since_s)
            if not settled:
                continue
            network_id = self._random.choice(settled)
            # First it is nobody's publisher; then what is on its way to it arrives; then it ends.
            del self._settled_since_s[network_id]
            for message in self._messages.values():
                if network_id in message.due:
                    self.expected -= 1
                    message.due.discard(network_id)
            await self._net.stop_peer(network_id)
            await trio.sleep(PAUSE_S)
            began_s = trio.current_time()
            await self._net.start_peer(network_id)
            work.start_soon(self._consume, network_id)
            await self._settle(network_id)
            self.back_s.append(trio.current_time() - began_s)
            self.restarts += 1

    async def _settle(self, network_id: int) -> None:
        await self._node.wait_for_mesh(TOPIC, 1, BACK_TIMEOUT_S, network_id=network_id)
        self._settled_since_s[network_id] = trio.current_time()

    # Looking on.

    async def _sample(self) -> None:
        while True:
            gc.collect()
            statm = Path("/proc/self/statm").read_text().split()
            self.samples.append(
                Sample(
                    trio.current_time(),
                    int(statm[1]) * os.sysconf("SC_PAGE_SIZE"),
                    sum(1 for _ in Path("/proc/self/fd").iterdir()),
                    len(gc.get_objects()),
                )
            )
            await trio.sleep(SAMPLE_S)

    async def _scrape(self, url: str) -> None:
        while True:
            await trio.sleep(SCRAPE_S)
            page = await trio.to_thread.run_sync(_fetch, url, abandon_on_cancel=True)
            self.scrapes += 1
            if "lean_gossip_mesh_peers " not in page:
                self.bad_scrapes.append(page[:200])

    async def _show(self) -> None:
        """A line now and then: ten minutes are long."""
        while True:
            await trio.sleep(max(10.0, self.duration_s / 20))
            sample = self.samples[-1]
            print(
                f"{sample.at_s - self.samples[0].at_s:4.0f} s: {sample.memory_bytes / 1e6:.1f} MB, "
                f"{sample.descriptors} descriptors, {sample.objects} objects, {self.restarts} restarts, "
                f"{self.published} published, {self.delivered} delivered, {self.missing.total()} missing",
                flush=True,
            )


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read(PAGE_BYTES).decode()
