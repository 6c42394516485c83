"""The server against clients that are slow, greedy, rude or many: real sockets, short limits."""

import pytest
import trio
from leanmesh.contain import ContainedErrors
from leanmesh.errors import LocalError
from leanmesh.metrics.params import MetricsParams
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.web.endpoints import build_app
from leanmesh.web.params import WebParams
from leanmesh.web.server import HttpServer

BIG = "x" * 30_000_000


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def until(condition) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.005)


async def test_the_port_that_was_really_taken_is_reported(start):
    endpoint = await start()
    host, _, port = endpoint.address.rpartition(":")
    assert (host, int(port) > 0) == ("127.0.0.1", True)
    assert (await endpoint.get("/healthz")).status == 200


async def test_ipv6_addresses_are_reported_in_brackets(start):
    endpoint = await start(listen="[::1]:0")
    assert endpoint.address.startswith("[::1]:")
    assert (await endpoint.get("/healthz")).status == 200


async def test_an_address_in_use_is_an_error_that_names_it(endpoint):
    params = WebParams(listen=endpoint.address)
    server = HttpServer(build_app(Snapshotter(MetricsParams()), params), params, ContainedErrors())
    with pytest.raises(
        LocalError, match=f"cannot listen for HTTP on {endpoint.address}: Address already in use"
    ):
        await server.run()


async def test_one_connection_serves_many_requests(endpoint):
    answers = await endpoint.get_each(["/healthz", "/unknown", "/metrics"])
    assert [answer.status for answer in answers] == [200, 404, 200]


async def test_a_client_that_never_finishes_its_head_is_closed(start):
    endpoint = await start(idle_timeout_s=0.2)
    assert await endpoint.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n") == b""


async def test_a_client_that_drips_its_head_is_closed(start):
    endpoint = await start(idle_timeout_s=0.3)
    async with await endpoint.connect() as stream:
        with trio.fail_after(10):
            await drip(stream)


async def drip(stream: trio.SocketStream) -> None:
    try:
        while True:
            await stream.send_all(b"x")
            await trio.sleep(0.02)
    except trio.BrokenResourceError:
        return


async def test_a_client_that_says_nothing_is_closed(start):
    endpoint = await start(idle_timeout_s=0.2)
    assert await endpoint.send(b"") == b""


async def test_a_client_that_does_not_read_is_given_up(start):
    endpoint = await start(answer_timeout_s=0.3, pages={"json_sources": {"/api/big": lambda: BIG}})
    async with await endpoint.connect() as stream:
        await stream.send_all(b"GET /api/big HTTP/1.1\r\nHost: x\r\n\r\n")
        await stream.receive_some()  # The answer has begun, and now nobody reads on.
        await until(lambda: endpoint.server.connection_count == 0)
    assert await endpoint.serves_others()


async def test_stopping_does_not_wait_for_a_client_that_does_not_read(start):
    endpoint = await start(answer_timeout_s=1000.0, pages={"json_sources": {"/api/big": lambda: BIG}})
    async with await endpoint.connect() as stream:
        await stream.send_all(b"GET /api/big HTTP/1.1\r\nHost: x\r\n\r\n")
        await stream.receive_some()  # The answer has begun, and now nobody reads on.
        endpoint.lifetime.cancel()
        await until(lambda: endpoint.server.connection_count == 0)


async def test_connections_beyond_the_limit_are_told_so_and_counted(start):
    endpoint = await start(connections_limit=2)
    async with await endpoint.connect(), await endpoint.connect():
        await until(lambda: endpoint.server.connection_count == 2)
        refused = await endpoint.send(b"")
        assert (status(refused), endpoint.server.connections_refused) == (503, 1)
    await until(lambda: endpoint.server.connection_count == 0)
    assert (await endpoint.get("/healthz")).status == 200


async def test_the_courtesy_towards_refused_connections_is_bounded_too(start):
    endpoint = await start(connections_limit=1)
    async with await endpoint.connect():
        await until(lambda: endpoint.server.connection_count == 1)
        async with await endpoint.connect() as refused:
            assert status(bytes(await refused.receive_some())) == 503
            # While the first is waited for to close, the second is closed without a word.
            assert await endpoint.send(b"") == b""


async def test_a_head_beyond_the_limit_is_refused(start):
    endpoint = await start(head_limit_bytes=2048)
    assert status(await endpoint.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 4096)) == 431


async def test_a_target_beyond_the_limit_is_refused(start):
    endpoint = await start(target_limit_bytes=100)
    answer = await endpoint.get("/metrics?name[]=" + "x" * 100)
    assert (answer.status, answer.headers["connection"]) == (414, "close")
    assert answer.body == b'{\n  "error": "target of 115 bytes exceeds 100"\n}\n'


@pytest.mark.parametrize(
    "body_header", [b"Content-Length: 3000000", b"Transfer-Encoding: chunked", b"Content-Length: 1"]
)
async def test_bodies_are_refused_unread(endpoint, body_header: bytes):
    request = b"POST /metrics HTTP/1.1\r\nHost: x\r\n" + body_header + b"\r\n\r\n"
    assert status(await endpoint.send(request)) == 413


async def test_a_body_in_many_small_pieces_leaves_nothing_behind(endpoint):
    head = b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await endpoint.send(head + b"1\r\nx\r\n" * 8000)
    assert status(answer) == 413
    await until(lambda: endpoint.server.connection_count == 0)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused(endpoint, request_bytes: bytes):
    assert status(await endpoint.send(request_bytes)) == 400


H2_SETTINGS = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.mark.parametrize("upgrade", [H2_SETTINGS, WEBSOCKET], ids=["h2c", "websocket"])
async def test_the_wish_for_an_upgrade_is_not_heard(endpoint, upgrade: bytes):
    async with await endpoint.connect() as stream:
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n")
        assert status(bytes(await stream.receive_some())) == 200


async def test_a_client_that_closed_its_half_still_gets_its_answer(endpoint):
    async with await endpoint.connect() as stream:
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await stream.send_eof()
        assert status(bytes(await stream.receive_some())) == 200


@pytest.mark.parametrize("method", [b"GET", b"POST", b"CONNECT"])
@pytest.mark.parametrize(
    "rest",
    [
        H2_SETTINGS + b"\r\n",
        H2_SETTINGS + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        H2_SETTINGS + b"\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        WEBSOCKET + b"\r\n" + b"\xff" * 64,
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
async def test_no_request_holds_its_connection_beyond_the_limits(start, method: bytes, rest: bytes):
    endpoint = await start(idle_timeout_s=0.2, answer_timeout_s=0.2)
    await endpoint.send(method + b" /metrics HTTP/1.1\r\nHost: x\r\n" + rest)
    await until(lambda: endpoint.server.connection_count == 0)
    assert await endpoint.serves_others()


async def test_http_2_is_refused(endpoint):
    assert status(await endpoint.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64)) in {400, 404, 505}


async def test_what_breaks_the_protocol_code_ends_its_own_connection_alone(
    start, monkeypatch: pytest.MonkeyPatch
):
    def receive_data(self, data: bytes) -> None:
        raise RuntimeError("planted")

    endpoint = await start()
    with monkeypatch.context() as planted:
        planted.setattr("h11.Connection.receive_data", receive_data)
        assert await endpoint.send(b"GET / HTTP/1.1\r\n") == b""
    assert endpoint.server.contained.counts == {"http_connection": 1}
    assert (await endpoint.get("/healthz")).status == 200
