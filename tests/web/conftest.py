"""A real endpoint on a real socket, and a client that sees everything of an answer."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import attrs
import h11
import pytest
import trio
from leanmesh.contain import ContainedErrors
from leanmesh.metrics.family import CounterSpec, FamilySpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.params import MetricsParams
from leanmesh.metrics.sample import HistogramValue, Sample
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.web.endpoints import build_app
from leanmesh.web.params import WebParams
from leanmesh.web.server import HttpServer

PEERS = GaugeSpec("test_mesh_peers", "Peers.", labels=("topic",))
MESSAGES = CounterSpec("test_messages_total", "Messages.")
LATENESS = HistogramSpec("test_lateness_seconds", "Lateness.", bounds=(0.001, 0.1))


@attrs.frozen
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@attrs.define
class Source:
    """What the endpoint shows; tests change `peers` or make it fail."""

    peers: dict[str, float] = attrs.field(factory=lambda: {"blocks": 8.0, "votes": 6.0})
    failure: Exception | None = None
    reads: int = 0

    specs: tuple[FamilySpec, ...] = (PEERS, MESSAGES, LATENESS)

    def read(self) -> Iterable[Sample]:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        yield from (Sample(PEERS, (topic,), count) for topic, count in self.peers.items())
        yield Sample(MESSAGES, (), 4242)
        yield Sample(LATENESS, (), HistogramValue((3, 2, 1), 0.75))


@attrs.frozen
class Endpoint:
    address: str
    server: HttpServer
    snapshotter: Snapshotter
    source: Source
    lifetime: trio.CancelScope

    async def connect(self) -> trio.SocketStream:
        host, _, port = self.address.rpartition(":")
        return await trio.open_tcp_stream(host.strip("[]"), int(port))

    async def send(self, request: bytes) -> bytes:
        """Send bytes, and read until the endpoint closes."""
        async with await self.connect() as stream:
            await stream.send_all(request)
            return await read_to_end(stream)

    async def serves_others(self) -> bool:
        """Whether a client with good manners is answered, be it not at once: its limits are short, too."""
        with trio.fail_after(10):
            while True:
                try:
                    return (await self.get("/healthz")).status == 200
                except (h11.RemoteProtocolError, trio.BrokenResourceError):
                    await trio.sleep(0.01)

    async def get(self, target: str, method: str = "GET", **headers: str) -> Answer:
        async with await self.connect() as stream:
            return await ask(stream, h11.Connection(h11.CLIENT), target, method, **headers)

    async def get_each(self, targets: Iterable[str]) -> list[Answer]:
        """One request after the other, on one connection."""
        client = h11.Connection(h11.CLIENT)
        answers = []
        async with await self.connect() as stream:
            for target in targets:
                answers.append(await ask(stream, client, target))
                client.start_next_cycle()
        return answers


async def read_to_end(stream: trio.SocketStream) -> bytes:
    chunks = []
    with trio.fail_after(10):
        while chunk := await stream.receive_some():
            chunks.append(chunk)
    return b"".join(chunks)


async def ask(
    stream: trio.SocketStream, client: h11.Connection, target: str, method: str = "GET", **headers: str
) -> Answer:
    """One request, one answer; underscores in header names stand for hyphens."""
    named = [("Host", "test"), *((name.replace("_", "-"), value) for name, value in headers.items())]
    await stream.send_all(client.send(h11.Request(method=method, target=target, headers=named)))
    await stream.send_all(client.send(h11.EndOfMessage()))
    head: Any = None
    body = b""
    with trio.fail_after(10):
        while True:
            event = client.next_event()
            match event:
                case h11.NEED_DATA:
                    client.receive_data(await stream.receive_some())
                case h11.Response():
                    head = event
                case h11.Data():
                    body += event.data
                case h11.EndOfMessage():
                    names = {name.decode(): value.decode() for name, value in head.headers}
                    return Answer(head.status_code, names, body)
                case _:
                    raise AssertionError(f"unexpected {event}")


Start = Callable[..., Awaitable[Endpoint]]


@pytest.fixture
async def start(nursery: trio.Nursery) -> Start:
    """Start an endpoint on a free port.  Keyword arguments go to WebParams; `pages` to build_app."""

    async def start(
        *, max_age_s: float = 1000.0, pages: dict[str, Any] | None = None, **web: Any
    ) -> Endpoint:
        params = WebParams(**{"listen": "127.0.0.1:0", **web})
        snapshotter = Snapshotter(MetricsParams(max_age_s=max_age_s, tick_s=1000.0))
        source = Source()
        snapshotter.add_source("test", source.specs, source.read)
        await nursery.start(snapshotter.run)
        server = HttpServer(build_app(snapshotter, params, **(pages or {})), params, ContainedErrors())
        lifetime = trio.CancelScope()

        async def run(*, task_status: trio.TaskStatus[str]) -> None:
            with lifetime:
                await server.run(task_status=task_status)

        address = await nursery.start(run)
        return Endpoint(address, server, snapshotter, source, lifetime)

    return start


@pytest.fixture
async def endpoint(start: Start) -> Endpoint:
    return await start()
