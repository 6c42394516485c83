"""From an address with a name to addresses without: /dns, /dns4, /dns6 and /dnsaddr."""

import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import attrs
import trio

from leanmesh.errors import RemoteError
from leanmesh.transport.errors import ConnectError, FailureKind, Step
from leanmesh.transport.params import TransportParams
from leanmesh.wire.dns_txt import RESPONSE_LIMIT_BYTES, decode_response, encode_query
from leanmesh.wire.multiaddr import InvalidAddress, Multiaddr

_FAMILIES = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}
_DNSADDR_PREFIX = "dnsaddr="
_RESOLVER_CONFIG = Path("/etc/resolv.conf")
_DEFAULT_RESOLVER = "127.0.0.1"
_DNS_PORT = 53
# A datagram may be lost; the next try comes this much later, until the resolve timeout.
_RETRY_S = 1.0

LookUpTexts = Callable[[str], Awaitable[Sequence[str]]]


async def look_up_texts(name: str) -> Sequence[str]:
    """Ask the machine's first resolver for the TXT records of a name, until it answers."""
    resolver = _resolver_address()
    family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
    with trio.socket.socket(family, socket.SOCK_DGRAM) as sock:
        # Connected: datagrams from anywhere else are not delivered, the random id guards the rest.
        await sock.connect((resolver, _DNS_PORT))
        query_id = secrets.randbits(16)
        while True:
            await sock.send(encode_query(query_id, name))
            with trio.move_on_after(_RETRY_S):
                return decode_response(await sock.recv(RESPONSE_LIMIT_BYTES), query_id)


def _resolver_address() -> str:
    try:
        lines = _RESOLVER_CONFIG.read_text().splitlines()
    except OSError:
        return _DEFAULT_RESOLVER
    words = [line.split() for line in lines]
    return next(
        (line[1] for line in words if line[:1] == ["nameserver"] and len(line) > 1), _DEFAULT_RESOLVER
    )


@attrs.frozen
class Resolver:
    """Finds the addresses that a name stands for."""

    params: TransportParams
    look_up_texts: LookUpTexts = look_up_texts

    async def resolve(self, address: Multiaddr) -> Sequence[Multiaddr]:
        """The addresses behind one, in the order of the answers; one without a name stays as it is.

        Raises ConnectError with the step `resolve`, and InvalidAddress for a
        form that nobody can dial.
        """
        timeout_s = self.params.resolve_timeout_s
        targets: dict[Multiaddr, None] = {}
        error = None
        with trio.move_on_after(timeout_s) as scope:
            error = await self._collect(address, self.params.dnsaddr_depth_limit, targets)
        # One name that does not answer does not spoil those that did.
        if targets:
            return tuple(targets)
        if scope.cancelled_caught:
            reason = f"no answer within {timeout_s:g} s"
            raise ConnectError(address, Step.RESOLVE, reason, FailureKind.TIMEOUT)
        reason = "the name stands for no address that fits" if error is None else str(error)
        raise ConnectError(address, Step.RESOLVE, reason) from error

    async def _collect(
        self, address: Multiaddr, depth: int, targets: dict[Multiaddr, None]
    ) -> OSError | RemoteError | None:
        """Add what an address stands for; gives why that was not everything, if it was not."""
        try:
            name = address.value_of("dnsaddr")
            if name is not None:
                return await self._collect_dnsaddr(address, name, depth, targets)
            await self._collect_hosts(address, targets)
        except (OSError, RemoteError) as error:
            return error
        return None

    async def _collect_hosts(self, address: Multiaddr, targets: dict[Multiaddr, None]) -> None:
        endpoint = address.endpoint()
        family = _FAMILIES.get(endpoint.host_protocol)
        if family is None:
            self._keep(address, targets)
            return
        found = await trio.socket.getaddrinfo(
            endpoint.host, endpoint.port, family=family, type=socket.SOCK_STREAM
        )
        for *_, sockaddr in found:
            target = Multiaddr.of_socket(str(sockaddr[0]), endpoint.port, endpoint.transport)
            self._keep(target if endpoint.peer is None else target.with_peer(endpoint.peer), targets)

    async def _collect_dnsaddr(
        self, address: Multiaddr, name: str, depth: int, targets: dict[Multiaddr, None]
    ) -> OSError | RemoteError | None:
        """Follow the TXT records of `_dnsaddr.<name>`, which may lead to further names."""
        if depth == 0:
            return None
        first_error = None
        for text in await self.look_up_texts(f"_dnsaddr.{name}"):
            if len(targets) >= self.params.resolved_addresses_limit:
                break
            if not text.startswith(_DNSADDR_PREFIX):
                continue
            try:
                found = Multiaddr.from_text(text.removeprefix(_DNSADDR_PREFIX))
                # Records list every peer of a network; only those of the peer that was asked for count.
                if address.peer is None or found.peer == address.peer:
                    error = await self._collect(found, depth - 1, targets)
                    first_error = first_error or error
            except InvalidAddress:
                # Records also list transports that this node does not know.
                continue
        return first_error

    def _keep(self, target: Multiaddr, targets: dict[Multiaddr, None]) -> None:
        if len(targets) < self.params.resolved_addresses_limit:
            targets[target] = None
