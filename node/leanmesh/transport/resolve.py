"""From an address with a name to addresses without: /dns, /dns4, /dns6 and /dnsaddr."""

import socket
from collections.abc import Sequence

import trio

from leanmesh.transport.errors import ConnectError, FailureKind, Step
from leanmesh.transport.params import TransportParams
from leanmesh.wire.multiaddr import Multiaddr

_FAMILIES = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}


async def resolve(address: Multiaddr, params: TransportParams) -> Sequence[Multiaddr]:
    """The addresses that a name stands for, in the system's order; one without a name stays as it is.

    Raises ConnectError with the step `resolve`.
    """
    endpoint = address.endpoint()
    family = _FAMILIES.get(endpoint.host_protocol)
    if family is None:
        return (address,)
    try:
        with trio.fail_after(params.resolve_timeout_s):
            found = await trio.socket.getaddrinfo(
                endpoint.host, endpoint.port, family=family, type=socket.SOCK_STREAM
            )
    except trio.TooSlowError:
        reason = f"no answer within {params.resolve_timeout_s:g} s"
        raise ConnectError(address, Step.RESOLVE, reason, FailureKind.TIMEOUT) from None
    except OSError as error:
        raise ConnectError(address, Step.RESOLVE, error.strerror or str(error)) from error
    targets: dict[Multiaddr, None] = {}
    for *_, sockaddr in found[: params.resolved_addresses_limit]:
        target = Multiaddr.of_socket(str(sockaddr[0]), endpoint.port, endpoint.transport)
        targets[target if endpoint.peer is None else target.with_peer(endpoint.peer)] = None
    return tuple(targets)
