"""Multiaddrs: addresses that say how they are to be used, as text and as bytes.

`/ip4/192.0.2.1/tcp/9000/p2p/12D3...` is a tuple of components, each the name
of a protocol and its value.  Known are the protocols that this node can dial
or listen on; an address with another one is refused, naming it.
"""

import ipaddress
from typing import Literal, Self

import attrs

from leanmesh.errors import LocalError, RemoteError
from leanmesh.identity.peer_id import PeerId
from leanmesh.wire.multiaddr_protocols import BY_CODE, BY_NAME
from leanmesh.wire.varint import MalformedVarint, decode_varint, encode_varint

# A DNS name of 253 bytes, a zone, two ports and two peer ids stay below.
ENCODED_LIMIT_BYTES = 512
TEXT_LIMIT_CHARS = 1024
COMPONENTS_LIMIT = 16

HOST_PROTOCOLS = ("ip4", "ip6", "dns", "dns4", "dns6")

Transport = Literal["tcp", "quic-v1"]
_TRANSPORT_COMPONENTS: dict[tuple[str, ...], Transport] = {("tcp",): "tcp", ("udp", "quic-v1"): "quic-v1"}


class InvalidAddress(LocalError):
    """Text that is no multiaddr, or an address of a form that cannot be used where it stands."""


class MalformedAddress(RemoteError):
    """Bytes from a peer that are no multiaddr, or one with a protocol that we do not know."""


@attrs.frozen
class Endpoint:
    """What an address comes down to when it is dialed or listened on."""

    # ip4, ip6, dns, dns4 or dns6: what kind of name `host` is, and what it may resolve to.
    host_protocol: str
    # As sockets take it: the zone of a link-local address stands behind a percent sign.
    host: str
    port: int
    transport: Transport
    peer: PeerId | None


@attrs.frozen(repr=False)
class Multiaddr:
    """An address.  Components are (protocol name, value); values are in their canonical text form."""

    components: tuple[tuple[str, str], ...]

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse what a user wrote; InvalidAddress says what is wrong with it."""
        if len(text) > TEXT_LIMIT_CHARS:
            raise InvalidAddress(f"{text[:32]}... has {len(text)} characters, too many for an address")
        parts = text.split("/")
        if parts.pop(0) or not parts or parts == [""]:
            raise InvalidAddress(f"{text!r} is no address: one begins like /ip4/192.0.2.1/tcp/9000")
        components: list[tuple[str, str]] = []
        parts.reverse()
        while parts:
            name = parts.pop()
            protocol = BY_NAME.get(name)
            if protocol is None:
                raise InvalidAddress(f"{text!r} has {name!r} where one of {', '.join(BY_NAME)} is due")
            value = ""
            if protocol.value_bytes != 0:
                if not parts:
                    raise InvalidAddress(f"{text!r} ends behind /{name}, which needs a value")
                value = parts.pop()
            try:
                components.append((name, protocol.to_text(protocol.to_bytes(value))))
            except ValueError as error:
                raise InvalidAddress(f"{text!r}: /{name}/{value}: {error}") from None
        if len(components) > COMPONENTS_LIMIT:
            raise InvalidAddress(f"{text!r} has more than {COMPONENTS_LIMIT} components")
        return cls(tuple(components))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode what a peer sent."""
        if not 0 < len(data) <= ENCODED_LIMIT_BYTES:
            raise MalformedAddress(f"address of {len(data)} bytes: 1 to {ENCODED_LIMIT_BYTES} are taken")
        components: list[tuple[str, str]] = []
        offset = 0
        try:
            while offset < len(data):
                if len(components) == COMPONENTS_LIMIT:
                    raise MalformedAddress(f"address with more than {COMPONENTS_LIMIT} components")
                component, offset = _decode_component(data, offset)
                components.append(component)
        except (ValueError, MalformedVarint) as error:
            raise MalformedAddress(f"address {data[:64].hex()}: {error}") from None
        return cls(tuple(components))

    @classmethod
    def of_socket(cls, host: str, port: int, transport: Transport = "tcp") -> Self:
        """The address of a socket, from its host (an IP address, perhaps with a zone) and port."""
        address, _, zone = host.partition("%")
        ip = ipaddress.ip_address(address)
        # A socket for both families shows IPv4 peers so; they are to have one address, not two.
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        components = [(f"ip{ip.version}", str(ip))]
        if zone:
            components.insert(0, ("ip6zone", zone))
        if transport == "tcp":
            components.append(("tcp", str(port)))
        else:
            components += [("udp", str(port)), ("quic-v1", "")]
        return cls(tuple(components))

    def to_bytes(self) -> bytes:
        """The binary form."""
        parts: list[bytes] = []
        for name, value in self.components:
            protocol = BY_NAME[name]
            data = protocol.to_bytes(value)
            parts.append(encode_varint(protocol.code))
            if protocol.value_bytes is None:
                parts.append(encode_varint(len(data)))
            parts.append(data)
        return b"".join(parts)

    def value_of(self, name: str) -> str | None:
        """The value of the first component with this name, None when there is none."""
        return next((value for component, value in self.components if component == name), None)

    @property
    def peer(self) -> PeerId | None:
        """The peer that the address leads to, when it ends in /p2p."""
        last = self.components[-1:]
        return PeerId.from_text(last[0][1]) if last and last[0][0] == "p2p" else None

    def with_peer(self, peer: PeerId) -> Self:
        """The same address, leading to this peer."""
        return type(self)((*self.without_peer().components, ("p2p", str(peer))))

    def without_peer(self) -> Self:
        """The same address without the /p2p at its end."""
        return self if self.peer is None else type(self)(self.components[:-1])

    def endpoint(self) -> Endpoint:
        """What to dial or to listen on.  Raises InvalidAddress for a form that has no such thing."""
        components = list(self.without_peer().components)
        zone = components.pop(0)[1] if components and components[0][0] == "ip6zone" else ""
        names = tuple(name for name, _ in components)
        transport = _TRANSPORT_COMPONENTS.get(names[1:])
        if transport is None or names[0] not in HOST_PROTOCOLS or (zone and names[0] != "ip6"):
            raise InvalidAddress(f"{self} is neither HOST/tcp/PORT nor HOST/udp/PORT/quic-v1")
        host = components[0][1]
        return Endpoint(
            host_protocol=names[0],
            host=f"{host}%{zone}" if zone else host,
            port=int(components[1][1]),
            transport=transport,
            peer=self.peer,
        )

    def __str__(self) -> str:
        return "".join(f"/{name}/{value}" if value else f"/{name}" for name, value in self.components)

    def __repr__(self) -> str:
        return f"Multiaddr({self})"


def _decode_component(data: bytes, offset: int) -> tuple[tuple[str, str], int]:
    """One component, and the offset behind it."""
    code, offset = decode_varint(data, offset)
    protocol = BY_CODE.get(code)
    if protocol is None:
        raise ValueError(f"protocol {code} is not known here")
    size = protocol.value_bytes
    if size is None:
        size, offset = decode_varint(data, offset)
    value = data[offset : offset + size]
    if len(value) < size:
        raise ValueError(f"the value of {protocol.name} is cut off")
    return (protocol.name, protocol.to_text(value)), offset + size
