"""What the JSON API and the commands that ask a running node show of it."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import trio

from leanmesh.service.lag_report import describe_lag, describe_lag_pairs

if TYPE_CHECKING:
    from leanmesh.service.network import Network
    from leanmesh.service.node import Node


def describe_node(node: "Node") -> dict[str, Any]:
    """Who the node is on each of its networks, and where it listens."""
    return {"networks": [_describe_network(network) for network in node.networks.values()]}


def _describe_network(network: "Network") -> dict[str, Any]:
    is_running = network.life is not None
    return {
        "network_id": network.params.network_id,
        "peer_id": str(network.key.peer_id),
        "is_running": is_running,
        "listen": [str(address) for address in network.listen_addresses] if is_running else [],
        "topics": list(network.topics),
    }


def describe_peers(node: "Node") -> dict[str, Any]:
    """Everyone connected, by network."""
    peers: list[dict[str, Any]] = []
    for network_id, network in node.networks.items():
        if network.life is not None:
            peers += [
                {"network_id": network_id, **attrs.asdict(info), "peer": str(info.peer)}
                for info in node.peers(network_id)
            ]
    return {"generation": node.snapshotter.current.generation, "peers": peers}


def describe_mesh(node: "Node") -> dict[str, Any]:
    """Each topic's mesh, who else takes the topic, and the links there are and were last, by network."""
    topics: list[dict[str, Any]] = []
    links: list[dict[str, Any]] = []
    forgotten = 0
    for network_id, network in node.networks.items():
        links += network.watchers.ledger.describe(trio.current_time())
        forgotten = network.watchers.ledger.ended.forgotten
        if network.life is None:
            continue
        view = network.life.gossip.router.view
        for name in view.topics:
            topic = view.topic(name)
            if topic is not None:
                topics.append(
                    {
                        "network_id": network_id,
                        "topic": name,
                        "is_joined": topic.is_joined,
                        "mesh": [str(peer) for peer in topic.mesh],
                        "fanout": [str(peer) for peer in topic.fanout],
                        "peers": [str(peer) for peer in topic.peers],
                    }
                )
    return {
        "generation": node.snapshotter.current.generation,
        "topics": topics,
        "links": links,
        "links_forgotten": forgotten,
    }


# What stands under which path, of one process or of many: see worker_api.
PAGES: "Mapping[str, Callable[[Node], dict[str, Any]]]" = {
    "/api/node": describe_node,
    "/api/peers": describe_peers,
    "/api/mesh": describe_mesh,
    "/api/lag": describe_lag,
    "/api/lag/pairs": describe_lag_pairs,
}
