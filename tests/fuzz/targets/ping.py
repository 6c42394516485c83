"""Both sides of ping."""

from fuzz.registry import cut
from leanmesh.wire.ping import PAYLOAD_BYTES, PingDialer, PingListener

PAYLOAD = bytes(range(PAYLOAD_BYTES))
SEEDS = [bytes((side, step)) + PAYLOAD for side in (0, 1) for step in (0, 5)]


def target(data: bytes) -> None:
    chunks = cut(data[1:])
    if data[:1] == b"\x00":
        listener = PingListener()
        back = b"".join(map(listener.receive, chunks))
        sent = b"".join(chunks)
        assert back == sent[: len(sent) // PAYLOAD_BYTES * PAYLOAD_BYTES]
        return
    dialer = PingDialer()
    dialer.ping(PAYLOAD)
    answered = [dialer.receive(chunk) for chunk in chunks]
    assert sum(answered) == (b"".join(chunks) == PAYLOAD)
