"""What is known of each connected peer, for the API and for people."""

import attrs
import trio

from leanmesh.identity.peer_id import PeerId
from leanmesh.service.network import Network


@attrs.frozen(kw_only=True)
class PeerInfo:
    """One connected peer.  `protocol` is None while it does not gossip with us."""

    peer: PeerId
    addresses: tuple[str, ...]
    is_outbound: bool
    agent: str
    connected_s: float
    rtt_s: float | None
    received_bytes: int
    sent_bytes: int
    protocol: str | None
    topics: tuple[str, ...]
    meshes: tuple[str, ...]
    outbox_messages: int
    outbox_bytes: int
    slow_reason: str | None
    misbehaviour: dict[str, int]


def describe_peers(network: Network) -> list[PeerInfo]:
    """Every connected peer of a network, in the order in which they came."""
    life = network.live
    peers = dict.fromkeys(connection.remote_peer for connection in life.switch.connections)
    return [info for peer in peers if (info := _describe(network, peer)) is not None]


def _describe(network: Network, peer: PeerId) -> PeerInfo | None:
    life = network.live
    now_s = trio.current_time()
    connections = life.switch.connections_to(peer)
    if not connections:
        return None
    newest = connections[-1]
    told = life.identify.known.get(newest)
    view = life.gossip.router.view.peer(peer, now_s)
    return PeerInfo(
        peer=peer,
        addresses=tuple(str(connection.remote_address) for connection in connections),
        is_outbound=newest.is_outbound,
        agent=told.agent_version if told is not None else "",
        connected_s=now_s - connections[0].opened_at_s,
        rtt_s=newest.rtt_s,
        received_bytes=sum(connection.received_bytes for connection in connections),
        sent_bytes=sum(connection.sent_bytes for connection in connections),
        protocol=view.protocol if view else None,
        topics=view.topics if view else (),
        meshes=view.meshes if view else (),
        outbox_messages=view.outbox_messages if view else 0,
        outbox_bytes=view.outbox_bytes if view else 0,
        slow_reason=view.slow_reason if view else None,
        misbehaviour={str(kind): count for kind, count in view.misbehaviour.items()} if view else {},
    )
