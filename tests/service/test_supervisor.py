"""The supervisor and its workers: real processes, which do what each test says and load little."""

import gc
import mmap
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio
from leanmesh.errors import LocalError
from leanmesh.metrics import catalog_workers as catalog
from leanmesh.metrics._cells import ffi
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.worker_cells import WorkerCells
from leanmesh.service.params import NetworkParams, WorkerParams
from leanmesh.service.supervisor import AllWorkersFailed, Supervisor, spread
from leanmesh.service.worker import Worker
from leanmesh.service.worker_api import ask_workers, describe_workers
from leanmesh.service.worker_life import Unanswered

FAKE_WORKER = Path(__file__).parent / "fake_worker.py"
NETWORKS = tuple(NetworkParams(network_id=i, listen=("/ip4/127.0.0.1/tcp/0",)) for i in range(2))
# No test waits for this long; whoever hangs fails.
DEADLINE_S = 30.0


@attrs.define(eq=False)
class Bench:
    """A supervisor of fake workers.  `does(network ids, life)`: what a life does; they count from 0."""

    does: Callable[[tuple[int, ...], int], str] = lambda ids, life: "work"
    params: WorkerParams = attrs.field(factory=lambda: WorkerParams(count=2, restart_first_s=0.0))
    networks: tuple[NetworkParams, ...] = NETWORKS
    stop_timeout_s: float = 5.0
    cells: Cells = attrs.field(factory=Cells.anonymous, init=False)
    supervisor: Supervisor = attrs.field(init=False)
    starts: dict[tuple[int, ...], list[dict]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.supervisor = Supervisor(
            self.params,
            self.networks,
            (sys.executable, str(FAKE_WORKER)),
            self._settings_for,
            WorkerCells(self.cells),
            self.cells,
            self.stop_timeout_s,
        )

    def _settings_for(self, networks: tuple[NetworkParams, ...]) -> dict:
        ids = tuple(network.network_id for network in networks)
        lives = self.starts.setdefault(ids, [])
        lives.append(
            {"does": self.does(ids, len(lives)), "networks": [attrs.asdict(each) for each in networks]}
        )
        return lives[-1]

    @property
    def workers(self) -> tuple[Worker, ...]:
        return self.supervisor.workers

    def pid(self, number: int) -> int:
        return self.workers[number].life.process.pid

    def restarts(self, reason: str) -> int:
        return self.cells.copy().value(catalog.WORKER_RESTARTS, reason)

    def gaps(self, reason: str) -> int:
        counts, _ = self.cells.copy().value(catalog.WORKER_GAP, reason)
        return sum(counts)

    def done(self) -> int:
        copy = self.supervisor.cells.copy()
        values = {spec.name: dict(series) for spec, series in copy.families()}
        return values.get("test_done_total", {}).get((), 0)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for a change of the workers that makes it so."""
        with trio.fail_after(DEADLINE_S):
            while not is_so():
                await self.supervisor.metrics.is_changed.wait()

    def all_run(self) -> bool:
        return all(worker.state == "running" for worker in self.workers)


def is_gone(pid: int) -> bool:
    """Whether there is no process of this id, not even a zombie."""
    return not Path(f"/proc/{pid}").exists()


def children() -> list[str]:
    """Processes that this one started and that it has not waited for."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def open_descriptors() -> int:
    gc.collect()  # A mapping has a descriptor of its own until it is collected.
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_networks_go_in_turns_to_the_workers_and_each_is_whole():
    networks = [NetworkParams(network_id=i) for i in range(5)]
    assert [[each.network_id for each in share] for share in spread(networks, 2)] == [[0, 2, 4], [1, 3]]


@pytest.mark.parametrize("count", [0, 3])
async def test_more_workers_than_networks_or_none_are_refused(count):
    with pytest.raises(LocalError, match="2 networks"):
        spread(NETWORKS, count)


async def test_a_killed_worker_comes_back_with_the_same_ids_keys_and_ports(nursery):
    bench = Bench()
    await nursery.start(bench.supervisor.run)
    before = [worker.facts for worker in bench.workers]
    killed = bench.pid(1)
    os.kill(killed, signal.SIGKILL)
    await bench.until(lambda: bench.workers[1].restarts == 1 and bench.all_run())

    assert [worker.facts for worker in bench.workers] == before
    first, second = bench.starts[1,]
    assert first["networks"][0]["listen"] == ("/ip4/127.0.0.1/tcp/0",)
    assert second["networks"][0]["listen"] == ("/ip4/127.0.0.1/tcp/4711",)
    assert len(bench.starts[0,]) == 1
    assert is_gone(killed)
    assert (bench.restarts("crashed"), bench.gaps("crashed")) == (1, 1)
    nursery.cancel_scope.cancel()


async def test_what_a_killed_worker_counted_stays_and_its_successor_adds_to_it(nursery):
    bench = Bench()
    await nursery.start(bench.supervisor.run)
    assert bench.done() == 20
    os.kill(bench.pid(0), signal.SIGKILL)
    await bench.until(lambda: bench.workers[0].state != "running")
    assert bench.done() == 20
    await bench.until(bench.all_run)
    assert bench.done() == 30
    nursery.cancel_scope.cancel()


async def test_recycling_replaces_every_worker_one_at_a_time(nursery):
    bench = Bench()
    await nursery.start(bench.supervisor.run)
    before = [bench.pid(number) for number in range(2)]
    down = 0

    async def count_down() -> None:
        nonlocal down
        while True:
            await bench.supervisor.metrics.is_changed.wait()
            down = max(down, sum(worker.state != "running" for worker in bench.workers))

    nursery.start_soon(count_down)
    assert bench.supervisor.recycle("test") == [0, 1]
    await bench.until(lambda: [worker.restarts for worker in bench.workers] == [1, 1] and bench.all_run())

    assert down == 1
    assert all(map(is_gone, before))
    assert (bench.restarts("recycled"), bench.gaps("recycled")) == (2, 2)
    assert bench.restarts("crashed") == 0
    nursery.cancel_scope.cancel()


async def test_who_asks_while_a_worker_is_recycled_gets_a_process_that_began_later(nursery):
    bench = Bench()
    await nursery.start(bench.supervisor.run)
    bench.supervisor.recycle("test", 0)
    await bench.until(lambda: bench.workers[0].state != "running")
    bench.supervisor.recycle("test again", 0)
    bench.supervisor.recycle("and again", 0)
    await bench.until(lambda: bench.workers[0].restarts == 2 and bench.all_run())
    nursery.cancel_scope.cancel()


async def test_a_worker_that_is_killed_while_its_successor_loads_leaves_no_process_over():
    bench = Bench()
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.supervisor.run)
        bench.supervisor.recycle("test", 0)
        os.kill(bench.pid(0), signal.SIGKILL)
        await bench.until(lambda: bench.workers[0].restarts == 1 and bench.all_run())
        nursery.cancel_scope.cancel()
    assert children() == []


async def test_a_worker_that_does_not_exist_is_not_recycled():
    with pytest.raises(LocalError, match="0 to 1"):
        Bench().supervisor.recycle("test", 2)


async def test_a_hangup_recycles_all(nursery):
    bench = Bench()
    await nursery.start(bench.supervisor.run)
    await nursery.start(bench.supervisor.listen_for_hangup)
    os.kill(os.getpid(), signal.SIGHUP)
    await bench.until(lambda: [worker.restarts for worker in bench.workers] == [1, 1] and bench.all_run())
    nursery.cancel_scope.cancel()


async def test_a_worker_is_recycled_when_it_is_as_old_as_the_settings_allow(nursery):
    bench = Bench(params=WorkerParams(count=1, recycle_after_s=0.1))
    await nursery.start(bench.supervisor.run)
    await bench.until(lambda: bench.restarts("recycled") >= 1 and bench.all_run())
    nursery.cancel_scope.cancel()


async def test_a_worker_is_recycled_once_when_it_has_received_as_much_as_the_settings_allow(
    nursery, monkeypatch
):
    reasons = []
    monkeypatch.setattr(
        "leanmesh.service.supervisor.tell", lambda *_, reason, **facts: reasons.append(reason)
    )
    # Many looks while the fresh process loads: one reason is reason for one recycling.
    monkeypatch.setattr("leanmesh.service.supervisor.WATCH_INTERVAL_S", 0.001)
    bench = Bench(
        lambda ids, life: "receive 60 40" if life == 0 else "receive 60 39",
        WorkerParams(count=1, recycle_after_messages=100),
    )
    await nursery.start(bench.supervisor.run)
    with trio.fail_after(DEADLINE_S):
        while bench.workers[0].restarts == 0 or not bench.all_run():
            bench.supervisor.cells.copy()  # As the page does each second.
            await trio.sleep(0.01)
    bench.supervisor.cells.copy()
    assert bench.workers[0].life.messages_received() == 99
    assert bench.workers[0].reason_to_recycle() is None

    bench.supervisor.recycle("test")
    await bench.until(lambda: bench.workers[0].restarts == 2 and bench.all_run())
    assert reasons == ["it has received 100 messages", "test"]
    nursery.cancel_scope.cancel()


async def test_a_worker_whose_names_break_is_counted_and_has_received_nothing(nursery):
    bench = Bench(params=WorkerParams(count=2, recycle_after_messages=100))
    await nursery.start(bench.supervisor.run)
    await bench.until(bench.all_run)
    broken = bench.workers[1]
    bench.supervisor.cells.copy()
    with mmap.mmap(broken.life.process.cells_descriptor, 0) as memory:
        head = ffi.from_buffer("cells *", memory, require_writable=True)
        head.names |= 0xFFFFFFFF
        ffi.release(head)
    bench.supervisor.cells.copy()
    assert bench.supervisor.cells.skipped["unreadable"] == 1

    # What the supervisor asks of every worker each second.
    assert broken.reason_to_recycle() is None
    assert broken.life.messages_received() == 0
    nursery.cancel_scope.cancel()


async def test_a_worker_that_ends_too_often_is_given_up_and_recycling_starts_it_again(nursery):
    def does(ids: tuple[int, ...], life: int) -> str:
        return "exit" if ids == (0,) and life < 4 else "work"

    bench = Bench(does, WorkerParams(count=2, restart_first_s=0.0, restarts_limit=3))
    await nursery.start(bench.supervisor.run)
    await bench.until(lambda: bench.workers[0].state == "failed")

    assert len(bench.starts[0,]) == 4
    (reason,) = bench.supervisor.reasons()
    assert "worker 0 (network 0)" in reason
    assert "exit code 3" in reason
    bench.supervisor.recycle("test", 0)
    await bench.until(bench.all_run)
    assert bench.supervisor.reasons() == []
    nursery.cancel_scope.cancel()


async def test_when_every_worker_is_given_up_the_supervisor_ends():
    bench = Bench(lambda ids, life: "exit", WorkerParams(count=2, restart_first_s=0.0, restarts_limit=0))
    with trio.fail_after(DEADLINE_S), pytest.raises(AllWorkersFailed, match="exit code 3"):
        await bench.supervisor.run()


async def test_the_back_off_doubles_up_to_its_limit(nursery, monkeypatch):
    pauses = []

    def tell(event: str, sentence: str, **facts) -> None:
        if "is started again in" in sentence:
            pauses.append(sentence.rpartition(" in ")[2])

    monkeypatch.setattr("leanmesh.service.worker.tell", tell)
    params = WorkerParams(
        count=1, restart_first_s=0.01, restart_limit_s=0.03, restarts_limit=3, stable_after_s=60.0
    )
    bench = Bench(lambda ids, life: "exit", params)
    with trio.fail_after(DEADLINE_S), pytest.raises(AllWorkersFailed):
        await bench.supervisor.run()
    assert pauses == ["0.01 s", "0.02 s", "0.03 s"]


async def test_networks_that_cannot_run_at_first_are_an_error_and_leave_nothing():
    descriptors = open_descriptors()
    bench = Bench(lambda ids, life: "refuse" if ids == (1,) else "work")
    with (
        trio.fail_after(DEADLINE_S),
        pytest.raises(LocalError, match=r"worker 1 \(network 1\): the port is taken"),
    ):
        await bench.supervisor.run()
    assert open_descriptors() == descriptors


async def test_a_worker_that_is_not_ready_in_time_is_killed():
    params = WorkerParams(count=1, start_timeout_s=3.0)
    bench = Bench(lambda ids, life: "never ready", params)
    with trio.fail_after(DEADLINE_S), pytest.raises(Exception, match="not ready within 3 s"):
        await bench.supervisor.run()


async def test_a_worker_that_talks_nonsense_is_killed_and_replaced(nursery):
    bench = Bench(lambda ids, life: "babble" if ids == (0,) and life == 0 else "work")
    await nursery.start(bench.supervisor.run)
    await bench.until(lambda: bench.workers[0].restarts == 1 and bench.all_run())
    nursery.cancel_scope.cancel()


def all_begin_with(beginning: str, sentences: list[str]) -> bool:
    return bool(sentences) and all(sentence.startswith(beginning) for sentence in sentences)


async def test_a_stuck_worker_is_named_and_not_waited_for(nursery):
    params = WorkerParams(count=2, heartbeat_limit_s=2.0, answer_timeout_s=60.0)
    bench = Bench(lambda ids, life: "loop" if ids == (1,) else "work", params, stop_timeout_s=0.0)
    await nursery.start(bench.supervisor.run)
    with trio.fail_after(DEADLINE_S):
        # On a busy machine the other one may be late too, for a moment.
        stuck = "worker 1 (network 1) is stuck: its last heartbeat is"
        while not all_begin_with(stuck, bench.supervisor.reasons()):
            bench.supervisor.cells.copy()  # As the page does each second.
            await trio.sleep(0.01)
        page = await ask_workers(bench.supervisor, "/api/peers", generation=7)
    (unanswered,) = page["unanswered"]
    assert {"worker": 1, "networks": [1]}.items() <= unanswered.items()
    assert "is stuck" in unanswered["reason"]
    nursery.cancel_scope.cancel()


async def test_a_worker_that_does_not_answer_in_time_is_named(nursery):
    params = WorkerParams(count=2, answer_timeout_s=0.2, heartbeat_limit_s=60.0)
    bench = Bench(lambda ids, life: "silent" if ids == (1,) else "work", params)
    await nursery.start(bench.supervisor.run)
    page = await ask_workers(bench.supervisor, "/api/mesh", generation=7)
    assert page == {
        "networks": [],
        "path": "/api/mesh",
        "unanswered": [
            {"worker": 1, "networks": [1], "reason": "worker 1 (network 1) did not answer within 0.2 s"}
        ],
    }
    nursery.cancel_scope.cancel()


async def test_who_asks_a_worker_that_is_killed_is_told(nursery):
    params = WorkerParams(count=1, answer_timeout_s=60.0, heartbeat_limit_s=60.0)
    bench = Bench(lambda ids, life: "silent", params)
    await nursery.start(bench.supervisor.run)

    async def ask() -> None:
        with pytest.raises(Unanswered, match="ended while it was asked"):
            await ask_workers(bench.supervisor, "/api/mesh", generation=7)

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked(0.05)
        os.kill(bench.pid(0), signal.SIGKILL)
    nursery.cancel_scope.cancel()


async def test_the_networks_of_a_worker_that_is_down_are_still_on_the_page(nursery):
    bench = Bench(params=WorkerParams(count=2, restart_first_s=60.0, heartbeat_limit_s=60.0))
    await nursery.start(bench.supervisor.run)
    (facts,) = bench.workers[1].facts
    os.kill(bench.pid(1), signal.SIGKILL)
    await bench.until(lambda: bench.workers[1].state == "waiting")
    assert [handle.name for handle in bench.supervisor.cells.workers] == ["0"]
    page = await ask_workers(bench.supervisor, "/api/node", generation=7)
    assert page["networks"] == [
        {
            "network_id": 1,
            "peer_id": facts.peer_id,
            "is_running": False,
            "listen": facts.listen,
            "topics": (),
            "worker": 1,
        }
    ]
    (_, described) = describe_workers(bench.supervisor)["workers"]
    assert {
        "worker": 1,
        "state": "waiting",
        "networks": [1],
        "pid": None,
        "restarts": 0,
    }.items() <= described.items()
    nursery.cancel_scope.cancel()


async def test_stopping_ends_every_process_and_leaves_no_descriptor():
    descriptors = open_descriptors()
    bench = Bench(lambda ids, life: "loop" if ids == (1,) else "work", stop_timeout_s=0.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.supervisor.run)
        pids = [bench.pid(number) for number in range(2)]
        nursery.cancel_scope.cancel()
    assert all(map(is_gone, pids))
    assert bench.done() == 20
    # The handles of retired cells are closed by then, too.
    assert open_descriptors() == descriptors
