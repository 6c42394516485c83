"""One request and one response as values, and the ASGI app that joins them to routes.

Whatever is asked for stands in the target, so the app reads no bodies; the
server lets none through.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from time import perf_counter_ns
from typing import Any

import attrs

from leanmesh.metrics.family import OTHER

METHODS = ("GET", "HEAD")

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

# The path, `other` when there is no such page, and the nanoseconds that the answer took.
OnAnswered = Callable[[str, int], None]


@attrs.frozen
class Request:
    """What a route may look at.  Header names are in lower case; repeated headers are joined by commas."""

    path: str
    query: str
    headers: Mapping[str, str]


@attrs.frozen
class Response:
    """A complete answer: its body is in memory, so its length is known."""

    body: bytes
    content_type: str
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


Route = Callable[[Request], Awaitable[Response]]


def json_response(content: object, status: int = 200) -> Response:
    """An answer in JSON.  Never cached: it is about now."""
    body = json.dumps(content, indent=2).encode() + b"\n"
    return Response(body, "application/json", status, {"Cache-Control": "no-store"})


def error_response(status: HTTPStatus, message: str, **headers: str) -> Response:
    """A refusal that says what would be right."""
    response = json_response({"error": message}, status.value)
    return attrs.evolve(response, headers={**response.headers, **headers})


@attrs.frozen
class App:
    """The ASGI app: exact paths to routes, everything else to a clear refusal.

    `posts` are the routes that change something: they answer POST, and only to programs.
    A browser names the page that made it ask, and no page is to steer a node.
    """

    routes: Mapping[str, Route]
    target_limit_bytes: int
    posts: Mapping[str, Route] = attrs.field(factory=dict[str, Route])
    on_answered: OnAnswered | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self.on_answered is None:
            await self._answer(scope, send)
            return
        began_ns = perf_counter_ns()
        try:
            await self._answer(scope, send)
        finally:
            path = scope["path"]
            is_ours = path in self.routes or path in self.posts
            self.on_answered(path if is_ours else OTHER, perf_counter_ns() - began_ns)

    async def _answer(self, scope: Scope, send: Send) -> None:
        response = self._refusal(scope)
        if response is None:
            request = Request(scope["path"], scope["query_string"].decode("latin-1"), _headers(scope))
            routes = self.posts if scope["path"] in self.posts else self.routes
            response = await routes[scope["path"]](request)
        await _send(send, response)

    def _refusal(self, scope: Scope) -> Response | None:
        target_bytes = len(scope["raw_path"]) + len(scope["query_string"])
        if target_bytes > self.target_limit_bytes:
            return error_response(
                HTTPStatus.REQUEST_URI_TOO_LONG,
                f"target of {target_bytes} bytes exceeds {self.target_limit_bytes}",
                Connection="close",
            )
        if scope["path"] not in self.routes and scope["path"] not in self.posts:
            pages = ", ".join(sorted([*self.routes, *self.posts]))
            return error_response(HTTPStatus.NOT_FOUND, f"no such page; there are {pages}")
        is_post = scope["path"] in self.posts
        if scope["method"] not in (("POST",) if is_post else METHODS):
            allowed = "POST" if is_post else ", ".join(METHODS)
            return error_response(HTTPStatus.METHOD_NOT_ALLOWED, f"only {allowed}", Allow=allowed)
        if is_post and "origin" in _headers(scope):
            return error_response(HTTPStatus.FORBIDDEN, "not from a page in a browser")
        return None


def _headers(scope: Scope) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def _send(send: Send, response: Response) -> None:
    headers = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        "X-Content-Type-Options": "nosniff",
        **response.headers,
    }
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": encoded})
    await send({"type": "http.response.body", "body": response.body})
