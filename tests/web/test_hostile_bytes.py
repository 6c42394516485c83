"""Bytes that nobody means well with: whatever they are, they break nothing and hold nothing."""

from random import Random

import pytest
import trio

REQUEST_COUNT = 200
AT_ONCE = 8

METHODS = (b"GET", b"HEAD", b"POST", b"CONNECT", b"PRI", b"\x00")
TARGETS = (
    b"/metrics",
    b"/api/snapshot",
    b"*",
    b"//",
    b"/%ff",
    b"http://[",
    b"/metrics?%&name[]",
    b"/" + b"x" * 300,
)
HEADERS = (
    b"Host: x",
    b"Connection: close",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==",
    b"Expect: 100-continue",
    b"Content-Length: 5",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Accept: application/openmetrics-text;q=,*/*;;;",
    b"Accept-Encoding: gzip;q=9",
    b"Range: bytes=0-",
    b": empty",
)
BODIES = (
    b"",
    b"abc",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"1\r\nx\r\n" * 40,
)


def hostile_request(random: Random) -> bytes:
    """A request from the pieces above, often with another behind it, often with bytes turned over."""
    parts = []
    for _ in range(random.choice((1, 1, 2, 3))):
        line = b" ".join(
            (random.choice(METHODS), random.choice(TARGETS), b"HTTP/1.%d" % random.choice((0, 1, 1)))
        )
        headers = [b"Host: x", *random.sample(HEADERS, random.randrange(4))]
        parts.append(b"\r\n".join([line, *headers, b"", random.choice(BODIES)]))
    data = bytearray(b"".join(parts))
    for _ in range(random.choice((0, 0, 1, 3))):
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data[: random.choice((len(data), len(data), random.randrange(len(data))))])


async def send_and_leave(endpoint, random: Random) -> None:
    """Send in one or two pieces; leave at once, after a first answer, or by closing our half."""
    request = hostile_request(random)
    cut = random.randrange(len(request) + 1)
    async with await endpoint.connect() as stream:
        try:
            await stream.send_all(request[:cut])
            await trio.sleep(0)
            await stream.send_all(request[cut:])
            if random.random() < 0.3:
                await stream.send_eof()
            if random.random() < 0.7:
                await stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


@pytest.mark.parametrize("seed", range(4))
async def test_hostile_bytes_hold_nothing_and_break_nothing(start, seed: int):
    endpoint = await start(idle_timeout_s=0.3, answer_timeout_s=0.5)
    random = Random(seed)
    limiter = trio.Semaphore(AT_ONCE)

    async def one(own_random: Random) -> None:
        async with limiter:
            await send_and_leave(endpoint, own_random)

    async with trio.open_nursery() as nursery:
        for _ in range(REQUEST_COUNT):
            nursery.start_soon(one, Random(random.random()))
    with trio.fail_after(20):
        while endpoint.server.connection_count:
            await trio.sleep(0.01)

    assert endpoint.server.contained.counts == {}
    assert await endpoint.serves_others()
