"""How many connections there may be: in all, from one host, and of strangers that prove who they are."""

import ipaddress
from collections import Counter

import attrs

from leanmesh.transport.params import TransportParams
from leanmesh.wire.multiaddr import Multiaddr

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# A host has one IPv4 address and as many IPv6 addresses as it likes: a /64 at least, often a /56, and who
# asks gets a /48.  Each prefix may have so many times the limit; go-libp2p counts the same prefixes, and so.
_IPV4_PREFIXES = ((32, 1),)
_IPV6_PREFIXES = ((56, 1), (48, 8))

# IP version, prefix length, and the bits of the prefix.
Prefix = tuple[int, int, int]


def ip_of(address: Multiaddr) -> str:
    """The host of a resolved address, without a zone."""
    return address.endpoint().host.partition("%")[0]


def _parsed(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(ip)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def _prefixes(ip: str) -> list[tuple[Prefix, int]]:
    """The prefixes that an address is counted under, and how many times the limit each may have."""
    address = _parsed(ip)
    return [
        ((address.version, length, int(address) >> (address.max_prefixlen - length)), factor)
        for length, factor in (_IPV4_PREFIXES if address.version == 4 else _IPV6_PREFIXES)
    ]


@attrs.define(eq=False)
class Limits:
    """Counts what is open and what is under way, and says which limit turns the next one away."""

    params: TransportParams
    connections: int = 0
    handshakes: int = 0
    _inbound: Counter[Prefix] = attrs.field(factory=Counter[Prefix])
    _exempt: tuple[Network, ...] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._exempt = tuple(ipaddress.ip_network(text) for text in self.params.exempt_networks)

    def limit_for_dial(self) -> str | None:
        """The limit that forbids one more connection from us, if any."""
        return "connections_limit" if self.connections >= self.params.connections_limit else None

    def limit_for_inbound(self, ip: str) -> str | None:
        """The limit that forbids one more from this address, if any."""
        if self.connections >= self.params.connections_limit:
            return "connections_limit"
        if self.handshakes >= self.params.handshakes_limit:
            return "handshakes_limit"
        limit = self.params.connections_per_ip_limit
        is_full = any(self._inbound[prefix] >= factor * limit for prefix, factor in _prefixes(ip))
        return "connections_per_ip_limit" if is_full and not self.is_exempt(ip) else None

    def is_exempt(self, ip: str) -> bool:
        """Whether it lies in loopback or in a network of one's own, where no limit per address holds."""
        address = _parsed(ip)
        return address.is_loopback or any(address in network for network in self._exempt)

    def opened(self, inbound_ip: str | None) -> None:
        """Count one more, from the moment at which it costs us a descriptor."""
        self.connections += 1
        if inbound_ip is not None:
            self._inbound.update(prefix for prefix, _ in _prefixes(inbound_ip))

    def closed(self, inbound_ip: str | None) -> None:
        """It is gone."""
        self.connections -= 1
        for prefix, _ in () if inbound_ip is None else _prefixes(inbound_ip):
            self._inbound[prefix] -= 1
            if not self._inbound[prefix]:
                del self._inbound[prefix]
