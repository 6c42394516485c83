"""multistream-select over anything that sends and receives: a raw pipe, a secured one, a stream."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import trio

from leanmesh.errors import RemoteError
from leanmesh.transport.errors import CloseReason, ConnectionClosed, StreamRefused, StreamReset
from leanmesh.transport.interface import Stream, StreamHandler
from leanmesh.wire.multistream import (
    MultistreamDialer,
    MultistreamListener,
    NegotiationError,
    ProtocolsRefused,
)

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


class NewStream(Stream, Protocol):
    """A stream whose protocol has yet to be agreed on."""

    def agree(self, protocol: str, rest: bytes) -> None:
        """Take the protocol, and back what was read too far."""
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


async def propose(stream: NewStream, protocols: Sequence[str], timeout_s: float) -> None:
    """Agree on the first of these that the peer speaks; else the stream is reset and StreamRefused raised."""
    peer = stream.connection.remote_peer
    side = MultistreamDialer(protocols)
    is_agreed = False
    try:
        with trio.fail_after(timeout_s):
            protocol = await negotiate(stream, side)
            stream.agree(protocol, side.rest)
        is_agreed = True
    except trio.TooSlowError:
        raise StreamRefused(peer, protocols, f"no answer within {timeout_s:g} s") from None
    except ProtocolsRefused:
        raise StreamRefused(peer, protocols, "it speaks none of them", is_unsupported=True) from None
    except (NegotiationError, StreamReset) as error:
        raise StreamRefused(peer, protocols, str(error)) from None
    finally:
        if not is_agreed:
            stream.reset()


async def serve(stream: NewStream, handlers: Mapping[str, StreamHandler], timeout_s: float) -> None:
    """Agree on a protocol and run its handler.  A peer's fault on a stream ends here, and nowhere else."""
    side = MultistreamListener(handlers)
    is_served = False
    try:
        with trio.move_on_after(timeout_s):
            protocol = await negotiate(stream, side)
            stream.agree(protocol, side.rest)
        # The handler may have been taken away while the answer was sent.
        handler = handlers.get(stream.protocol)
        if handler is not None:
            await handler(stream)
            await stream.aclose()
            is_served = True
    except (NegotiationError, StreamReset, ConnectionClosed):
        # These end the stream alone: a refused dialer goes away in the middle of a negotiation.
        pass
    except RemoteError as error:
        stream.connection.abort(CloseReason.ERROR, f"{stream.protocol}: {error}")
    finally:
        if not is_served:
            stream.reset()
