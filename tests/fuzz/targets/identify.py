"""An identify stream from a peer that says anything of itself."""

from fuzz.registry import cut
from leanmesh.identity.keys import KeyKind, PrivateKey
from leanmesh.wire.identify import (
    ADDRESSES_LIMIT,
    PROTOCOLS_LIMIT,
    VERSION_LIMIT_CHARS,
    Identify,
    IdentifyReader,
)
from leanmesh.wire.multiaddr import Multiaddr

KEY = PrivateKey.of_kind(KeyKind.SECP256K1, b"\x01" * 32).public_key
FULL = Identify(
    protocol_version="ipfs/0.1.0",
    agent_version="leanmesh/1",
    public_key=KEY,
    listen_addresses=(
        Multiaddr.from_text("/ip4/1.2.3.4/tcp/9"),
        Multiaddr.from_text("/ip6/::1/udp/9/quic-v1"),
    ),
    observed_address=Multiaddr.from_text("/dns4/example.org/tcp/1"),
    protocols=("/meshsub/1.1.0", "/ipfs/id/1.0.0"),
    signed_peer_record=b"an envelope",
)
SEEDS = [
    b"\x00" + FULL.encode(),
    b"\x05" + FULL.encode(),
    b"\x00" + Identify(signed_peer_record=bytes(2100)).encode(),
]


def target(data: bytes) -> None:
    reader = IdentifyReader()
    for chunk in cut(data):
        reader.receive(chunk)
    identify = reader.finish(KEY.peer_id)
    assert len(identify.listen_addresses) <= ADDRESSES_LIMIT
    assert len(identify.protocols) <= PROTOCOLS_LIMIT
    assert len(identify.agent_version) <= VERSION_LIMIT_CHARS
    assert FULL.updated_by(identify).public_key == KEY
    again = IdentifyReader()
    again.receive(identify.encode())
    assert again.finish(KEY.peer_id).listen_addresses == identify.listen_addresses
