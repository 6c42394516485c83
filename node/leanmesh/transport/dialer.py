"""Dialing: from addresses with names to one established connection, or to every reason why not."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from leanmesh.transport.backend import OwnedConnection, Transport, serving
from leanmesh.transport.backoff import DialBackoff
from leanmesh.transport.errors import (
    ConnectError,
    DialBackedOff,
    DialFailed,
    FailureKind,
    Step,
    UnsupportedAddress,
)
from leanmesh.transport.limits import Limits
from leanmesh.transport.observer import TransportObserver
from leanmesh.transport.params import TransportParams
from leanmesh.transport.resolve import Resolver
from leanmesh.wire.multiaddr import InvalidAddress, Multiaddr

if TYPE_CHECKING:
    from random import Random


# Stands for the transport of an address whose name did not resolve, so that it is counted as well.
RESOLVING = "resolve"


class Dialer:
    """Tries addresses one after the other."""

    def __init__(
        self,
        params: TransportParams,
        random: "Random",
        limits: Limits,
        observer: TransportObserver,
        transports: Sequence[Transport],
        resolver: Resolver | None = None,
    ) -> None:
        self._params = params
        self._limits = limits
        self._observer = observer
        self._transports = transports
        self._backoff = DialBackoff(params, random)
        self._resolver = resolver or Resolver(params)

    async def dial(self, addresses: Sequence[Multiaddr], *, ignore_backoff: bool) -> OwnedConnection:
        """The first connection that comes about.  It is counted in the limits: its owner counts it off."""
        failures: list[ConnectError] = []
        resting: list[DialBackedOff] = []
        unsupported: list[ConnectError] = []
        for address in addresses:
            try:
                resolved = await self._resolver.resolve(address)
            except InvalidAddress as error:
                unsupported.append(ConnectError(address, Step.RESOLVE, str(error)))
                continue
            except ConnectError as error:
                failures.append(error)
                self._observer.dial_failed(RESOLVING, error, 0.0)
                continue
            for target in resolved:
                transport = serving(self._transports, target)
                if transport is None:
                    unsupported.append(ConnectError(target, Step.CONNECT, self._what_there_is()))
                    continue
                rest_s = self._backoff.remaining_s(target, trio.current_time())
                if rest_s > 0 and not ignore_backoff:
                    resting.append(DialBackedOff(target, rest_s))
                    continue
                try:
                    return await self._attempt(transport, target)
                except ConnectError as error:
                    failures.append(error)
        if failures:
            raise DialFailed(failures + unsupported)
        if resting:
            raise min(resting, key=lambda error: error.retry_in_s)
        raise UnsupportedAddress("; ".join(map(str, unsupported)))

    def _what_there_is(self) -> str:
        return f"the transports here are {', '.join(transport.name for transport in self._transports)}"

    async def _attempt(self, transport: Transport, address: Multiaddr) -> OwnedConnection:
        started_at_s = trio.current_time()
        self._observer.dial_started(transport.name, address)
        if (limit := self._limits.limit_for_dial()) is not None:
            self._observer.refused(transport.name, limit)
            reason = f"{limit} of {self._params.connections_limit} is reached"
            full = ConnectError(address, Step.ADMIT, reason, FailureKind.REFUSED)
            # Our house is full: the address is not to blame and does not rest for it.
            self._observer.dial_failed(transport.name, full, 0.0)
            raise full
        self._limits.opened(None)
        try:
            connection = await transport.dial(address)
        except BaseException as error:
            self._limits.closed(None)
            if isinstance(error, ConnectError):
                now_s = trio.current_time()
                self._backoff.failed(address, now_s)
                self._observer.dial_failed(transport.name, error, now_s - started_at_s)
            raise
        self._backoff.succeeded(address)
        self._observer.dial_succeeded(transport.name, address, trio.current_time() - started_at_s)
        return connection
