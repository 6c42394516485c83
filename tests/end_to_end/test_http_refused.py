"""Who is turned away at the HTTP server is on the page of whoever owns that: a node, or a supervisor."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

Address = tuple[str, int]

LIMIT = 2
SETTINGS = f"""
[web]
listen = "127.0.0.1:0"
connections_limit = {LIMIT}
[[network]]
network_id = 0
listen = ["/ip4/127.0.0.1/tcp/0"]
[[network]]
network_id = 1
listen = ["/ip4/127.0.0.1/tcp/0"]
"""


def refused(address: Address) -> float:
    with socket.create_connection(address, timeout=10) as client, client.makefile("rb") as answer:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        # To the end, which comes when the server no longer counts this connection.
        page = answer.read().decode().partition("\r\n\r\n")[2]
    families = {family.name: family for family in parse_text(page)}
    (sample,) = families["leanmesh_http_connections_refused"].samples
    return sample.value


def be_refused(address: Address) -> None:
    """Open as many connections as there may be, and have two more turned away."""
    held = [socket.create_connection(address) for _ in range(LIMIT)]
    for _ in range(2):
        with socket.create_connection(address, timeout=10) as client:
            assert client.recv(64).startswith(b"HTTP/1.1 503 ")
    for client in held:
        client.shutdown(socket.SHUT_WR)
    for client in held:
        assert client.recv(64) == b""
        client.close()


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["node", "supervisor"])
def test_connections_that_were_turned_away_are_on_the_first_page_and_on_those_after(
    tmp_path: Path, options: tuple[str, ...]
):
    config = tmp_path / "node.toml"
    config.write_text(SETTINGS)
    command = [
        sys.executable,
        "-m",
        "leanmesh",
        "run",
        "--config",
        str(config),
        "--log-format",
        "json",
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = urlsplit(json.loads(process.stdout.readline())["metrics"])
            address = (url.hostname, url.port)
            assert refused(address) == 0
            be_refused(address)
            while refused(address) < 2:
                pass  # The page is at most a second old; the test's own time limit ends this.
            assert refused(address) == 2
        finally:
            process.kill()
