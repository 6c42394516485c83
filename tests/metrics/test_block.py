"""A block of cells while it is made: who maps it then sees nothing older than the block."""

import os

import pytest
from leanmesh.metrics._cells import lib
from leanmesh.metrics.cells import Cells, make_memfd
from leanmesh.metrics.worker_cells import WorkerCells


def test_a_block_is_never_older_than_its_life(monkeypatch: pytest.MonkeyPatch):
    """Whoever looks between its magic number and whatever follows sees a heartbeat of now."""
    descriptor = make_memfd()
    workers = WorkerCells(Cells.anonymous())
    handle = workers.attach("worker", descriptor)
    ages: list[float] = []

    class Watched:
        def __getattr__(self, name: str) -> object:
            if name not in ("cells_format", "cells_set_heartbeat"):
                return getattr(lib, name)

            def call(*arguments: object) -> object:
                answer = getattr(lib, name)(*arguments)
                workers.copy()
                ages.append(handle.heartbeat_age_s)
                return answer

            return call

    monkeypatch.setattr("leanmesh.metrics.block.lib", Watched())
    cells = Cells.in_memfd(descriptor)
    os.close(descriptor)
    assert len(ages) == 2
    assert max(ages) < 60.0
    workers.retire(handle)
    cells.close()
