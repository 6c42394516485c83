"""One worker, process after process: it begins, runs, ends one way or another, and is started again.

The networks of a worker are the same in every life: same ids, same keys, and
from the first life on the same ports.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, Protocol

import attrs
import trio

from leanmesh.errors import LocalError, NodeError, RemoteError
from leanmesh.metrics.worker_cells import WorkerCells
from leanmesh.service.events import tell
from leanmesh.service.params import NetworkParams, WorkerParams
from leanmesh.service.worker_life import Life, Unanswered
from leanmesh.service.worker_messages import (
    Answer,
    BadMessage,
    Failed,
    Hello,
    Message,
    NetworkFacts,
    Ready,
    Start,
    Stopped,
)
from leanmesh.service.worker_process import WorkerProcess, end_text

State = Literal["starting", "running", "stopping", "waiting", "failed"]
RestartReason = Literal["crashed", "recycled"]

# What a clean stop may take beyond the networks' own deadline.
STOP_GRACE_S = 2.0
# No pause is doubled more often: the limit was reached long before.
BACK_OFF_DOUBLINGS = 32


class WorkerFailed(RemoteError):
    """A worker did not get its networks to run."""


class WorkerObserver(Protocol):
    """Who is told what becomes of workers."""

    def changed(self) -> None:
        """A worker has another state."""
        ...

    def restarted(self, reason: RestartReason) -> None:
        """A process is started in the place of one that ended."""
        ...

    def ran_again(self, reason: RestartReason, gap_s: float) -> None:
        """Networks that were down for `gap_s` run again."""
        ...


@attrs.frozen
class End:
    """How a life ended.  `ran_s` is 0 when its networks never ran."""

    ran_s: float
    is_recycled: bool
    down_since_s: float
    error: NodeError


@attrs.define(eq=False)
class Worker:
    """One worker: a number, its networks, and the processes that run them one after the other."""

    number: int
    networks: tuple[NetworkParams, ...]
    params: WorkerParams
    stop_timeout_s: float
    command: Sequence[str]
    make_start: "Callable[[Worker], Start]"
    cells: WorkerCells
    observer: WorkerObserver
    facts: tuple[NetworkFacts, ...] = attrs.field(default=(), init=False)
    """The networks as they ran last."""
    restarts: int = attrs.field(default=0, init=False)
    life: Life | None = attrs.field(default=None, init=False)
    detail: str = attrs.field(default="", init=False)
    """How the last process ended, when it ended by itself."""
    state: State = attrs.field(default="starting", init=False)
    _failures: int = attrs.field(default=0, init=False)
    # What the processes that have ended had used.
    _retired_cpu_s: float = attrs.field(default=0.0, init=False)
    _spare: WorkerProcess | None = attrs.field(default=None, init=False)
    _loading: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    # Set when somebody wants the networks to run now, whatever the back-off.
    _wanted: trio.Event = attrs.field(factory=trio.Event, init=False)
    # Set when the networks run, or do not although they were started.
    _settled: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def name(self) -> str:
        """What it is called where people read: with its networks, for those are what they miss."""
        ids = ", ".join(str(network.network_id) for network in self.networks)
        return f"worker {self.number} (network{'s' if len(self.networks) > 1 else ''} {ids})"

    @property
    def heartbeat_age_s(self) -> float | None:
        """Seconds since its loop last went round; None while no process of it runs."""
        return None if self.life is None else self.life.handle.heartbeat_age_s

    @property
    def living_pid(self) -> int | None:
        """The process that runs its networks, if it has not ended."""
        return None if self.life is None or self.life.process.has_ended else self.life.process.pid

    @property
    def cpu_s(self) -> float:
        """CPU time of all processes that ran its networks, one after the other.  It never falls."""
        return self._retired_cpu_s + (0.0 if self.life is None else self.life.process.cpu_s)

    def trouble(self) -> str | None:
        """Why its networks do not do their work, as a sentence; None when they do."""
        age_s = self.heartbeat_age_s
        if age_s is not None and age_s > self.params.heartbeat_limit_s:
            return f"{self.name} is stuck: its last heartbeat is {age_s:.1f} s old"
        if self.state != "running":
            return f"{self.name} is {self.state}{': ' if self.detail else ''}{self.detail}"
        return None

    async def ask(self, path: str) -> dict[str, Any]:
        """Its answer to a question of the API.  Unanswered, with the reason, if there is none in time."""
        trouble = self.trouble()
        if self.life is None or trouble is not None:
            raise Unanswered(trouble or f"{self.name} does not run")
        timeout_s = self.params.answer_timeout_s
        with trio.move_on_after(timeout_s):
            return await self.life.ask(path)
        raise Unanswered(f"{self.name} did not answer within {timeout_s:g} s")

    def reason_to_recycle(self) -> str | None:
        """Why it has lived long enough by the settings; None while it has not."""
        life, params = self.life, self.params
        if life is None or life.ready_at_s is None or self.state != "running":
            return None
        age_s = trio.current_time() - life.ready_at_s
        if 0 < params.recycle_after_s <= age_s:
            return f"it has run for {age_s:.0f} s"
        if params.recycle_after_messages:
            messages = life.messages_received()
            if messages >= params.recycle_after_messages:
                return f"it has received {messages} messages"
        return None

    # What the supervisor does.

    async def load(self) -> None:
        """Begin to load a process; what keeps it from that is said by `run`, which tries again."""
        with contextlib.suppress(NodeError):
            await self._warm_up()

    async def _warm_up(self) -> None:
        """Have a process ready to start the networks.  What keeps it from that is raised here."""
        # A worker may end while its successor is loading: that one is its successor all the same.
        async with self._loading:
            if self._spare is None:
                self._spare = await self._new_process()

    async def recycle(self) -> None:
        """Replace the process by a fresh one; one that waits or was given up is started now.

        Returns when the networks run again, or cannot.  When there is no fresh
        process to be had, the old one goes on and the reason is raised.
        """
        life = self.life
        if life is not None:
            # Loaded before the old one stops: so the networks are down for as short as can be.
            await self._warm_up()
        self._settled = trio.Event()
        if life is None or life is self.life:
            if life is not None:
                life.is_stop_asked.set()
            self._wanted.set()
            await self._settled.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the networks running until cancelled; then they are stopped cleanly.

        Started when they run for the first time.  What keeps them from that is
        raised; later it is a crash like any other.
        """
        try:
            end = await self._live(task_status.started)
            if not end.ran_s:
                raise end.error
            while True:
                down_since_s, reason = end.down_since_s, await self._pause(end)
                while True:
                    self.restarts += 1
                    self.observer.restarted(reason)
                    end = await self._live(partial(self._ran_again, reason, down_since_s))
                    if end.ran_s:
                        break
                    await self._pause(end)
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Give back a process that was never needed."""
        if self._spare is not None:
            spare, self._spare = self._spare, None
            await spare.aclose()

    # One life.

    async def _live(self, on_ready: Callable[[], None]) -> End:
        """Run the networks in one process until that ends."""
        self._become("starting")
        try:
            await self._warm_up()
        except NodeError as error:
            return End(0.0, is_recycled=False, down_since_s=trio.current_time(), error=error)
        assert self._spare is not None
        process, self._spare = self._spare, None
        handle = self.cells.attach(str(self.number), process.cells_descriptor)
        life = self.life = Life(process, handle)
        code = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(life.send_forever, self.make_start(self))
                nursery.start_soon(self._listen, life, on_ready)
                nursery.start_soon(self._limit_start, life)
                nursery.start_soon(self._stop_when_asked, life)
                code = await process.wait()
                with trio.move_on_after(STOP_GRACE_S):
                    # Its last words may lie in the socket.
                    await life.has_heard_all.wait()
                nursery.cancel_scope.cancel()
        finally:
            await self._part(life)
        return self._end(life, end_text(code))

    async def _part(self, life: Life) -> None:
        """See the process off; a clean stop if it lives.  Only then its cells are folded."""
        if not life.process.has_ended:
            self._become("stopping")
            life.process.terminate()
            with trio.move_on_after(self.stop_timeout_s + STOP_GRACE_S, shield=True):
                await life.process.wait()
        await life.process.aclose()
        self.cells.retire(life.handle)
        self._retired_cpu_s += life.process.cpu_s
        life.close()
        self.life = None

    def _end(self, life: Life, how: str) -> End:
        now_s = trio.current_time()
        failure = life.failure
        if failure is not None:
            kind = LocalError if failure.is_local else WorkerFailed
            error: NodeError = kind(f"{self.name}: {failure.reason}")
        else:
            error = WorkerFailed(f"{self.name}: process {life.process.pid} ended {how}")
        ran_s = 0.0 if life.ready_at_s is None else max(now_s - life.ready_at_s, sys.float_info.min)
        down_since_s = now_s if life.stopped_at_s is None else life.stopped_at_s
        return End(ran_s, life.is_stop_asked.is_set(), down_since_s, error)

    async def _listen(self, life: Life, on_ready: Callable[[], None]) -> None:
        """Take what the process says until it says no more."""
        try:
            while (message := await life.process.channel.receive()) is not None:
                self._on_message(life, message, on_ready)
        except BadMessage as error:
            life.failure = Failed(f"killed, because it said nonsense: {error}", is_local=False)
            life.process.kill()
        life.has_heard_all.set()
        # A process that closed its channel is about to end.
        await trio.sleep(self.stop_timeout_s + STOP_GRACE_S)
        life.process.kill()

    def _on_message(self, life: Life, message: Message, on_ready: Callable[[], None]) -> None:
        match message:
            case Ready() if life.ready_at_s is None:
                self._on_ready(life, message)
                on_ready()
            case Answer():
                life.answered(message)
            case Failed():
                life.failure = message
            case Stopped():
                life.stopped_at_s = trio.current_time()
            case _:
                raise BadMessage(f"{type(message).__name__} is not what a worker says now")

    def _on_ready(self, life: Life, ready: Ready) -> None:
        if [facts.network_id for facts in ready.networks] != [each.network_id for each in self.networks]:
            raise BadMessage("it runs other networks than it was told to")
        life.ready_at_s = trio.current_time()
        self.facts = ready.networks
        # Port 0 took a port: the next life takes the same, for peers know it by now.
        self.networks = tuple(
            attrs.evolve(params, listen=facts.bound)
            for params, facts in zip(self.networks, ready.networks, strict=True)
        )
        self.detail = ""
        self._become("running")
        self._settled.set()

    def _ran_again(self, reason: RestartReason, down_since_s: float) -> None:
        assert self.life is not None
        gap_s = trio.current_time() - down_since_s
        self.observer.ran_again(reason, gap_s)
        tell(
            "worker_running",
            f"{self.name} runs again after {gap_s:.3f} s",
            worker=self.number,
            pid=self.life.process.pid,
            reason=reason,
            gap_s=round(gap_s, 6),
        )

    async def _limit_start(self, life: Life) -> None:
        await trio.sleep(self.params.start_timeout_s)
        if life.ready_at_s is None:
            life.failure = Failed(f"not ready within {self.params.start_timeout_s:g} s", is_local=False)
            life.process.kill()

    async def _stop_when_asked(self, life: Life) -> None:
        await life.is_stop_asked.wait()
        self._become("stopping")
        life.process.terminate()
        await trio.sleep(self.stop_timeout_s + STOP_GRACE_S)
        life.process.kill()

    # Between lives.

    async def _pause(self, end: End) -> RestartReason:
        """Wait as long as the end of a life demands; why the next one begins."""
        if end.is_recycled:
            self._failures = 0
            return "recycled"
        self.detail = str(end.error)
        self._failures = 1 if end.ran_s >= self.params.stable_after_s else self._failures + 1
        self._wanted = trio.Event()
        self._settled.set()
        if self._failures > self.params.restarts_limit:
            return await self._wait_until_wanted()
        exponent = min(self._failures - 1, BACK_OFF_DOUBLINGS)
        pause_s = min(self.params.restart_first_s * 2**exponent, self.params.restart_limit_s)
        self._tell_end(f"it is started again in {pause_s:g} s", logging.WARNING)
        self._become("waiting")
        with trio.move_on_after(pause_s):
            await self._wanted.wait()
        return "crashed"

    async def _wait_until_wanted(self) -> RestartReason:
        self._tell_end(
            f"it ended {self._failures} times in a row and is not started again before it is recycled",
            logging.ERROR,
        )
        self._become("failed")
        await self._wanted.wait()
        self._failures = 0
        return "recycled"

    def _tell_end(self, consequence: str, level: int) -> None:
        tell("worker_ended", f"{self.detail}; {consequence}", level=level, worker=self.number)

    def _become(self, state: State) -> None:
        self.state = state
        self.observer.changed()

    async def _new_process(self) -> WorkerProcess:
        """A process that has loaded everything and waits for Start."""
        process = WorkerProcess.start(self.command)
        first = None
        try:
            with trio.move_on_after(self.params.start_timeout_s) as limit:
                first = await process.channel.receive()
        finally:
            if not isinstance(first, Hello):
                await process.aclose()
        if isinstance(first, Hello):
            return process
        how = f"said nothing for {self.params.start_timeout_s:g} s" if limit.cancelled_caught else "ended"
        raise WorkerFailed(f"{self.name}: process {process.pid} {how} before it had begun")
