"""Whoever measures the work of the HTTP API is told of every answer, and of nothing that clients make up."""

import pytest
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.web import http
from leanmesh.web.endpoints import build_app
from leanmesh.web.params import WebParams


def scope(path: str, method: str = "GET") -> dict[str, object]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }


async def receive():
    raise AssertionError("these requests have no bodies")


async def send(event) -> None:
    pass


async def refuse(event) -> None:
    raise BrokenPipeError("the client is gone")


async def test_every_answer_is_told_with_its_page_and_its_time(monkeypatch, autojump_clock):
    looks = iter([0, 5, 10, 17, 20, 29, 30, 41])
    monkeypatch.setattr(http, "perf_counter_ns", lambda: next(looks))
    told: list[tuple[str, int]] = []
    snapshotter = Snapshotter()
    app = build_app(
        snapshotter, WebParams(), on_answered=lambda path, duration_ns: told.append((path, duration_ns))
    )

    await app(scope("/metrics"), receive, send)
    await app(scope("/made/up"), receive, send)
    await app(scope("/metrics", "BREW"), receive, send)
    with pytest.raises(BrokenPipeError):
        await app(scope("/healthz"), receive, refuse)

    assert told == [("/metrics", 5), ("other", 7), ("/metrics", 9), ("/healthz", 11)]
