"""The catalog, part one: families whose names and labels leanMetrics lays down for lean clients."""

from leanmesh.metrics.family import Across, CounterSpec, FamilySpec, GaugeSpec, HistogramSpec

DIRECTIONS = ("inbound", "outbound")

BLOCK_BOUNDS_BYTES = (10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_000_000, 5_000_000)
ATTESTATION_BOUNDS_BYTES = (512, 1024, 2048, 4096, 8192, 16384)
AGGREGATION_BOUNDS_BYTES = (1024, 4096, 16384, 65536, 131072, 262144, 524288, 1048576)

NODE_INFO = GaugeSpec(
    "lean_node_info",
    "Always 1; the labels say which program and version this is.",
    labels=("name", "version"),
    across_workers=Across.MAX,
)
NODE_START_TIME = GaugeSpec(
    "lean_node_start_time_seconds",
    "When the node started, in Unix time. A newer value explains counters that begin again at 0.",
    # The supervisor's: no counter begins again with a worker.
    across_workers=Across.MIN,
)
CONNECTED_PEERS = GaugeSpec(
    "lean_connected_peers",
    "Peers that are connected, each counted once however many connections it has.",
)
MESH_PEERS = GaugeSpec(
    "lean_gossip_mesh_peers",
    "Distinct peers in any mesh, added up over all networks of the process. 0 for longer than a few "
    "heartbeats: messages reach this node by gossip only, late or never.",
)
# The same two families as they are when a registry of node names is configured.  One form is
# exported or the other, never both: whoever sums the family would count every peer twice.
CONNECTED_PEERS_BY_CLIENT = GaugeSpec(
    CONNECTED_PEERS.name,
    "Peers that are connected, by the client that runs them; `unknown` for those that are not registered.",
    labels=("client",),
)
MESH_PEERS_BY_CLIENT = GaugeSpec(
    MESH_PEERS.name,
    "Distinct peers in any mesh, by the client that runs them; `unknown` for those that are not "
    "registered. Every registered name is there, also with 0.",
    labels=("client",),
)
PEER_CONNECTION_EVENTS = CounterSpec(
    "lean_peer_connection_events_total",
    "Attempts to connect, by who dialed and how it ended. Only outbound errors: look at the addresses; "
    "only inbound timeouts: somebody opens sockets and says nothing.",
    labels=("direction", "result"),
    fixed=(("direction", DIRECTIONS), ("result", ("success", "timeout", "error"))),
)
PEER_DISCONNECTION_EVENTS = CounterSpec(
    "lean_peer_disconnection_events_total",
    "Connections that ended, by who had dialed and why.",
    labels=("direction", "reason"),
    fixed=(("direction", DIRECTIONS), ("reason", ("timeout", "remote_close", "local_close", "error"))),
)
BLOCK_SIZE = HistogramSpec(
    "lean_gossip_block_size_bytes",
    "Size of gossiped blocks, before decompression.",
    bounds=BLOCK_BOUNDS_BYTES,
)
ATTESTATION_SIZE = HistogramSpec(
    "lean_gossip_attestation_size_bytes",
    "Size of gossiped attestations, before decompression.",
    bounds=ATTESTATION_BOUNDS_BYTES,
)
AGGREGATION_SIZE = HistogramSpec(
    "lean_gossip_aggregation_size_bytes",
    "Size of gossiped aggregations, before decompression.",
    bounds=AGGREGATION_BOUNDS_BYTES,
)
ATTESTATION_SUBNET = GaugeSpec(
    "lean_attestation_committee_subnet",
    "Attestation subnet that the node takes part in.",
    across_workers=Across.MAX,
)
ATTESTATION_COMMITTEES = GaugeSpec(
    "lean_attestation_committee_count",
    "How many attestation committees the network has.",
    across_workers=Across.MAX,
)

FAMILIES: tuple[FamilySpec, ...] = (
    NODE_INFO,
    NODE_START_TIME,
    CONNECTED_PEERS,
    CONNECTED_PEERS_BY_CLIENT,
    MESH_PEERS,
    MESH_PEERS_BY_CLIENT,
    PEER_CONNECTION_EVENTS,
    PEER_DISCONNECTION_EVENTS,
    BLOCK_SIZE,
    ATTESTATION_SIZE,
    AGGREGATION_SIZE,
    ATTESTATION_SUBNET,
    ATTESTATION_COMMITTEES,
)
