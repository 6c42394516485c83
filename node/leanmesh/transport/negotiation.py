"""multistream-select over anything that sends and receives: a raw pipe, a secured one, a stream."""

from typing import Protocol

from leanmesh.wire.multistream import MultistreamDialer, MultistreamListener, NegotiationError

# A negotiation's messages are small; what comes behind them is handed on.
_READ_BYTES = 4096


class Channel(Protocol):
    """Bytes in both directions, with waiting."""

    async def receive_some(self, max_bytes: int = ...) -> bytes:
        """At least one byte, or b"" at the end."""
        ...

    async def send_all(self, data: bytes) -> None:
        """Send everything."""
        ...


async def negotiate(channel: Channel, side: MultistreamDialer | MultistreamListener) -> str:
    """Run one side until a protocol is agreed on.  What came behind the agreement is in `side.rest`.

    Raises ProtocolsRefused when the listener speaks none of them, and
    NegotiationError for a peer that breaks the rules or goes away.  Waits as
    long as the peer does: the caller sets the deadline.
    """
    out = side.start()
    if out:
        await channel.send_all(out)
    while side.agreed is None:
        chunk = await channel.receive_some(_READ_BYTES)
        if not chunk:
            raise NegotiationError("the peer ended it in the middle of the negotiation")
        out = side.receive(chunk)
        if out:
            await channel.send_all(out)
    return side.agreed
