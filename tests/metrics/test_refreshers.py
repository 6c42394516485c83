"""Refreshers: bounded, in order, each once, and none able to stop the others."""

import logging

import pytest
from leanmesh.errors import LocalError
from leanmesh.metrics.refreshers import Refreshers


@pytest.fixture
def refreshers() -> Refreshers:
    return Refreshers()


def test_plain_ones_run_first_then_those_with_a_context_each_once_in_order(refreshers: Refreshers):
    calls: list[object] = []
    refreshers.register_with_context("c", lambda context: calls.append(("c", context)), 3)
    refreshers.register("a", lambda: calls.append("a"))
    refreshers.register_with_context("d", lambda context: calls.append(("d", context)), 4)
    refreshers.register("b", lambda: calls.append("b"))

    refreshers.run()

    assert calls == ["a", "b", ("c", 3), ("d", 4)]
    assert refreshers.names == ("a", "b", "c", "d")


def test_the_seventeenth_is_refused_by_naming_the_sixteen_and_they_still_run(refreshers: Refreshers):
    calls: list[int] = []
    for i in range(16):
        refreshers.register(f"number {i}", lambda i=i: calls.append(i))

    with pytest.raises(LocalError) as raised:
        refreshers.register_with_context("one more", calls.append, 16)

    assert str(raised.value) == "no place for the refresher 'one more': all 16 are taken, by " + ", ".join(
        f"number {i}" for i in range(16)
    )
    refreshers.run()
    assert calls == list(range(16))


def test_one_that_raises_is_counted_under_its_name_and_the_others_run(
    refreshers: Refreshers, caplog: pytest.LogCaptureFixture
):
    calls: list[str] = []
    refreshers.register("broken", lambda: 1 / 0)
    refreshers.register("second", lambda: calls.append("second"))

    with caplog.at_level(logging.CRITICAL):
        refreshers.run()
        refreshers.run()

    assert calls == ["second", "second"]
    assert refreshers.errors.counts == {"broken": 2, "second": 0}


def test_one_that_registers_another_does_not_recurse_and_the_new_one_runs_next_time(refreshers: Refreshers):
    calls: list[str] = []

    def register_another() -> None:
        calls.append("first")
        if "another" not in refreshers.names:
            refreshers.register("another", lambda: calls.append("another"))

    refreshers.register("first", register_another)

    refreshers.run()
    assert calls == ["first"]
    refreshers.run()
    assert calls == ["first", "first", "another"]


def test_one_that_asks_for_a_refresh_is_counted_as_broken(
    refreshers: Refreshers, caplog: pytest.LogCaptureFixture
):
    refreshers.register("greedy", refreshers.run)

    with caplog.at_level(logging.CRITICAL):
        refreshers.run()

    assert refreshers.errors.counts == {"greedy": 1}


def test_a_handle_takes_its_refresher_out_and_frees_the_place(refreshers: Refreshers):
    calls: list[int] = []
    handles = [refreshers.register(f"number {i}", lambda i=i: calls.append(i)) for i in range(16)]

    handles[3].unregister()
    handles[3].unregister()
    refreshers.register("number 3 again", lambda: calls.append(100))
    refreshers.run()

    assert not handles[3].is_registered
    assert calls == [0, 1, 2, *range(4, 16), 100]


def test_one_that_is_taken_out_during_a_refresh_is_not_called_any_more(refreshers: Refreshers):
    calls: list[str] = []
    refreshers.register("first", lambda: second.unregister())
    second = refreshers.register("second", lambda: calls.append("second"))

    refreshers.run()

    assert calls == []


def test_a_name_is_given_once(refreshers: Refreshers):
    refreshers.register("mesh", lambda: None)

    with pytest.raises(LocalError, match="a refresher named 'mesh' is registered"):
        refreshers.register("mesh", lambda: None)
