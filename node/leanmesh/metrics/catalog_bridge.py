"""The catalog, part seven: sinks, through which messages leave for an engine beyond this machine."""

from leanmesh.metrics.family import CounterSpec, FamilySpec, GaugeSpec

SINK_OUTCOMES = (
    "acked",
    "dropped_oldest",
    "dropped_newest",
    "too_large",
    "refused",
    "failed",
    "stopped",
    "unsure",
)

SINK_MESSAGES = CounterSpec(
    "leanmesh_sink_messages_total",
    "What became of the messages that this sink was given: acked, the engine has them; dropped_oldest and "
    "dropped_newest, the queue was full; too_large and refused, the engine will not have them; failed, the "
    "sink's callable raised; stopped, still queued when the sink ended; unsure, handed to the engine and not "
    "acknowledged when the sink ended.",
    labels=("sink", "outcome"),
)
SINK_BALANCE = GaugeSpec(
    "leanmesh_sink_balance",
    "What the sink was given minus what became of it, what waits and what is in flight. Always 0; anything "
    "else is lost or counted twice, and a bug.",
    labels=("sink",),
)
SINK_QUEUE = GaugeSpec(
    "leanmesh_sink_queue",
    "Messages that wait for the sink. Growing means that the engine takes less than the mesh delivers, or "
    "nothing at all: see leanmesh_sink_connected.",
    labels=("sink",),
)
SINK_QUEUE_BYTES = GaugeSpec(
    "leanmesh_sink_queue_bytes",
    "Bytes that wait for the sink.",
    labels=("sink",),
)
SINK_IN_FLIGHT = GaugeSpec(
    "leanmesh_sink_in_flight",
    "Messages that were handed to the engine, which has not said yet that it has them.",
    labels=("sink",),
)
SINK_CONNECTED = GaugeSpec(
    "leanmesh_sink_connected",
    "1 while the sink can reach its engine, 0 while it cannot: the queue fills meanwhile.",
    labels=("sink",),
)
SINK_REPUBLISHED = CounterSpec(
    "leanmesh_sink_republished_total",
    "Messages that were sent again because the connection was lost before the engine had acknowledged them.",
    labels=("sink",),
)
SINK_DUPLICATES = CounterSpec(
    "leanmesh_sink_duplicates_total",
    "Acknowledged messages that the engine had already: sent again by us, or first by another node. They "
    "are among those acked.",
    labels=("sink",),
)

FAMILIES: tuple[FamilySpec, ...] = (
    SINK_MESSAGES,
    SINK_BALANCE,
    SINK_QUEUE,
    SINK_QUEUE_BYTES,
    SINK_IN_FLIGHT,
    SINK_CONNECTED,
    SINK_REPUBLISHED,
    SINK_DUPLICATES,
)
