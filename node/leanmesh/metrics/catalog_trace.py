"""The catalog, part five: the trace of events in a file, and what it lost."""

from leanmesh.metrics.family import CounterSpec, FamilySpec

TRACE_LINES = CounterSpec(
    "leanmesh_trace_lines_total",
    "Lines of the trace: written; queue_full, dropped because the disk was too slow; file_full, dropped "
    "because the file has reached its limit; failed, dropped because the disk refused them.",
    labels=("outcome",),
    fixed=(("outcome", ("written", "queue_full", "file_full", "failed")),),
)

FAMILIES: tuple[FamilySpec, ...] = (TRACE_LINES,)
