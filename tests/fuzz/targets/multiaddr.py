"""Addresses, as bytes from a peer and as text from a user."""

from fuzz.registry import check_text
from leanmesh.identity.keys import KeyKind, PrivateKey
from leanmesh.wire.multiaddr import InvalidAddress, Multiaddr

PEER = PrivateKey.of_kind(KeyKind.ED25519, b"\x01" * 32).peer_id
TEXTS = [
    f"/ip4/1.2.3.4/tcp/9/p2p/{PEER}",
    "/ip6zone/eth0/ip6/fe80::1/udp/9/quic-v1",
    "/dns4/example.org/tcp/443",
    f"/dnsaddr/example.org/p2p/{PEER.cid}",
]
SEEDS = [
    *(b"\x00" + Multiaddr.from_text(text).to_bytes() for text in TEXTS),
    *(b"\x01" + text.encode() for text in TEXTS),
]


def target(data: bytes) -> None:
    if data[:1] == b"\x00":
        address = Multiaddr.from_bytes(data[1:])
        assert address.to_bytes() == data[1:]
    else:
        try:
            address = Multiaddr.from_text(data[1:].decode(errors="replace"))
        except InvalidAddress as error:
            check_text(error)
            return
    assert Multiaddr.from_text(str(address)) == address
    assert Multiaddr.from_bytes(address.to_bytes()) == address
    assert address.with_peer(PEER).without_peer() == address.without_peer()
    try:
        endpoint = address.endpoint()
    except InvalidAddress:
        return
    assert 0 <= endpoint.port <= 0xFFFF
