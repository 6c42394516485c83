"""NATS servers for tests of the bridge, which need the real clock: the autojump clock jumps past asyncio."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from nats_server import COMMAND, NatsServer


@pytest.fixture
async def make_server(tmp_path: Path) -> AsyncIterator[Callable[..., NatsServer]]:
    """Makes servers, not yet started; they are ended with the test."""
    if COMMAND is None:
        pytest.skip("needs nats-server (Debian: apt install nats-server)")
    servers: list[NatsServer] = []

    def make(**how) -> NatsServer:
        servers.append(NatsServer(tmp_path / f"nats{len(servers)}", **how))
        return servers[-1]

    yield make
    for server in servers:
        if server.process is not None:
            server.go_on()
            await server.kill()


@pytest.fixture
async def server(make_server: Callable[..., NatsServer]) -> NatsServer:
    """A running server with JetStream and no stream."""
    made = make_server()
    await made.start()
    return made
