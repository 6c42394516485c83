"""`leanmesh run --nats URL` as a process: it carries what is delivered, or ends with a clear complaint."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import trio
from bridge.reader import make_stream, read_all
from leanmesh.run import open_node
from leanmesh.service.params import NetworkParams
from leanmesh.settings import Settings
from nats_server import NatsServer
from ports import free_port

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


NAMES = ("nats", "second")
WORKERS = """
[web]
listen = "127.0.0.1:0"
[workers]
count = 2
[[network]]
network_id = 0
listen = ["/ip4/127.0.0.1/tcp/0"]
topics = ["news"]
[[network]]
network_id = 1
listen = ["/ip4/127.0.0.1/tcp/0"]
topics = ["news"]
[[nats]]
url = "{url}"
[[nats]]
name = "second"
network_id = 1
stream = "second"
subject = "second.{{topic}}"
url = "{url}"
"""


async def test_each_worker_carries_what_its_own_networks_deliver(server: NatsServer, tmp_path: Path):
    await make_stream(server.url)
    await make_stream(server.url, name="second", subjects="second.>")
    config = tmp_path / "workers.toml"
    config.write_text(WORKERS.format(url=server.url))
    run = [sys.executable, "-m", "leanmesh", "run", "--config", str(config), "--log-format", "json"]
    settings = Settings(network=(NetworkParams(listen=("/ip4/127.0.0.1/tcp/0",), topics=("news",)),))
    with trio.fail_after(90):
        async with open_node(settings) as publisher:
            process = await trio.lowlevel.open_process(run, stdout=subprocess.PIPE)
            try:
                ready = await ready_line(process)
                for network in ready["networks"]:
                    await publisher.connect(network["listen"][0])
                await publisher.wait_for_mesh("news", 2, 30)
                await publisher.publish("news", b"hello")
                (first,) = await read_all(server.url, 1)
                (second,) = await read_all(server.url, 1, durable="two", subject="second.>")
                assert (first.data, second.data) == (b"hello", b"hello")
                # Workers renew what is a state about once a second.
                page = ""
                while any(f'leanmesh_sink_connected{{sink="{name}"}} 1' not in page for name in NAMES):
                    page = await trio.to_thread.run_sync(get, ready["metrics"])
                for name in NAMES:
                    assert f'leanmesh_sink_balance{{sink="{name}"}} 0' in page
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
            finally:
                process.kill()


async def ready_line(process: trio.Process) -> dict:
    text = b""
    while (b'"event": "ready"' not in text and b'"event":"ready"' not in text) or not text.endswith(b"\n"):
        chunk = await process.stdout.receive_some(1 << 16)
        assert chunk, text
        text += chunk
    return next(line for line in map(json.loads, text.splitlines()) if line["event"] == "ready")


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


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
