"""Who counts as one host: an IPv4 address, an IPv6 /56, and more loosely a /48."""

import ipaddress

import pytest
from leanmesh.transport.limits import Limits
from transport.nodes import params


def admitted(limits: Limits, *ips: str) -> int:
    """How many of these, in this order, are let in; all of them stay."""
    before = limits.connections
    for ip in ips:
        if limits.limit_for_inbound(ip) is None:
            limits.opened(ip)
    return limits.connections - before


def addresses(network: str, prefix: int, count: int) -> list[str]:
    """The first address of each of the first subnets of a length."""
    subnets = ipaddress.ip_network(network).subnets(new_prefix=prefix)
    return [str(next(subnets).network_address) for _ in range(count)]


def test_an_ipv4_address_is_a_host_of_its_own():
    limits = Limits(params(connections_per_ip_limit=3))
    assert admitted(limits, *["192.0.2.1"] * 5) == 3
    assert limits.limit_for_inbound("192.0.2.1") == "connections_per_ip_limit"
    assert admitted(limits, *addresses("192.0.2.0/24", 32, 200)[2:]) == 198


@pytest.mark.parametrize("prefix", [56, 64, 96, 128])
def test_all_addresses_of_an_ipv6_56_are_one_host(prefix: int):
    limits = Limits(params(connections_per_ip_limit=3))
    count = min(200, 2 ** (prefix - 56))
    ips = addresses("2001:db8:1:200::/56", prefix, count)
    assert admitted(limits, *ips, *ips * 4) == 3
    assert limits.limit_for_inbound("2001:db8:1:2ff::1") == "connections_per_ip_limit"
    assert admitted(limits, "2001:db8:1:300::1") == 1


def test_all_hosts_of_an_ipv6_48_are_eight():
    limits = Limits(params(connections_per_ip_limit=3))
    assert admitted(limits, *addresses("2001:db8:1::/48", 56, 200)) == 8 * 3
    assert admitted(limits, "2001:db8:2::1") == 1


def test_an_ipv4_address_inside_ipv6_is_the_same_host():
    limits = Limits(params(connections_per_ip_limit=2))
    assert admitted(limits, "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1") == 2
    assert admitted(limits, "::ffff:192.0.2.2") == 1


@pytest.mark.parametrize(
    ("ip", "exempt"),
    [
        ("127.0.0.1", ()),
        ("::1", ()),
        ("::ffff:127.0.0.1", ()),
        ("10.1.2.3", ("10.0.0.0/8",)),
        ("::ffff:10.1.2.3", ("10.0.0.0/8",)),
        ("2001:db8:1::5", ("2001:db8::/32",)),
    ],
)
def test_loopback_and_networks_of_ones_own_have_no_limit_per_host(ip: str, exempt: tuple[str, ...]):
    limits = Limits(params(connections_per_ip_limit=1, exempt_networks=exempt))
    assert admitted(limits, *[ip] * 20) == 20
    assert admitted(limits, "2001:db9::1", "2001:db9::2") == 1


def test_whoever_goes_makes_room_and_nothing_is_kept_of_them():
    limits = Limits(params(connections_per_ip_limit=2))
    ips = ["192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8:0:1::1", None]
    for _ in range(3):
        for ip in ips:
            limits.opened(ip)
        assert admitted(limits, "192.0.2.1", "2001:db8::9") == 0
        for ip in ips:
            limits.closed(ip)
    assert (limits.connections, dict(limits._inbound)) == (0, {})
    assert admitted(limits, "192.0.2.1", "2001:db8::9") == 2


def test_the_limits_for_all_come_before_those_for_one():
    limits = Limits(params(connections_limit=2, handshakes_limit=1, connections_per_ip_limit=1))
    limits.opened("192.0.2.1")
    limits.handshakes = 1
    assert limits.limit_for_inbound("192.0.2.1") == "handshakes_limit"
    limits.opened(None)
    assert limits.limit_for_inbound("192.0.2.1") == limits.limit_for_dial() == "connections_limit"
