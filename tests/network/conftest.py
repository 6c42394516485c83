"""Nodes for the tests of whole networks; when a test ends all are stopped, and no task is left."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from network.nodes import Nodes


@pytest.fixture
async def nodes(nursery: trio.Nursery, tmp_path: Path) -> AsyncIterator[Nodes]:
    """No nodes yet, on a network whose every link takes 10 ms, in virtual time."""
    # Trio takes its clock from the arguments of the test itself.
    is_virtual = isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock)
    assert is_virtual, "the test must ask for autojump_clock"
    async with _nodes(nursery, tmp_path) as nodes:
        yield nodes


@pytest.fixture
async def real_nodes(nursery: trio.Nursery, tmp_path: Path) -> AsyncIterator[Nodes]:
    """The same in real time, for what threads do."""
    async with _nodes(nursery, tmp_path) as nodes:
        yield nodes


@asynccontextmanager
async def _nodes(nursery: trio.Nursery, keys: Path) -> AsyncIterator[Nodes]:
    tasks = len(nursery.child_tasks)
    nodes = Nodes(nursery, keys)
    yield nodes
    await nodes.stop_all()
    await trio.testing.wait_all_tasks_blocked()
    assert len(nursery.child_tasks) == tasks, "a task was left"
