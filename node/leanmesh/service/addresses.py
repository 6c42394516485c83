"""Addresses that others can use, made from those that we listen on."""

import ipaddress
import socket
from collections.abc import Iterable

from leanmesh.wire.multiaddr import Multiaddr

# Documentation networks: nothing is sent there, but the kernel says which of our addresses it would use.
_SOMEWHERE = {4: "192.0.2.1", 6: "2001:db8::1"}
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}


def usable_addresses(listening: Iterable[Multiaddr]) -> list[Multiaddr]:
    """Each address as it is, and a wildcard as loopback and the machine's address towards the world."""
    usable: dict[Multiaddr, None] = {}
    for address in listening:
        (name, host), *rest = address.components
        if name not in ("ip4", "ip6") or not ipaddress.ip_address(host).is_unspecified:
            usable[address] = None
            continue
        version = ipaddress.ip_address(host).version
        for ip in (_LOOPBACK[version], _address_towards_the_world(version)):
            if ip is not None:
                usable[Multiaddr(((name, ip), *rest))] = None
    return list(usable)


def _address_towards_the_world(version: int) -> str | None:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Connecting a datagram socket sends nothing; it asks the routing table.
            probe.connect((_SOMEWHERE[version], 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None
