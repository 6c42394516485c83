import pytest
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.errors import RemoteError
from leanmesh.identity.peer_id import PeerId
from leanmesh.wire.multiaddr import Endpoint, InvalidAddress, MalformedAddress, Multiaddr

PEER = PeerId.from_text("12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq")


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("/ip4/127.0.0.1/tcp/4001", "047f000001060fa1"),
        ("/ip4/127.0.0.1/udp/9000/quic-v1", "047f000001910223" + "28cd03"),
        ("/ip6/::1/tcp/65535", "29" + "00" * 15 + "01" + "06ffff"),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/0", "2a0465746830" + "29fe80" + "00" * 13 + "01" + "060000"),
        ("/dns4/example.org/tcp/443", "360b" + b"example.org".hex() + "0601bb"),
        ("/dns6/a/udp/1", "370161" + "91020001"),
        ("/dns/a.b-c_d./tcp/1", "3508" + b"a.b-c_d.".hex() + "060001"),
        ("/dnsaddr/bootstrap.example", "3811" + b"bootstrap.example".hex()),
        (f"/p2p/{PEER}", "a50326" + PEER.hex()),
        (f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}", "0401020304060001a50326" + PEER.hex()),
    ],
)
def test_text_and_bytes_say_the_same(text: str, encoded: str):
    address = Multiaddr.from_text(text)
    assert address.to_bytes().hex() == encoded
    assert Multiaddr.from_bytes(bytes.fromhex(encoded)) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("/ip6/0:0::0:1/tcp/04001", "/ip6/::1/tcp/4001"),
        (f"/p2p/{PEER.cid}", f"/p2p/{PEER}"),
    ],
)
def test_other_spellings_become_the_canonical_one(text: str, canonical: str):
    assert str(Multiaddr.from_text(text)) == canonical
    assert Multiaddr.from_text(text) == Multiaddr.from_text(canonical)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no address: one begins like /ip4"),
        ("/", "'/' is no address"),
        ("127.0.0.1:4001", "is no address"),
        ("ip4/127.0.0.1", "is no address"),
        ("/ip4/127.0.0.1/tcp/4001/", "has '' where one of ip4, tcp"),
        ("/ip4/127.0.0.1/sctp/1", "has 'sctp' where one of ip4, tcp"),
        ("/ip4/127.0.0.1/tcp", "ends behind /tcp, which needs a value"),
        ("/ip4/256.0.0.1/tcp/1", r"/ip4/256.0.0.1: Octet 256"),
        ("/ip4/::1/tcp/1", "/ip4/::1: "),
        ("/ip6/fe80::1%eth0/tcp/1", "a zone is written in front"),
        ("/ip4/1.2.3.4/tcp/65536", "/tcp/65536: a port from 0 to 65535 is due"),
        ("/ip4/1.2.3.4/tcp/-1", "/tcp/-1: a port"),
        ("/ip4/1.2.3.4/tcp/1_0", "/tcp/1_0: a port"),
        ("/ip4/1.2.3.4/tcp/٣", "a port"),
        ("/dns4/a..b/tcp/1", "a DNS name is due"),
        ("/dns4/" + "a" * 64 + "/tcp/1", "a DNS name is due"),
        ("/dns4/" + "a." * 127 + "/tcp/1", "a DNS name is due"),
        ("/p2p/12D3KooW", "'12D3KooW' is no peer id"),
        ("/tcp/1" * 17, "more than 16 components"),
        ("/tcp/1" * 200, "has 1200 characters, too many"),
    ],
)
def test_wrong_text_is_answered_with_what_is_wrong(text: str, message: str):
    with pytest.raises(InvalidAddress, match=message):
        Multiaddr.from_text(text)


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        ("", "address of 0 bytes: 1 to 512 are taken"),
        ("06" * 513, "address of 513 bytes"),
        ("060001" * 17, "more than 16 components"),
        ("047f0000", "the value of ip4 is cut off"),
        ("360b6578", "the value of dns4 is cut off"),
        ("36" + "ffffffffffffffffff01", "the value of dns4 is cut off"),
        ("3603612f62", "a DNS name is due"),
        ("3602c3a4", "ordinal not in range"),
        ("2a02610a", "an interface name is due"),
        ("a203", "protocol 418 is not known here"),
        ("8400", "is padded"),
        ("80", "is cut off"),
        ("a5030161", "61 is no peer id"),
    ],
)
def test_wrong_bytes_from_a_peer_are_a_remote_error(encoded: str, message: str):
    with pytest.raises(MalformedAddress, match=message):
        Multiaddr.from_bytes(bytes.fromhex(encoded))


@given(data=st.binary(max_size=100))
def test_any_bytes_are_an_address_with_those_bytes_or_refused(data: bytes):
    try:
        address = Multiaddr.from_bytes(data)
    except RemoteError:
        return
    assert address.to_bytes() == data
    assert Multiaddr.from_text(str(address)) == address


@given(text=st.text(max_size=60) | st.text("/ip46tcpudns.:0159", max_size=60).map("/ip4/1.2.3.4/".__add__))
def test_any_text_is_an_address_or_refused(text: str):
    try:
        address = Multiaddr.from_text(text)
    except InvalidAddress:
        return
    assert Multiaddr.from_bytes(address.to_bytes()) == address


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("/ip4/1.2.3.4/tcp/9", Endpoint("ip4", "1.2.3.4", 9, "tcp", None)),
        (f"/ip6/::1/udp/9/quic-v1/p2p/{PEER}", Endpoint("ip6", "::1", 9, "quic-v1", PEER)),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/9", Endpoint("ip6", "fe80::1%eth0", 9, "tcp", None)),
        (f"/dns4/example.org/tcp/9/p2p/{PEER}", Endpoint("dns4", "example.org", 9, "tcp", PEER)),
    ],
)
def test_an_address_comes_down_to_an_endpoint(text: str, endpoint: Endpoint):
    assert Multiaddr.from_text(text).endpoint() == endpoint


@pytest.mark.parametrize(
    "text",
    [
        f"/p2p/{PEER}",
        "/ip4/1.2.3.4",
        "/tcp/9",
        "/ip4/1.2.3.4/udp/9",
        "/ip4/1.2.3.4/tcp/9/quic-v1",
        "/ip6zone/eth0",
        "/ip6zone/eth0/ip4/1.2.3.4/tcp/9",
        "/dnsaddr/example.org/tcp/9",
    ],
)
def test_an_address_without_an_endpoint_says_so(text: str):
    with pytest.raises(InvalidAddress, match="is neither HOST/tcp/PORT nor HOST/udp/PORT/quic-v1"):
        Multiaddr.from_text(text).endpoint()


def test_a_peer_is_put_behind_an_address_and_taken_off_again():
    address = Multiaddr.from_text("/ip4/1.2.3.4/tcp/9")
    assert address.peer is None
    full = address.with_peer(PEER)
    assert str(full) == f"/ip4/1.2.3.4/tcp/9/p2p/{PEER}"
    assert full.peer == PEER
    assert full.with_peer(PEER) == full
    assert full.without_peer() == address.without_peer() == address
    only_peer = Multiaddr.from_text(f"/p2p/{PEER}")
    assert only_peer.without_peer().peer is None
    assert only_peer.without_peer().with_peer(PEER) == only_peer


@pytest.mark.parametrize(
    ("host", "transport", "text"),
    [
        ("127.0.0.1", "tcp", "/ip4/127.0.0.1/tcp/9"),
        ("::1", "quic-v1", "/ip6/::1/udp/9/quic-v1"),
        ("::ffff:1.2.3.4", "tcp", "/ip4/1.2.3.4/tcp/9"),
        ("fe80::1%eth0", "tcp", "/ip6zone/eth0/ip6/fe80::1/tcp/9"),
    ],
)
def test_the_address_of_a_socket_is_that_of_its_name(host: str, transport, text: str):
    assert str(Multiaddr.of_socket(host, 9, transport)) == text


def test_values_are_found_by_their_protocol():
    address = Multiaddr.from_text("/dnsaddr/example.org")
    assert address.value_of("dnsaddr") == "example.org"
    assert address.value_of("tcp") is None
