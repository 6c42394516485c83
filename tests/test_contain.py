"""What the log says of callables that raise: a kind of error whole, and what goes on in a line a minute."""

import logging
from collections.abc import Iterator

import pytest
import trio
from leanmesh import contain
from leanmesh.contain import ContainedErrors
from leanmesh.metrics.family import GaugeSpec
from leanmesh.metrics.params import MetricsParams
from leanmesh.metrics.refreshers import Refreshers
from leanmesh.metrics.sample import Sample
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.sources import Sources

PEERS = GaugeSpec("test_peers", "Peers.")


def fail(text: str) -> None:
    raise OSError(text)


def fail_elsewhere() -> None:
    raise OSError("elsewhere")


def line_of(function) -> str:
    return f"({__file__}:{function.__code__.co_firstlineno + 1})"


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, bool]]:
    """What was logged, and whether with a trace."""
    return [(record.getMessage(), record.exc_info is not None) for record in caplog.records]


async def test_what_raises_every_second_has_one_trace_and_then_a_line_a_minute(autojump_clock, caplog):
    contained = ContainedErrors(clock=trio.current_time)
    for number in range(150):
        with contained.contain("validator"):
            fail(f"number {number}")
        await trio.sleep(1)

    assert contained.counts == {"validator": 150}
    again = "validator raised 60 times more in 60 s, the last time OSError: number {} {}; the node goes on"
    assert told(caplog) == [
        ("validator raised; the node goes on", True),
        (again.format(60, line_of(fail)), False),
        (again.format(120, line_of(fail)), False),
    ]


async def test_another_error_has_its_trace_at_once_and_only_once(autojump_clock, caplog):
    contained = ContainedErrors(clock=trio.current_time)
    for _ in range(20):
        for act in (lambda: fail("here"), fail_elsewhere, lambda: 1 // 0):
            with contained.contain("sink"):
                act()
    with contained.contain("another"):
        fail("here")
    await trio.sleep(100)
    with contained.contain("sink"):
        fail("a" * 1000 + "\nb")

    cut = ("OSError: " + "a" * 1000)[: contain.TEXT_LIMIT]
    said = f"sink raised 58 times more in 100 s, the last time {cut} {line_of(fail)}; the node goes on"
    assert told(caplog) == [
        *[("sink raised; the node goes on", True)] * 3,
        ("another raised; the node goes on", True),
        (said, False),
    ]


async def test_groups_are_known_by_what_is_in_them(autojump_clock, caplog):
    contained = ContainedErrors(clock=trio.current_time)

    async def run(act) -> None:
        async with trio.open_nursery():
            act()

    for act in (fail_elsewhere, lambda: fail("x"), fail_elsewhere, lambda: fail("y")):
        with contained.contain("network"):
            await run(act)

    assert told(caplog) == [("network raised; the node goes on", True)] * 2


async def test_the_kinds_that_are_remembered_are_bounded(autojump_clock, caplog):
    contained = ContainedErrors(clock=trio.current_time)
    for number in range(100):
        with contained.contain("responder"):
            raise type(f"Error{number}", (Exception,), {})
    await trio.sleep(60)
    with contained.contain("responder"):
        fail("beyond")

    *traces, last = told(caplog)
    assert traces == [("responder raised; the node goes on", True)] * contain.TRACES_LIMIT
    assert last[0].startswith(f"responder raised {100 - contain.TRACES_LIMIT + 1} times more in 60 s")


async def test_a_refresher_and_a_source_that_raise_at_each_refresh_do_not_fill_the_log(
    autojump_clock, nursery: trio.Nursery, caplog
):
    def read() -> Iterator[Sample]:
        fail_elsewhere()
        yield Sample(PEERS, (), 1)

    snapshotter = Snapshotter(
        MetricsParams(tick_s=1.0),
        Refreshers(ContainedErrors(clock=trio.current_time)),
        Sources(ContainedErrors(clock=trio.current_time)),
    )
    snapshotter.refreshers.register("mesh", lambda: fail("no mesh"))
    snapshotter.add_source("peers", [PEERS], read)
    await nursery.start(snapshotter.run)
    await trio.sleep(130.5)

    errors = (snapshotter.refreshers.errors.counts, snapshotter.sources.errors.counts)
    assert errors == ({"mesh": 131}, {"peers": 131})
    traces = [("mesh raised; the node goes on", True), ("peers raised; the node goes on", True)]
    again = "{} raised 60 times more in 60 s, the last time OSError: {} {}; the node goes on"
    lines = [
        (again.format("mesh", "no mesh", line_of(fail)), False),
        (again.format("peers", "elsewhere", line_of(fail_elsewhere)), False),
    ]
    assert told(caplog) == traces + lines + lines
    nursery.cancel_scope.cancel()
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
