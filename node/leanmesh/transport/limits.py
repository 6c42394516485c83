"""How many connections there may be: in all, from one address, and of strangers that prove who they are."""

import ipaddress
from collections import Counter

import attrs

from leanmesh.transport.params import TransportParams
from leanmesh.wire.multiaddr import Multiaddr

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def ip_of(address: Multiaddr) -> str:
    """The host of a resolved address, without a zone."""
    return address.endpoint().host.partition("%")[0]


@attrs.define(eq=False)
class Limits:
    """Counts what is open and what is under way, and says which limit turns the next one away."""

    params: TransportParams
    connections: int = 0
    handshakes: int = 0
    _inbound_by_ip: Counter[str] = attrs.field(factory=Counter[str])
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
        if self._inbound_by_ip.get(ip, 0) >= self.params.connections_per_ip_limit and not self.is_exempt(ip):
            return "connections_per_ip_limit"
        return None

    def is_exempt(self, ip: str) -> bool:
        """Whether it lies in loopback or in a network of one's own, where no limit per address holds."""
        address = ipaddress.ip_address(ip)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return address.is_loopback or any(address in network for network in self._exempt)

    def opened(self, inbound_ip: str | None) -> None:
        """Count one more, from the moment at which it costs us a descriptor."""
        self.connections += 1
        if inbound_ip is not None:
            self._inbound_by_ip[inbound_ip] += 1

    def closed(self, inbound_ip: str | None) -> None:
        """It is gone."""
        self.connections -= 1
        if inbound_ip is not None:
            self._inbound_by_ip[inbound_ip] -= 1
            if not self._inbound_by_ip[inbound_ip]:
                del self._inbound_by_ip[inbound_ip]
