"""Sinks that fail: when they are started again.  What becomes of messages is tested in tests/bridge."""

import trio
from leanmesh.run import open_node
from leanmesh.service.params import NetworkParams
from leanmesh.service.sink_queue import SinkQueue
from leanmesh.settings import Settings
from leanmesh.transport.memory import MemoryNetwork


async def test_a_sink_that_ran_well_before_it_failed_is_back_after_the_first_pause(autojump_clock, caplog):
    runs_s = [0.0, 0.0, 0.0, 600.0, 600.0, 0.0]
    began_s: list[float] = []

    async def drain(queue: SinkQueue, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        began_s.append(trio.current_time())
        if len(began_s) > len(runs_s):
            await queue.closed.wait()
            return
        await trio.sleep(runs_s[len(began_s) - 1])
        raise OSError("the engine is away")

    network = NetworkParams(listen=("/ip4/10.0.0.1/tcp/9000",))
    async with open_node(Settings(network=(network,)), hosts={0: MemoryNetwork().host("10.0.0.1")}) as node:
        await node.start_sink("engine", drain)
        await trio.sleep(2000)
    pauses_s = [
        round(later - earlier - ran_s)
        for earlier, later, ran_s in zip(began_s, began_s[1:], runs_s, strict=False)
    ]
    assert pauses_s == [1, 2, 4, 1, 1, 2]
