"""The catalog, part three: leanmesh's own families, about the node and its bookkeeping."""

from leanmesh.metrics.family import CounterSpec, FamilySpec, GaugeSpec, HistogramSpec

NANOSECOND = 1e-9

# Refreshes, handshakes, lateness: from what is free to what an operator must look at.
REFRESH_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
LATENESS_BOUNDS_S = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
HANDSHAKE_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Ways of not answering identify.
SILENCE_REASONS = ("timeout", "refused", "empty")
# What turns connections and streams away: names of parameters, and the machine's descriptors.
TRANSPORT_LIMITS = (
    "connections_limit",
    "connections_per_ip_limit",
    "connections_per_peer_limit",
    "handshakes_limit",
    "descriptors",
    "inbound_streams_limit",
    "inbound_streams_per_s",
    "receive_limit_bytes",
)
BOUNDARIES = ("inbound", "delivery", "outbound")
TRANSPORTS = ("tcp", "quic", "memory")
TRANSPORT_DIRECTIONS = (("transport", TRANSPORTS), ("direction", ("inbound", "outbound")))

SNAPSHOT_GENERATION = GaugeSpec(
    "leanmesh_snapshot_generation",
    "Number of the snapshot that this page shows; it rises by one with each refresh. Two answers with one"
    " generation show the same instant. 0: nothing has been read yet.",
)
SNAPSHOT_AGE = GaugeSpec(
    "leanmesh_snapshot_age_seconds",
    "Age of the snapshot when this page was asked for. Above 2 s, look at leanmesh_source_errors_total "
    "and at leanmesh_loop_lateness_seconds: everything else on the page is that old.",
)
SNAPSHOT_REFRESH = HistogramSpec(
    "leanmesh_snapshot_refresh_seconds",
    "Time that one refresh of the snapshot took; the node's loop stands still for as long.",
    bounds=REFRESH_BOUNDS_S,
)
SOURCE_ERRORS = CounterSpec(
    "leanmesh_source_errors_total",
    "Refreshes in which this source of families raised. The snapshot before stays, so a source that keeps"
    " raising makes the whole page old.",
    labels=("source",),
)
REFRESHER_ERRORS = CounterSpec(
    "leanmesh_refresher_errors_total",
    "Calls of this refresher that raised. The values it keeps up to date are older than they look.",
    labels=("refresher",),
)
CONTAINED_ERRORS = CounterSpec(
    "leanmesh_contained_errors_total",
    "Exceptions of callables that were handed to the node (validators, observers, sinks). The log has a "
    "trace of each kind of them, and a line a minute for one that goes on; the node went on. source:NAME: a "
    "source of figures inside a worker process raised, and what that worker keeps outside its cells stands "
    "still until it does not.",
    labels=("callable",),
)
SERIES_DROPPED = CounterSpec(
    "leanmesh_series_dropped_total",
    "Times that a label set of this family had to be counted under `other`, because the family had "
    "reached its bound.",
    labels=("family",),
)
CELLS_LATE_WRITES = CounterSpec(
    "leanmesh_cells_late_writes_total",
    "Cells that somebody still wrote to after their label set had ended. Each is a bug in what counts there; "
    "no other series was touched.",
)
OBSERVATIONS_REFUSED = CounterSpec(
    "leanmesh_observations_refused_total",
    "Observations lost because several threads met in one histogram for too long.",
)

NETWORK_MESH_PEERS = GaugeSpec(
    "leanmesh_network_mesh_peers",
    "Distinct peers in any mesh of this network. Their sum is lean_gossip_mesh_peers.",
    labels=("network_id",),
    series_limit=64,
)
NETWORK_RUNNING = GaugeSpec(
    "leanmesh_network_running",
    "1 while the network runs, 0 after it stopped.",
    labels=("network_id",),
    series_limit=64,
)
MESSAGES = CounterSpec(
    "leanmesh_messages_total",
    "What became of the messages at each boundary: inbound, what peers sent; delivery, what subscriptions"
    " were given; outbound, copies put into outboxes. At one boundary the outcomes exclude each other, so"
    " their sum is what came in.",
    labels=("boundary", "outcome"),
)
MESSAGES_BALANCE = GaugeSpec(
    "leanmesh_messages_balance",
    "What came in at the boundary minus everything that became of it. Always 0; anything else is lost or "
    "counted twice, and a bug.",
    labels=("boundary",),
    fixed=(("boundary", BOUNDARIES),),
)
OUTBOX_MESSAGES = GaugeSpec(
    "leanmesh_outbox_messages",
    "Messages that wait to be written, over all peers. Growing means that peers read more slowly than we "
    "relay.",
    labels=("priority",),
)
OUTBOX_BYTES = GaugeSpec(
    "leanmesh_outbox_bytes",
    "Bytes that wait to be written, over all peers.",
    labels=("priority",),
)
OUTBOX_DROPPED = CounterSpec(
    "leanmesh_outbox_dropped_total",
    "Copies that left an outbox unwritten: full, it had no room; expired, they had waited too long; "
    "withdrawn, the peer said that it has the message; peer_gone, the connection ended.",
    labels=("reason",),
    fixed=(("reason", ("full", "expired", "withdrawn", "peer_gone")),),
)
SUBSCRIPTION_DROPPED = CounterSpec(
    "leanmesh_subscription_dropped_total",
    "Accepted messages that a subscription lost because its consumer was too slow, by the policy that "
    "chose which one.",
    labels=("topic", "policy"),
)
CONNECTIONS = GaugeSpec(
    "leanmesh_connections",
    "Open connections. Inbound 0 for hours: peers cannot reach the address that we announce.",
    labels=("transport", "direction"),
    fixed=TRANSPORT_DIRECTIONS,
)
DIALS = CounterSpec(
    "leanmesh_dials_total",
    "Connections that we tried to open, by how that ended.",
    labels=("transport", "result"),
    fixed=(("transport", TRANSPORTS), ("result", ("success", "timeout", "error"))),
)
HANDSHAKE = HistogramSpec(
    "leanmesh_handshake_seconds",
    "Time from the open socket to a secured, multiplexed connection.",
    labels=("transport", "direction"),
    bounds=HANDSHAKE_BOUNDS_S,
    resolution=NANOSECOND,
    fixed=TRANSPORT_DIRECTIONS,
)
TRANSPORT_BYTES = CounterSpec(
    "leanmesh_transport_bytes_total",
    "Bytes on the wire, encryption and framing included; compare with gossipsub_rpc_bytes_total for their"
    " cost.",
    labels=("transport", "direction"),
    fixed=TRANSPORT_DIRECTIONS,
)
TRANSPORT_REFUSED = CounterSpec(
    "leanmesh_transport_refused_total",
    "Connections and streams that a limit turned away, by its name in the settings. connections_limit counts "
    "dials of ours as well; connections_per_peer_limit, the oldest connection that made room for a new one; "
    "descriptors, pauses of 0.1 s in accepting while the process had none left, see process_max_fds.",
    labels=("limit",),
    fixed=(("limit", TRANSPORT_LIMITS),),
)
IDENTIFY_SILENT = CounterSpec(
    "leanmesh_identify_silent_total",
    "Peers that did not say who they are when they were asked: timeout, refused or reset the stream, empty. "
    "The connection lives on; what the peer speaks is asked stream by stream.",
    labels=("reason",),
    fixed=(("reason", SILENCE_REASONS),),
)
PINGS_REFUSED = CounterSpec(
    "leanmesh_ping_streams_refused_total",
    "Streams for pings that were reset because their peer had two already.",
)
HTTP_REFUSED = CounterSpec(
    "leanmesh_http_connections_refused_total",
    "Connections to the HTTP server that were answered 503, or closed, because connections_limit others were"
    " open: this page was not there for somebody.",
)
LOOP_LATENESS = HistogramSpec(
    "leanmesh_loop_lateness_seconds",
    "How late the loop woke a task that waited for a fixed time. The first sign of a node with too much "
    "to do: heartbeats and timeouts are late by as much.",
    bounds=LATENESS_BOUNDS_S,
    resolution=NANOSECOND,
)

FAMILIES: tuple[FamilySpec, ...] = (
    SNAPSHOT_GENERATION,
    SNAPSHOT_AGE,
    SNAPSHOT_REFRESH,
    SOURCE_ERRORS,
    REFRESHER_ERRORS,
    CONTAINED_ERRORS,
    SERIES_DROPPED,
    CELLS_LATE_WRITES,
    OBSERVATIONS_REFUSED,
    NETWORK_MESH_PEERS,
    NETWORK_RUNNING,
    MESSAGES,
    MESSAGES_BALANCE,
    OUTBOX_MESSAGES,
    OUTBOX_BYTES,
    OUTBOX_DROPPED,
    SUBSCRIPTION_DROPPED,
    CONNECTIONS,
    DIALS,
    HANDSHAKE,
    TRANSPORT_BYTES,
    TRANSPORT_REFUSED,
    IDENTIFY_SILENT,
    PINGS_REFUSED,
    HTTP_REFUSED,
    LOOP_LATENESS,
)
