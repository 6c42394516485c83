"""What one peer accepts from us: sending limits by protocol version and by the software it names.

The implementations of the field read the same protobuf with different limits, and an RPC above a peer's own
costs the stream or a penalty.  A peer that does not say what it is gets what all of them accept.
"""

import re
from typing import Final

import attrs

FLOODSUB: Final = "/floodsub/1.0.0"
PROTOCOLS: Final = (
    "/meshsub/1.2.0",
    "/meshsub/1.1.0",
    "/meshsub/1.0.0",
    FLOODSUB,
)
"""What we offer and accept, newest first."""


@attrs.frozen(kw_only=True)
class Dialect:
    """Limits of what we send to one peer.  The defaults are what every current peer accepts."""

    rpc_bytes: int = 64 * 1024
    """RPCs are filled up to this size (rust's default frame).  One larger message still goes, alone."""
    control_bytes: int = 16 * 1024
    """Subscriptions and control of one RPC together."""
    publishes: int = 500
    """Messages per RPC."""
    subscriptions: int = 100
    """Subscriptions per RPC (rust's default; rust takes no more than that from one peer either)."""
    ids_per_entry: int = 512
    """Ids in one IHAVE or IWANT (js)."""
    ids_per_idontwant: int = 10
    """Ids in one IDONTWANT (go)."""
    idontwants: int = 1
    """IDONTWANT entries per RPC (go counts RPCs that carry one, and ids in it)."""
    is_told_by_copies: bool = False
    """A copy from us keeps the peer from sending us another, as IDONTWANT does.  Others forget who sent
    duplicates, and may still answer a copy with a copy once they have validated theirs."""
    px_peers: int = 16
    """Peers recommended in one PRUNE (js)."""

    supports_control: bool = True
    """False for floodsub: subscriptions and messages are all it knows."""
    supports_backoff: bool = True
    """PRUNE says how long to stay away: from 1.1 on."""
    supports_px: bool = True
    """PRUNE may recommend other peers: from 1.1 on."""
    supports_idontwant: bool = True
    """From 1.2 on."""
    supports_extensions: bool = False
    """From 1.3 on."""


_MESHSUB: Final = re.compile(r"(?:/.+)?/meshsub/1\.(\d{1,3})\.\d{1,3}", re.ASCII)

# Recognised by how the agent string starts; what follows is a version.
# The bound on control is rust's alone, and matters: ten RPCs of gossip per heartbeat is what peers hear.
_AGENTS: Final = (
    (
        "leanmesh/",
        Dialect(
            control_bytes=64 * 1024,
            subscriptions=1_000,
            ids_per_entry=5_000,
            ids_per_idontwant=512,
            is_told_by_copies=True,
        ),
    ),
    ("go-libp2p", Dialect(control_bytes=64 * 1024, subscriptions=1_000, ids_per_entry=5_000)),
    (
        "github.com/libp2p/go-libp2p",
        Dialect(control_bytes=64 * 1024, subscriptions=1_000, ids_per_entry=5_000),
    ),
    ("rust-libp2p", Dialect(ids_per_entry=5_000, ids_per_idontwant=512)),
    ("js-libp2p", Dialect(control_bytes=64 * 1024, ids_per_idontwant=512)),
)


def dialect_for(protocol: str, agent: str | None = None) -> Dialect:
    """The dialect of a peer that negotiated `protocol` and calls itself `agent` (identify's agentVersion).

    An agent string is only a claim, but nobody gains by being sent what it cannot read.
    """
    known = next((known for start, known in _AGENTS if agent and agent.startswith(start)), Dialect())
    match = _MESHSUB.fullmatch(protocol)
    minor = int(match[1]) if match else -1
    return attrs.evolve(
        known,
        supports_control=minor >= 0,
        supports_backoff=minor >= 1,
        supports_px=minor >= 1,
        supports_idontwant=minor >= 2,
        supports_extensions=minor >= 3,
    )
