"""The catalog, part two: gossipsub, under the names that implementations are agreeing on (libp2p/specs 695).

Each family carries the network's id first, because one process may run several
networks with topics of the same name.
"""

from leanmesh.metrics.family import CounterSpec, FamilySpec, GaugeSpec, HistogramSpec

NANOSECOND = 1e-9
TOPIC = ("network_id", "topic")
DIRECTION = (("direction", ("inbound", "outbound")),)

# A heartbeat does a few microseconds of work for each topic and is due every 700 ms or 1 s.
HEARTBEAT_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)

INCLUSION_REASONS = ("subscribed", "random", "outbound", "fanout", "opportunistic", "grafted_by_peer")
CHURN_REASONS = ("disconnected", "bad_score", "pruned_by_peer", "unsubscribed", "excess")
INVALID_REASONS = ("decode", "policy", "signature", "size")
PENALTIES_BY_KIND = (
    "invalid_message",
    "graft_in_backoff",
    "graft_flood",
    "graft_direct",
    "broken_promise",
    "ihave_flood",
    "iwant_flood",
    "iwant_unsolicited",
    "idontwant_flood",
    "subscription_flood",
)

TOPIC_SUBSCRIPTION_STATUS = GaugeSpec(
    "gossipsub_topic_subscription_status",
    "1 while we subscribe to the topic, 0 after we left it.",
    labels=TOPIC,
)
TOPIC_PEERS = GaugeSpec(
    "gossipsub_topic_peers_counts",
    "Connected peers that subscribe to the topic: those the mesh can be chosen from.",
    labels=TOPIC,
)
MESH_PEERS = GaugeSpec(
    "gossipsub_mesh_peer_counts",
    "Peers in the topic's mesh. Healthy between mesh_low and mesh_high; below that with enough "
    "gossipsub_topic_peers_counts, peers refuse our GRAFTs or score badly.",
    labels=TOPIC,
)
PEERS_PER_PROTOCOL = GaugeSpec(
    "gossipsub_peers_per_protocol",
    "Connected peers by the protocol version that was agreed on.",
    labels=("network_id", "protocol"),
)
MESH_INCLUSIONS = CounterSpec(
    "gossipsub_mesh_peer_inclusion_events_total",
    "Peers that entered the mesh, by why: subscribed, when we joined; random, to fill up; outbound, to "
    "have enough that we dialed; fanout, known from publishing; opportunistic, better than what we had; "
    "grafted_by_peer, it asked.",
    labels=(*TOPIC, "reason"),
    fixed=(("reason", INCLUSION_REASONS),),
    series_limit=300 * len(INCLUSION_REASONS),
)
MESH_CHURN = CounterSpec(
    "gossipsub_mesh_peer_churn_events_total",
    "Peers that left the mesh, by why. A steady rate of pruned_by_peer: their meshes are full; of excess:"
    " ours is.",
    labels=(*TOPIC, "reason"),
    fixed=(("reason", CHURN_REASONS),),
    series_limit=300 * len(CHURN_REASONS),
)
RECEIVED_UNFILTERED = CounterSpec(
    "gossipsub_topic_msg_recv_counts_unfiltered_total",
    "Copies of messages that peers sent us, duplicates included.",
    labels=TOPIC,
)
RECEIVED = CounterSpec(
    "gossipsub_topic_msg_recv_counts_total",
    "Messages received for the first time.",
    labels=TOPIC,
)
RECEIVED_BYTES = CounterSpec(
    "gossipsub_topic_msg_recv_bytes_total",
    "Bytes of all copies that peers sent us.",
    labels=TOPIC,
)
ACCEPTED = CounterSpec(
    "gossipsub_accepted_messages_total",
    "Messages that passed validation: delivered and relayed.",
    labels=TOPIC,
)
IGNORED = CounterSpec(
    "gossipsub_ignored_messages_total",
    "Messages that validation set aside: neither relayed nor held against the sender.",
    labels=TOPIC,
)
REJECTED = CounterSpec(
    "gossipsub_rejected_messages_total",
    "Messages that validation found invalid; their senders lose score.",
    labels=TOPIC,
)
DUPLICATES = CounterSpec(
    "gossipsub_duplicate_messages_total",
    "Copies of messages that we had already. Against gossipsub_topic_msg_recv_counts_total it is the "
    "price of the mesh: about mesh size minus one for small messages, less where IDONTWANT works.",
    labels=TOPIC,
)
USEFUL_BYTES = CounterSpec(
    "gossipsub_topic_msg_recv_useful_bytes_total",
    "Bytes of the copies that were the first of their message. Divided by "
    "gossipsub_topic_msg_recv_bytes_total: the share of what we receive that tells us something.",
    labels=TOPIC,
)
SPARED = CounterSpec(
    "gossipsub_idontwant_spared_messages_total",
    "Copies that we did not send because the peer had said IDONTWANT.",
    labels=TOPIC,
)
SPARED_BYTES = CounterSpec(
    "gossipsub_idontwant_spared_bytes_total",
    "Bytes of those copies: what IDONTWANT saved us to send. Copies that were queued already when the peer"
    " said it are leanmesh_outbox_dropped_total{reason=withdrawn} instead.",
    labels=TOPIC,
)
CROSSED = CounterSpec(
    "gossipsub_idontwant_crossed_messages_total",
    "Copies that came although we had said IDONTWANT for them to that peer: they were on the way. What "
    "gossipsub_idontwant_ids_total{direction=outbound} has more than this is what it may have saved us to "
    "receive.",
    labels=TOPIC,
)
INVALID = CounterSpec(
    "gossipsub_invalid_messages_total",
    "Messages that were refused before a validator saw them, by what was wrong.",
    labels=("network_id", "reason"),
    fixed=(("reason", INVALID_REASONS),),
)
PUBLISHED = CounterSpec(
    "gossipsub_topic_msg_published_total",
    "Messages that this node published itself.",
    labels=TOPIC,
)
SENT = CounterSpec(
    "gossipsub_topic_msg_sent_counts_total",
    "Copies of messages written to peers, our own and relayed ones.",
    labels=TOPIC,
)
SENT_BYTES = CounterSpec(
    "gossipsub_topic_msg_sent_bytes_total",
    "Bytes of those copies.",
    labels=TOPIC,
)
IHAVE_IDS = CounterSpec(
    "gossipsub_ihave_ids_total",
    "Message ids that were offered in IHAVE.",
    labels=("network_id", "direction"),
    fixed=DIRECTION,
)
IWANT_IDS = CounterSpec(
    "gossipsub_iwant_ids_total",
    "Message ids that were asked for in IWANT. Many outbound ones: the mesh does not bring us everything.",
    labels=("network_id", "direction"),
    fixed=DIRECTION,
)
IDONTWANT_IDS = CounterSpec(
    "gossipsub_idontwant_ids_total",
    "Message ids that were declined in IDONTWANT, each a copy that need not be sent.",
    labels=("network_id", "direction"),
    fixed=DIRECTION,
)
IWANT_PROMISES = CounterSpec(
    "gossipsub_iwant_promises_total",
    "Messages that peers had offered and we had asked for, by whether they came in time.",
    labels=("network_id", "outcome"),
    fixed=(("outcome", ("kept", "broken")),),
)
PENALTIES = CounterSpec(
    "gossipsub_scoring_penalties_total",
    "Times that a peer lost score, by what for.",
    labels=("network_id", "penalty"),
    fixed=(("penalty", PENALTIES_BY_KIND),),
)
PEERS_BY_SCORE = GaugeSpec(
    "gossipsub_peers_by_score",
    "Connected peers by the band of their score.",
    labels=("network_id", "band"),
)
HEARTBEAT_DURATION = HistogramSpec(
    "gossipsub_heartbeat_duration_seconds",
    "Time that one heartbeat worked; no message moves meanwhile.",
    labels=("network_id",),
    bounds=HEARTBEAT_BOUNDS_S,
    resolution=NANOSECOND,
)
HEARTBEAT_LATENESS = HistogramSpec(
    "gossipsub_heartbeat_lateness_seconds",
    "How late a heartbeat began. More than a few milliseconds: the process has too little CPU.",
    labels=("network_id",),
    bounds=HEARTBEAT_BOUNDS_S,
    resolution=NANOSECOND,
)
RPCS = CounterSpec(
    "gossipsub_rpcs_total",
    "Gossipsub frames read and written. Messages per frame tell how well writes are coalesced.",
    labels=("network_id", "direction"),
    fixed=DIRECTION,
)
RPC_BYTES = CounterSpec(
    "gossipsub_rpc_bytes_total",
    "Bytes of those frames, before encryption.",
    labels=("network_id", "direction"),
    fixed=DIRECTION,
)
RPCS_REFUSED = CounterSpec(
    "gossipsub_rpcs_refused_total",
    "Frames that broke a limit or could not be read, by what was wrong. Their senders were disconnected.",
    labels=("network_id", "reason"),
)
EMPTY_FRAMES = CounterSpec(
    "gossipsub_empty_frames_total",
    "Frames of length zero that peers sent. They say nothing and are skipped; a steady rate is a peer that "
    "wastes our time.",
    labels=("network_id",),
)
MCACHE_MESSAGES = GaugeSpec(
    "gossipsub_mcache_messages",
    "Messages kept to answer IWANT.",
    labels=("network_id",),
)
SEEN_IDS = GaugeSpec(
    "gossipsub_seen_ids",
    "Message ids remembered to recognise duplicates.",
    labels=("network_id",),
)

FAMILIES: tuple[FamilySpec, ...] = (
    TOPIC_SUBSCRIPTION_STATUS,
    TOPIC_PEERS,
    MESH_PEERS,
    PEERS_PER_PROTOCOL,
    MESH_INCLUSIONS,
    MESH_CHURN,
    RECEIVED_UNFILTERED,
    RECEIVED,
    RECEIVED_BYTES,
    ACCEPTED,
    IGNORED,
    REJECTED,
    DUPLICATES,
    USEFUL_BYTES,
    SPARED,
    SPARED_BYTES,
    CROSSED,
    INVALID,
    PUBLISHED,
    SENT,
    SENT_BYTES,
    IHAVE_IDS,
    IWANT_IDS,
    IDONTWANT_IDS,
    IWANT_PROMISES,
    PENALTIES,
    PEERS_BY_SCORE,
    HEARTBEAT_DURATION,
    HEARTBEAT_LATENESS,
    RPCS,
    RPC_BYTES,
    RPCS_REFUSED,
    EMPTY_FRAMES,
    MCACHE_MESSAGES,
    SEEN_IDS,
)
