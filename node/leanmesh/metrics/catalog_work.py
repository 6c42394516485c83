"""The catalog, the part of the collector: what the node spent its time on."""

from leanmesh.metrics.family import CounterSpec, FamilySpec, GaugeSpec

NANOSECOND = 1e-9

# Where work is done.  Whatever names another source is counted as UNKNOWN.
SOURCES = ("gossip", "publish", "validation", "gossip_recovery", "reqresp", "api")
UNKNOWN = "unknown"

# Every source with all its operations in every topic class, many times over.
WORK_SERIES_LIMIT = 1024

WORK = CounterSpec(
    "leanmesh_work_total",
    "Things that were done, by where (source), for which class of topics, and what (op). "
    "docs/collector.md lists the operations.",
    labels=("source", "topic_class", "op"),
    series_limit=WORK_SERIES_LIMIT,
)
WORK_SECONDS = CounterSpec(
    "leanmesh_work_seconds_total",
    "Time spent on them. Its rate is a share of one core where the work does not wait; async validators, "
    "requests, their answers and HTTP pages include what they wait for.",
    labels=("source", "topic_class", "op"),
    resolution=NANOSECOND,
    series_limit=WORK_SERIES_LIMIT,
)
RETAINED = GaugeSpec(
    "leanmesh_collector_retained",
    "Things done that their producer still holds. They are in leanmesh_work_total already; far above the "
    "hundreds, the collector does not get its turn.",
    labels=("source",),
    fixed=(("source", (*SOURCES, UNKNOWN)),),
)

FAMILIES: tuple[FamilySpec, ...] = (WORK, WORK_SECONDS, RETAINED)
