"""Nodes for the tests of whole networks; when a test ends all are stopped, and no task is left."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing
from network.nodes import Nodes


@pytest.fixture
async def nodes(nursery: trio.Nursery, tmp_path: Path) -> AsyncIterator[Nodes]:
    """No nodes yet, on a network whose every link takes 10 ms, in virtual time."""
    # Trio takes its clock from the arguments of the test itself.
    assert isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock), (
        "the test must ask for autojump_clock"
    )
    tasks = len(nursery.child_tasks)
    nodes = Nodes(nursery, tmp_path)
    yield nodes
    await nodes.stop_all()
    await trio.testing.wait_all_tasks_blocked()
    assert len(nursery.child_tasks) == tasks
