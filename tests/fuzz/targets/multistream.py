"""Both sides of multistream-select, against a peer that says anything."""

from fuzz.registry import cut
from leanmesh.wire.multistream import (
    MESSAGE_LIMIT_BYTES,
    PROPOSALS_LIMIT,
    PROTOCOL_ID,
    MultistreamDialer,
    MultistreamListener,
    encode_message,
)

PROTOCOLS = ["/meshsub/1.2.0", "/meshsub/1.1.0"]
SEEDS = [
    bytes((side, step)) + b"".join(map(encode_message, (PROTOCOL_ID, *texts))) + b"rest"
    for side in (0, 1)
    for step in (0, 3)
    for texts in ((PROTOCOLS[0],), ("na", PROTOCOLS[1]))
]


def target(data: bytes) -> None:
    side = MultistreamDialer(PROTOCOLS) if data[:1] == b"\x00" else MultistreamListener(PROTOCOLS)
    side.start()
    sent_bytes = 0
    for chunk in cut(data[1:]):
        sent_bytes += len(side.receive(chunk))
        if side.agreed is not None:
            assert side.agreed in PROTOCOLS
            break
        assert len(side.rest) <= MESSAGE_LIMIT_BYTES + 2
    assert sent_bytes <= 20 * (PROPOSALS_LIMIT + 1)
