"""What a supervisor and a worker say to each other arrives whole, and nonsense is refused by name."""

import json
import socket

import pytest
import trio
from leanmesh.service.worker_messages import (
    LENGTH_BYTES,
    MESSAGE_LIMIT_BYTES,
    Answer,
    Ask,
    BadMessage,
    Channel,
    Failed,
    Hello,
    MessageTooLarge,
    NetworkFacts,
    Ready,
    Start,
    Stopped,
    decode,
    encode,
)

FACTS = NetworkFacts(3, "12D3Koo", ("/ip4/127.0.0.1/tcp/1/p2p/12D3Koo",), ("/ip4/0.0.0.0/tcp/1",), ("a", "b"))
MESSAGES = [
    Start({"network": [{"network_id": 1}], "gossip": {"mesh_target": 8}}, {"1": "00ff"}, {"rate_per_s": 0.5}),
    Start({}, {}),
    Ask(7, "/api/peers"),
    Hello(),
    Ready((FACTS,)),
    Failed("the port is taken", is_local=True),
    Answer(7, {"peers": [], "generation": 3}),
    Stopped(),
]


def channels() -> tuple[Channel, Channel]:
    ends = socket.socketpair()
    ours, theirs = (Channel(trio.SocketStream(trio.socket.from_stdlib_socket(end))) for end in ends)
    return ours, theirs


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_the_same_after_its_bytes(message):
    assert decode(encode(message)[LENGTH_BYTES:]) == message


async def test_messages_arrive_whole_and_in_order_however_the_bytes_are_cut():
    ours, theirs = channels()

    async def send_byte_by_byte() -> None:
        for byte in b"".join(map(encode, MESSAGES)):
            await ours.stream.send_all(bytes([byte]))
        await ours.stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_byte_by_byte)
        assert [await theirs.receive() for _ in MESSAGES] == MESSAGES
        assert await theirs.receive() is None
    await theirs.stream.aclose()


@pytest.mark.parametrize("is_cut", [False, True])
async def test_the_end_of_the_other_process_is_the_end_also_within_a_message(is_cut):
    ours, theirs = channels()
    if is_cut:
        await ours.stream.send_all(encode(Ask(7, "/api/peers"))[:-1])
    await ours.stream.aclose()
    assert await theirs.receive() is None
    await theirs.stream.aclose()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"{}",
        b"[]",
        b"null",
        b'{"kind": "nothing"}',
        b'{"kind": []}',
        b'{"kind": "ask"}',
        b'{"kind": "ask", "number": 1, "path": "/", "more": 1}',
        b'{"kind": "ask", "number": "x", "path": "/"}',
        b'{"kind": "ready", "networks": [{"network_id": 1}]}',
        b'{"kind": "answer", "number": 1, "content": 5}',
        b"[" * 100_000,
    ],
)
def test_nonsense_is_refused(body):
    with pytest.raises(BadMessage, match=f"{len(body)} bytes are no message"):
        decode(body)


async def test_a_message_beyond_the_limit_is_refused_before_it_is_read():
    ours, theirs = channels()
    await ours.stream.send_all((MESSAGE_LIMIT_BYTES + 1).to_bytes(LENGTH_BYTES, "big"))
    with pytest.raises(BadMessage, match=str(MESSAGE_LIMIT_BYTES)):
        await theirs.receive()
    await ours.stream.aclose()
    await theirs.stream.aclose()


def test_a_message_of_ours_beyond_the_limit_is_not_sent():
    with pytest.raises(MessageTooLarge, match="answer of"):
        encode(Answer(1, {"peers": "x" * MESSAGE_LIMIT_BYTES}))


def test_an_answer_is_json_that_any_program_reads():
    body = encode(Ask(7, "/api/node"))[LENGTH_BYTES:]
    assert json.loads(body) == {"kind": "ask", "number": 7, "path": "/api/node"}
