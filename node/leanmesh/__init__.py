"""A gossipsub peer node on Trio.  This file holds the public names and nothing else.

    async with leanmesh.open_node() as node, node.subscribe("news") as messages:
        async for message in messages: ...

The names are imported when they are used: `leanmesh --help` needs none of them.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leanmesh.errors import LocalError, NodeError, RemoteError
    from leanmesh.run import open_node
    from leanmesh.service import (
        Node,
        Outcome,
        Overflow,
        PeerInfo,
        Receipt,
        ReceivedMessage,
        Responder,
        Sink,
        Subscription,
        Verdict,
        request,
    )
    from leanmesh.settings import NetworkParams, Settings, load

__all__ = [
    "LocalError",
    "NetworkParams",
    "Node",
    "NodeError",
    "Outcome",
    "Overflow",
    "PeerInfo",
    "Receipt",
    "ReceivedMessage",
    "RemoteError",
    "Responder",
    "Settings",
    "Sink",
    "Subscription",
    "Verdict",
    "load",
    "open_node",
    "request",
]

_MODULES = {
    "leanmesh.errors": ("LocalError", "NodeError", "RemoteError"),
    "leanmesh.run": ("open_node",),
    "leanmesh.settings": ("NetworkParams", "Settings", "load"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'leanmesh' has no attribute {name!r}")
    module = next((module for module, names in _MODULES.items() if name in names), "leanmesh.service")
    return getattr(importlib.import_module(module), name)
