"""Asking what is no node, or not well: a sentence and exit code 1, never a traceback."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cli.answers import node_that_answers
from click.testing import CliRunner
from leanmesh.cli.asking import ask
from leanmesh.cli.main import root
from leanmesh.errors import RemoteError


@contextmanager
def something_that_answers(data: bytes) -> Iterator[str]:
    """The URL of what answers one request with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            stream, _ = listener.accept()
            with stream:
                stream.recv(65536)
                stream.sendall(data)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


ANSWERS = {
    "another protocol": b"SSH-2.0-server\r\n",
    "no JSON": ok(b"<html>"),
    "JSON without an end": ok(b"[" * 100_000),
    "a list": ok(b"[]"),
    "an object of others": ok(b"{}"),
    "rows of another shape": ok(b'{"peers": [1]}'),
    "remarks of another shape": ok(b'{"peers": [], "unanswered": 1}'),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_what_is_no_node_is_named(answer: bytes):
    with something_that_answers(answer) as url:
        result = CliRunner().invoke(root, ["peers", "--api", url])
    assert isinstance(result.exception, RemoteError)
    assert "did not answer as a leanmesh node does" in str(result.exception)


@pytest.mark.parametrize("url", ["http://127.0.0.1:port", "http://127.0.0.1:1/a b", "ftp://127.0.0.1"])
def test_what_is_no_url_is_named(url: str):
    with pytest.raises(RemoteError, match="is no URL of an API"):
        ask(url, "/api/peers")


def test_a_proxy_for_the_world_is_not_asked():
    with node_that_answers({"/api/node": {"networks": []}}) as url:
        done = subprocess.run(
            [sys.executable, "-m", "leanmesh", "id", "--api", url],
            env={**os.environ, "http_proxy": "http://127.0.0.1:1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, json.loads(done.stdout)) == (0, {"networks": []}), done.stderr
