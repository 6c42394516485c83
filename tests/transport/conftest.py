"""Nodes of every kind for the tests of what they have in common."""

import pytest
import trio
from transport.nodes import KINDS, Nodes


@pytest.fixture(params=KINDS)
def any_nodes(request: pytest.FixtureRequest, nursery: trio.Nursery) -> Nodes:
    return Nodes(request.param, nursery)


@pytest.fixture
def memory_nodes(nursery: trio.Nursery) -> Nodes:
    return Nodes("memory", nursery)


@pytest.fixture
def tcp_nodes(nursery: trio.Nursery) -> Nodes:
    return Nodes("tcp", nursery)
