"""The protocols a multiaddr may hold: their codes, and how each one's value is written.

Source: the multiaddr table of protocols.  Every function here raises
ValueError for what is no value; whose fault that is, multiaddr.py knows.
"""

import ipaddress
import re
from collections.abc import Callable

import attrs

from leanmesh.identity.peer_id import InvalidPeerId, InvalidPeerIdText, PeerId

_DNS_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?\Z")
_ZONE_NAME = re.compile(r"[A-Za-z0-9_.:@-]{1,32}\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")


@attrs.frozen
class Protocol:
    """How one protocol's value is written as bytes and as text."""

    code: int
    name: str
    # None: the value's length stands before it.  0: there is no value.
    value_bytes: int | None
    to_bytes: Callable[[str], bytes]
    to_text: Callable[[bytes], str]


def _ip4_to_bytes(text: str) -> bytes:
    return ipaddress.IPv4Address(text).packed


def _ip4_to_text(data: bytes) -> str:
    return str(ipaddress.IPv4Address(data))


def _ip6_to_bytes(text: str) -> bytes:
    if "%" in text:
        raise ValueError("a zone is written in front, as in /ip6zone/eth0/ip6/fe80::1")
    return ipaddress.IPv6Address(text).packed


def _ip6_to_text(data: bytes) -> str:
    return str(ipaddress.IPv6Address(data))


def _port_to_bytes(text: str) -> bytes:
    if _PORT.match(text) is None or int(text) > 0xFFFF:
        raise ValueError("a port from 0 to 65535 is due")
    return int(text).to_bytes(2, "big")


def _port_to_text(data: bytes) -> str:
    return str(int.from_bytes(data, "big"))


def _peer_to_bytes(text: str) -> bytes:
    try:
        return PeerId.from_text(text)
    except InvalidPeerIdText as error:
        raise ValueError(str(error)) from None


def _peer_to_text(data: bytes) -> str:
    try:
        return str(PeerId.from_bytes(data))
    except InvalidPeerId as error:
        raise ValueError(str(error)) from None


def _named(code: int, name: str, pattern: re.Pattern[str], due: str) -> Protocol:
    """A protocol whose value is a name, spelled the same as text and as bytes."""

    def check(text: str) -> str:
        if pattern.match(text) is None:
            raise ValueError(f"{due} is due")
        return text

    def to_bytes(text: str) -> bytes:
        return check(text).encode("ascii")

    def to_text(data: bytes) -> str:
        return check(data.decode("ascii"))

    return Protocol(code, name, None, to_bytes, to_text)


def _flag(code: int, name: str) -> Protocol:
    """A protocol without a value."""
    return Protocol(code, name, 0, lambda _: b"", lambda _: "")


_PROTOCOLS = (
    Protocol(0x0004, "ip4", 4, _ip4_to_bytes, _ip4_to_text),
    Protocol(0x0006, "tcp", 2, _port_to_bytes, _port_to_text),
    Protocol(0x0029, "ip6", 16, _ip6_to_bytes, _ip6_to_text),
    _named(0x002A, "ip6zone", _ZONE_NAME, "an interface name"),
    _named(0x0035, "dns", _DNS_NAME, "a DNS name"),
    _named(0x0036, "dns4", _DNS_NAME, "a DNS name"),
    _named(0x0037, "dns6", _DNS_NAME, "a DNS name"),
    _named(0x0038, "dnsaddr", _DNS_NAME, "a DNS name"),
    Protocol(0x0111, "udp", 2, _port_to_bytes, _port_to_text),
    Protocol(0x01A5, "p2p", None, _peer_to_bytes, _peer_to_text),
    _flag(0x01CD, "quic-v1"),
)

BY_NAME = {protocol.name: protocol for protocol in _PROTOCOLS}
BY_CODE = {protocol.code: protocol for protocol in _PROTOCOLS}
