"""Small writes that follow one another leave together: one task flushes, at the end of Trio's tick."""

from typing import Protocol

import attrs

from leanmesh.transport.wakeup import Wakeup


class Flushable(Protocol):
    """What can be asked to send what it has queued."""

    def flush(self) -> None:
        """Offer the network all that waits, without waiting."""
        ...


@attrs.define(eq=False)
class Flusher:
    """One for all connections of a switch."""

    _waiting: dict[Flushable, None] = attrs.field(factory=dict[Flushable, None])
    _wakeup: Wakeup = attrs.field(factory=Wakeup)

    def soon(self, connection: Flushable) -> None:
        """Have a connection flushed once the tasks that are ready now have run."""
        if not self._waiting:
            self._wakeup.wake()
        self._waiting[connection] = None

    async def run(self) -> None:
        """Flush whatever asks for it, until cancelled."""
        while True:
            waiting, self._waiting = self._waiting, {}
            for connection in waiting:
                connection.flush()
            if not self._waiting:
                await self._wakeup.wait()
