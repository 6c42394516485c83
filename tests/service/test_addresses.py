"""Addresses that others can dial, made of those that are listened on."""

import ipaddress

from leanmesh.service.addresses import usable_addresses
from leanmesh.wire.multiaddr import Multiaddr


def usable(*texts: str) -> list[str]:
    return [str(address) for address in usable_addresses(map(Multiaddr.from_text, texts))]


def test_an_address_of_a_machine_stays_as_it_is_and_is_named_once():
    given = ("/ip4/192.0.2.7/tcp/9000", "/ip6/2001:db8::7/tcp/9000", "/dns4/example.org/tcp/1")
    assert usable(*given, given[0]) == list(given)


def test_the_wildcard_stands_for_loopback_and_for_the_way_to_the_world():
    first, *others = usable("/ip4/0.0.0.0/tcp/9000")
    assert first == "/ip4/127.0.0.1/tcp/9000"
    for text in others:
        _, version, host, protocol, port = text.split("/")
        assert (version, protocol, port) == ("ip4", "tcp", "9000")
        assert not ipaddress.ip_address(host).is_unspecified
    assert usable("/ip6/::/tcp/9000")[0] == "/ip6/::1/tcp/9000"
