"""The catalog, part four: worker processes, and what became of their cells.

The supervisor stores the families of worker processes in cells of its own;
those of the cells come from the aggregation (worker_metrics.py).
"""

from leanmesh.metrics.family import CounterSpec, FamilySpec, GaugeSpec, HistogramSpec

NANOSECOND = 1e-9
WORKER_STATES = ("starting", "running", "stopping", "waiting", "failed")
RESTART_REASONS = ("crashed", "recycled")
# From the end of one process to the networks of the next one: a fork and a few dials, or a long back-off.
GAP_BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
TORN_REASONS = ("busy", "killed")
SKIPPED_REASONS = ("abi", "unreadable", "shape", "repeated", "forgotten")

WORKERS = GaugeSpec(
    "leanmesh_workers",
    "Worker processes by state. waiting: ended, and started again after a back-off; failed: ended too often,"
    " nothing starts it again. The networks of both are down.",
    labels=("state",),
    fixed=(("state", WORKER_STATES),),
)
WORKER_RESTARTS = CounterSpec(
    "leanmesh_worker_restarts_total",
    "Worker processes that were started in the place of one that ended: crashed, by itself or by a signal; "
    "recycled, on purpose.",
    labels=("reason",),
    fixed=(("reason", RESTART_REASONS),),
)
WORKER_GAP = HistogramSpec(
    "leanmesh_worker_gap_seconds",
    "Time from the end of a worker process until the networks of the next one were running.",
    labels=("reason",),
    bounds=GAP_BOUNDS_S,
    resolution=NANOSECOND,
    fixed=(("reason", RESTART_REASONS),),
)
WORKER_HEARTBEAT_AGE = GaugeSpec(
    "leanmesh_worker_heartbeat_age_seconds",
    "Time since the loop of this worker last went round, or since it was started. Above a few seconds: it is "
    "stuck, and everything it counts stands still.",
    labels=("worker",),
)
WORKER_CPU = CounterSpec(
    "leanmesh_worker_cpu_seconds_total",
    "CPU time, user and system, of this worker's processes one after the other; process_cpu_seconds_total is "
    "the supervisor's. Near 1 per second: one more worker, or fewer networks in this one.",
    labels=("worker",),
)
WORKER_RESIDENT = GaugeSpec(
    "leanmesh_worker_resident_memory_bytes",
    "Memory that this worker's process holds, in bytes. None while no process of it runs.",
    labels=("worker",),
)
WORKER_OPEN_FDS = GaugeSpec(
    "leanmesh_worker_open_fds",
    "Descriptors that this worker's process has open. None while no process of it runs.",
    labels=("worker",),
)
CELLS_TORN = CounterSpec(
    "leanmesh_cells_torn_total",
    "Histograms that were caught half written: busy, its last whole values were shown instead; killed, its "
    "writer died inside and what was there was kept, so one observation may lack its sum.",
    labels=("reason",),
    fixed=(("reason", TORN_REASONS),),
)
CELLS_SKIPPED = CounterSpec(
    "leanmesh_cells_skipped_total",
    "What was left out when the cells of workers were added up: abi, a block of another version's layout; "
    "unreadable, a broken block; shape, a family that has other labels or buckets elsewhere; repeated, a "
    "block that had been added before; forgotten, label sets that no worker has had for long, to make room.",
    labels=("reason",),
    fixed=(("reason", SKIPPED_REASONS),),
)

FAMILIES: tuple[FamilySpec, ...] = (
    WORKERS,
    WORKER_RESTARTS,
    WORKER_GAP,
    WORKER_HEARTBEAT_AGE,
    WORKER_CPU,
    WORKER_RESIDENT,
    WORKER_OPEN_FDS,
    CELLS_TORN,
    CELLS_SKIPPED,
)
