"""What keeps messages from leaving, through asyncio and through NATS."""

from leanmesh.errors import LocalError, RemoteError


class AsyncioCancelled(RemoteError):
    """Something in asyncio was cancelled, and not by us: the engine's client gave it up."""


class NatsMissing(LocalError):
    """The client library is not installed."""


class NatsRefused(LocalError):
    """The server refuses what it was asked: other settings are due, of ours or of the server."""


class NatsUnavailable(RemoteError):
    """The server is not there, does not answer or cannot do it now; later it may."""
