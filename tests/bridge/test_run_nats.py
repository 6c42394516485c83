"""`leanmesh run --nats URL` as a process: it carries what is delivered, or ends with a clear complaint."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import trio
from bridge.reader import make_stream, read_all
from leanmesh.run import open_node
from leanmesh.service.params import NetworkParams
from leanmesh.settings import Settings
from nats_server import NatsServer, free_port

SETTINGS = """
[web]
listen = "127.0.0.1:0"
[[network]]
listen = ["/ip4/127.0.0.1/tcp/0"]
topics = ["news"]
"""


def command(folder: Path, *arguments: str) -> list[str]:
    config = folder / "node.toml"
    config.write_text(SETTINGS)
    run = ["run", "--config", str(config), "--log-format", "json"]
    return [sys.executable, "-m", "leanmesh", *run, *arguments]


async def ended(tmp_path: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and complaint of a node that cannot start."""
    process = await trio.run_process(
        command(tmp_path, *arguments),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**os.environ, **environment},
    )
    return process.returncode, process.stderr.decode()


async def test_a_process_carries_what_the_mesh_delivers(server: NatsServer, tmp_path: Path):
    await make_stream(server.url)
    settings = Settings(network=(NetworkParams(listen=("/ip4/127.0.0.1/tcp/0",), topics=("news",)),))
    with trio.fail_after(60):
        async with open_node(settings) as publisher:
            address = str(publisher.network().listen_addresses[0])
            process = await trio.lowlevel.open_process(
                command(tmp_path, "--nats", server.url, "--peer", address), stdout=subprocess.PIPE
            )
            try:
                await publisher.wait_for_mesh("news", 1, 30)
                await publisher.publish("news", b"hello")
                (stored,) = await read_all(server.url, 1)
                assert (stored.subject, stored.data) == ("leanmesh.news", b"hello")
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
            finally:
                process.kill()
            lines = [json.loads(line) for line in (await process.stdout.receive_some(1 << 20)).splitlines()]
            assert "sink_connected" in [line["event"] for line in lines]


async def test_a_server_that_is_missing_fails_at_run_time(tmp_path: Path):
    url = f"nats://127.0.0.1:{free_port()}"
    code, complaint = await ended(tmp_path, "--nats", url)
    assert code == 1
    assert complaint.startswith(f"error: no NATS server can be reached ({url}")


async def test_a_stream_that_is_missing_is_a_wrong_setting(server: NatsServer, tmp_path: Path):
    code, complaint = await ended(tmp_path, "--nats", server.url)
    assert code == 2
    assert complaint.startswith("error: there is no stream 'leanmesh' on the NATS server")


async def test_a_wrong_secret_is_a_wrong_setting_and_is_not_shown(make_server, tmp_path: Path):
    server = make_server(config='authorization { token: "right" }')
    await server.start()
    code, complaint = await ended(tmp_path, "--nats", server.url, LEANMESH_NATS__0__TOKEN="wr0ng")
    assert code == 2
    assert complaint.startswith("error: NATS does not let us in")
    assert "wr0ng" not in complaint
