"""Addresses that failed lately rest, each time twice as long."""

from typing import TYPE_CHECKING

import attrs

from leanmesh.transport.params import TransportParams
from leanmesh.wire.multiaddr import Multiaddr

if TYPE_CHECKING:
    from random import Random


@attrs.define
class _Rest:
    failures: int
    until_s: float


@attrs.define(eq=False)
class DialBackoff:
    """When each address may be dialed again.

    The table is bounded: the address that failed longest ago is forgotten first.
    """

    params: TransportParams
    random: "Random"
    _rests: dict[Multiaddr, _Rest] = attrs.field(factory=dict[Multiaddr, _Rest])

    def failed(self, address: Multiaddr, now_s: float) -> None:
        """Let an address rest: initial time x 2^(failures - 1), up to the limit, jittered."""
        params = self.params
        rest = self._rests.pop(address, None)
        failures = 1 if rest is None else rest.failures + 1
        # 2^64 is beyond every limit that could be set, and floats end at 2^1024.
        rest_s = min(params.backoff_initial_s * 2.0 ** min(failures - 1, 64), params.backoff_limit_s)
        rest_s *= 1 + params.backoff_jitter * (self.random.random() * 2 - 1)
        if len(self._rests) >= params.backoff_entries_limit:
            self._rests.pop(next(iter(self._rests)))
        self._rests[address] = _Rest(failures, now_s + rest_s)

    def succeeded(self, address: Multiaddr) -> None:
        """Forget what was held against an address."""
        self._rests.pop(address, None)

    def remaining_s(self, address: Multiaddr, now_s: float) -> float:
        """How long it still rests; 0 when it may be dialed."""
        rest = self._rests.get(address)
        return 0.0 if rest is None else max(0.0, rest.until_s - now_s)
