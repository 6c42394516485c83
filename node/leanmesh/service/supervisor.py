"""The supervisor of worker processes: which networks each of them runs, and who is replaced when.

It owns no network's state: identities and ports it hands down, the figures it
adds up, and everything else it asks the workers for.
"""

import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import trio

from leanmesh.errors import LocalError, NodeError, RemoteError, ungrouped
from leanmesh.identity.keys import PrivateKey
from leanmesh.metrics import catalog_workers as catalog
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.prime import prime
from leanmesh.metrics.worker_cells import WorkerCells
from leanmesh.service.events import tell
from leanmesh.service.params import NetworkParams, WorkerParams
from leanmesh.service.worker import RestartReason, Worker
from leanmesh.service.worker_messages import Start

LOGGER = logging.getLogger(__name__)

# How often age and messages are compared with the limits of recycling.
WATCH_INTERVAL_S = 1.0


Complete = Callable[[tuple[NetworkParams, ...], Mapping[int, Sequence[str]]], tuple[NetworkParams, ...]]


class AllWorkersFailed(RemoteError):
    """Every worker ended too often; nothing is left to supervise."""


@attrs.define(eq=False)
class WorkerMetrics:
    """What becomes of the workers, in the supervisor's own cells."""

    cells: Cells
    workers: Sequence[Worker] = ()
    is_changed: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        for spec in (catalog.WORKERS, catalog.WORKER_RESTARTS, catalog.WORKER_GAP):
            prime(self.cells, spec)

    def changed(self) -> None:
        """A worker has another state."""
        states = [worker.state for worker in self.workers]
        for state in catalog.WORKER_STATES:
            self.cells.signed_words[self.cells.gauge(catalog.WORKERS, state)] = states.count(state)
        self.is_changed.set()
        self.is_changed = trio.Event()

    def restarted(self, reason: RestartReason) -> None:
        """A process is started in the place of one that ended."""
        self.cells.add(self.cells.counter(catalog.WORKER_RESTARTS, reason))

    def ran_again(self, reason: RestartReason, gap_s: float) -> None:
        """Networks that were down for `gap_s` run again."""
        gap = self.cells.histogram(catalog.WORKER_GAP, reason)
        gap.observe(round(gap_s / catalog.WORKER_GAP.resolution))


@attrs.define(eq=False)
class Supervisor:
    """Workers, each with its share of the networks.

    `command` starts one worker; the numbers of its descriptors and our process
    id are appended.  `settings_for` makes of some networks the settings that a worker is sent;
    `complete` adds before each life what is known by then: the addresses of all networks that have
    run, by id.  `devnet` is the traffic that workers make.
    """

    params: WorkerParams
    networks: Sequence[NetworkParams]
    command: Sequence[str]
    settings_for: Callable[[tuple[NetworkParams, ...]], dict[str, Any]]
    cells: WorkerCells
    own_cells: Cells
    stop_timeout_s: float
    complete: Complete | None = None
    devnet: dict[str, Any] | None = None
    workers: tuple[Worker, ...] = attrs.field(init=False)
    metrics: WorkerMetrics = attrs.field(init=False)
    _keys: dict[int, PrivateKey] = attrs.field(init=False)
    # Workers to recycle, in the order in which that was asked for; one at a time.
    _recycling: dict[int, str] = attrs.field(factory=dict[int, str], init=False)
    # The one that is being replaced: old enough for that until its successor runs.
    _replaced: Worker | None = attrs.field(default=None, init=False)
    _is_asked: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.metrics = WorkerMetrics(self.own_cells)
        self._keys = {
            network.network_id: PrivateKey.generate() for network in self.networks if network.key_file is None
        }
        self.workers = tuple(
            Worker(
                number,
                share,
                self.params,
                self.stop_timeout_s,
                self.command,
                self._make_start,
                self.cells,
                self.metrics,
            )
            for number, share in enumerate(spread(self.networks, self.params.count))
        )
        self.metrics.workers = self.workers
        self.metrics.changed()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep all workers running until cancelled; then stop them cleanly, side by side.

        Started when all networks run; what keeps them from that the first time is
        raised.  AllWorkersFailed when none is left.
        """
        try:
            with ungrouped():
                async with trio.open_nursery() as nursery:
                    async with trio.open_nursery() as loading:
                        for worker in self.workers:
                            loading.start_soon(worker.load)
                    for worker in self.workers:
                        await nursery.start(worker.run)
                    nursery.start_soon(self._recycle_when_asked)
                    nursery.start_soon(self._watch)
                    task_status.started()
                    await self._until_all_failed()
        finally:
            for worker in self.workers:
                await worker.aclose()

    def recycle(self, reason: str, *numbers: int) -> list[int]:
        """Have workers replaced by fresh processes, one after the other; without numbers, all.

        Returns at once, with the numbers of those that will be.  LocalError when there is no such worker.
        """
        chosen = list(numbers or range(len(self.workers)))
        unknown = [number for number in chosen if not 0 <= number < len(self.workers)]
        if unknown:
            raise LocalError(f"there is no worker {unknown[0]}; there are 0 to {len(self.workers) - 1}")
        for number in chosen:
            self._recycling.setdefault(number, reason)
        self._is_asked.set()
        return chosen

    def reasons(self) -> list[str]:
        """Why the node is not ready, a sentence for each worker in trouble; nothing when it is."""
        return [trouble for worker in self.workers if (trouble := worker.trouble()) is not None]

    async def listen_for_hangup(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Recycle all workers whenever SIGHUP arrives."""
        with trio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                self.recycle("SIGHUP")

    def _make_start(self, worker: Worker) -> Start:
        networks = worker.networks
        ids = {network.network_id for network in networks}
        if self.complete is not None:
            known = {facts.network_id: facts.listen for other in self.workers for facts in other.facts}
            networks = self.complete(networks, known)
        return Start(
            self.settings_for(networks),
            {str(number): key.encode().hex() for number, key in self._keys.items() if number in ids},
            self.devnet,
        )

    async def _until_all_failed(self) -> None:
        while any(worker.state != "failed" for worker in self.workers):
            await self.metrics.is_changed.wait()
        raise AllWorkersFailed(
            "every worker was given up; the last words: "
            + "; ".join(worker.detail for worker in self.workers)
        )

    async def _recycle_when_asked(self) -> None:
        while True:
            await self._is_asked.wait()
            self._is_asked = trio.Event()
            while self._recycling:
                number = next(iter(self._recycling))
                # Taken out first: who asks from now on means the process that is about to start.
                await self._recycle(self.workers[number], self._recycling.pop(number))

    async def _recycle(self, worker: Worker, reason: str) -> None:
        tell("worker_recycled", f"{worker.name} is recycled: {reason}", worker=worker.number, reason=reason)
        self._replaced = worker
        try:
            await worker.recycle()
        except NodeError as error:
            # What went wrong is in the message; where in this program tells nobody more.
            LOGGER.error("%s cannot be recycled and goes on: %s", worker.name, error)  # noqa: TRY400
        finally:
            self._replaced = None

    async def _watch(self) -> None:
        """Recycle workers that have lived, or received, as much as the settings allow."""
        while True:
            await trio.sleep(WATCH_INTERVAL_S)
            for worker in self.workers:
                reason = worker.reason_to_recycle()
                if reason is not None and worker is not self._replaced:
                    self.recycle(reason, worker.number)


def spread(networks: Sequence[NetworkParams], count: int) -> list[tuple[NetworkParams, ...]]:
    """Networks in turns to `count` workers, each whole.  LocalError when some would have none."""
    if not 1 <= count <= len(networks):
        raise LocalError(
            f"{count} workers for {len(networks)} networks: there must be at least one of each, and each "
            "network runs whole in one worker"
        )
    return [tuple(networks[number::count]) for number in range(count)]
