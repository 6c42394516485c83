"""Every test here talks to peers that others wrote; it names them by its parameters or its interop mark."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from interop.build import LANGUAGES
from interop.peers import Peer, skip_without, start_peer

HERE = Path(__file__).parent

StartPeer = Callable[..., Awaitable[Peer]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.interop(*languages_of(item)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("interop"):
        skip_without(*mark.args)


def languages_of(item: pytest.Item) -> list[str]:
    """The languages among a test's parameters."""
    parameters = (
        item.callspec.params.values()
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        else ()
    )
    return [value for value in parameters if isinstance(value, str) and value in LANGUAGES]


@pytest.fixture
def start(nursery: trio.Nursery) -> StartPeer:
    """Starts a peer that ends with the test: `await start("go", "--topic", "t")`."""
    return partial(start_peer, nursery)
