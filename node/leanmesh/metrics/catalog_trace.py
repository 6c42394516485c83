"""The catalog, part five: the trace of events in a file, and the recordings for a replay; what they lost."""

from leanmesh.metrics.family import CounterSpec, FamilySpec

TRACE_LINES = CounterSpec(
    "leanmesh_trace_lines_total",
    "Lines of the trace: written; queue_full, dropped because the disk was too slow; file_full, dropped "
    "because the file has reached its limit; failed, dropped because the disk refused them.",
    labels=("outcome",),
    fixed=(("outcome", ("written", "queue_full", "file_full", "failed")),),
)

RECORD_LINES = CounterSpec(
    "leanmesh_record_lines_total",
    "Lines of the recordings that can be replayed: written; queue_full, file_full, failed: lost because the "
    "disk was too slow, the file has reached its limit, the disk refused them. A loss ends its recording, "
    "and what comes after it is not counted.",
    labels=("outcome",),
    fixed=(("outcome", ("written", "queue_full", "file_full", "failed")),),
)

FAMILIES: tuple[FamilySpec, ...] = (TRACE_LINES, RECORD_LINES)
