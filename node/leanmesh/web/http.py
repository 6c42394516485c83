"""One request and one response as values, and the ASGI app that joins them to routes.

Nothing here is changed over HTTP, so the app reads no bodies; the server lets
none through.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import attrs

METHODS = ("GET", "HEAD")

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


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
    """The ASGI app: exact paths to routes, everything else to a clear refusal."""

    routes: Mapping[str, Route]
    target_limit_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response = self._refusal(scope)
        if response is None:
            request = Request(scope["path"], scope["query_string"].decode("latin-1"), _headers(scope))
            response = await self.routes[scope["path"]](request)
        await _send(send, response)

    def _refusal(self, scope: Scope) -> Response | None:
        target_bytes = len(scope["raw_path"]) + len(scope["query_string"])
        if target_bytes > self.target_limit_bytes:
            return error_response(
                HTTPStatus.REQUEST_URI_TOO_LONG,
                f"target of {target_bytes} bytes exceeds {self.target_limit_bytes}",
                Connection="close",
            )
        if scope["path"] not in self.routes:
            return error_response(
                HTTPStatus.NOT_FOUND, f"no such page; there are {', '.join(sorted(self.routes))}"
            )
        if scope["method"] not in METHODS:
            allowed = ", ".join(METHODS)
            return error_response(HTTPStatus.METHOD_NOT_ALLOWED, f"only {allowed}", Allow=allowed)
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
