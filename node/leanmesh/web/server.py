"""The HTTP server: hypercorn's HTTP/1.1 over connections of our own.

Hypercorn turns bytes into ASGI calls and back; who may connect, how many, and
for how long is decided here.  Its own Trio server is not used, because clients
can hold it: it writes under a shield without a timeout, so one that does not
read keeps the node from stopping; it has no bound on connections; and an
abandoned body or an upgrade that leads nowhere keeps a connection for ever.
"""

import logging
import math
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import attrs
import h11
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState

from leanmesh.contain import ContainedErrors
from leanmesh.errors import LocalError
from leanmesh.web.http import App
from leanmesh.web.params import WebParams, split_address

LOGGER = logging.getLogger(__name__)

READ_BYTES = 64 * 1024
# How long, and for how much, we read on after the last answer, so that the close does not reset it away.
LINGER_S = 1.0
LINGER_LIMIT_BYTES = 1024 * 1024
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n"


class PlainHttp(H11Protocol):
    """HTTP/1.1 without upgrades and without request bodies.

    To HTTP/2 or WebSocket: a client's wish is not heard (RFC 9110, 7.8).  A
    body is refused before a byte of it is queued: hypercorn queues ten pieces
    for the app, and then waits for an app that has answered already.
    """

    async def _check_protocol(self, event: h11.Request) -> None:
        await trio.lowlevel.checkpoint()

    async def _create_stream(self, request: h11.Request) -> None:
        fields = dict(request.headers)
        if b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0":
            await self._send_error_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            await self.send(Closed())
            return
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        plain = h11.Request(
            method=request.method, target=request.target, headers=headers, http_version=request.http_version
        )
        await super()._create_stream(plain)


@attrs.define(eq=False)
class Connection:
    """One client.  `lifetime` always has a deadline, so nothing that it does or omits holds us."""

    stream: trio.SocketStream
    params: WebParams
    lifetime: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    is_idle: bool = True
    # The reader refuses malformed requests while the app may still answer the one before.
    _sending: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def run(self, app: App, config: Config, context: WorkerContext) -> None:
        """Answer requests until the client leaves, breaks the protocol, or takes too long."""
        self._expect(is_idle=True)
        try:
            with self.lifetime:
                async with TaskGroup() as tasks:
                    await self._read(PlainHttp(*self._wiring(app, config, context, tasks)))
        except* h11.LocalProtocolError:
            # Hypercorn answers its own cancellation with a 500, also in the middle of another answer.
            is_cancelled = self.lifetime.cancel_called or trio.current_effective_deadline() == -math.inf
            if not is_cancelled:
                raise

    def _wiring(self, app: App, config: Config, context: WorkerContext, tasks: TaskGroup) -> tuple[Any, ...]:
        wrapped = ASGIWrapper(cast(Any, app))
        state = ConnectionState(LifespanState({}))
        is_tls, client, server = False, None, None
        return wrapped, config, context, tasks, state, is_tls, client, server, self._send

    async def _read(self, protocol: PlainHttp) -> None:
        while data := await self._receive():
            await protocol.handle(RawData(data))
        await protocol.handle(RawData(b""))
        if not self.is_idle:
            # A client may close its half and still read the answer.
            await trio.sleep_forever()
        self.lifetime.cancel()

    async def _receive(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def _send(self, event: Event) -> None:
        """Do what hypercorn asks for."""
        if isinstance(event, RawData):
            try:
                async with self._sending:
                    await self.stream.send_all(event.data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.lifetime.cancel()
        elif isinstance(event, Updated):
            self._expect(is_idle=event.idle)
        elif isinstance(event, Closed):
            self.lifetime.cancel()
        await trio.lowlevel.checkpoint()

    def _expect(self, *, is_idle: bool) -> None:
        limit_s = self.params.idle_timeout_s if is_idle else self.params.answer_timeout_s
        self.is_idle = is_idle
        self.lifetime.deadline = trio.current_time() + limit_s


@attrs.define(eq=False)
class HttpServer:
    """Serves an app on one address until it is cancelled.

    `connection_count` are being served now; `connections_refused` were turned away at `connections_limit`.
    """

    app: App
    params: WebParams
    contained: ContainedErrors
    connections_refused: int = attrs.field(default=0, init=False)
    connection_count: int = attrs.field(default=0, init=False)
    _goodbye_count: int = attrs.field(default=0, init=False)

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and serve.  Reports the address as `HOST:PORT`, with the port that was really taken."""
        listener = await self._listen()
        config = self._config()
        task_status.started(format_address(listener.socket.getsockname()))
        await trio.serve_listeners(partial(self._serve_client, config, WorkerContext(None)), [listener])

    async def _listen(self) -> trio.SocketListener:
        host, port = split_address(self.params.listen)
        try:
            (listener,) = await trio.open_tcp_listeners(port, host=host)
        except OSError as error:
            raise LocalError(
                f"cannot listen for HTTP on {self.params.listen}: {error.strerror}; choose another address "
                "with --metrics HOST:PORT or listen under [web] (port 0 takes a free one)"
            ) from error
        return listener

    def _config(self) -> Config:
        config = Config()
        config.accesslog = None
        config.errorlog = LOGGER
        config.include_server_header = False
        config.h11_max_incomplete_size = self.params.head_limit_bytes
        return config

    async def _serve_client(self, config: Config, context: WorkerContext, stream: trio.SocketStream) -> None:
        async with stream:
            if self.connection_count >= self.params.connections_limit:
                self.connections_refused += 1
                await self._say_goodbye(stream, BUSY)
                return
            self.connection_count += 1
            try:
                # What hypercorn's protocol code raises over a client's bytes ends that connection alone.
                with self.contained.contain("http_connection"):
                    await Connection(stream, self.params).run(self.app, config, context)
            finally:
                self.connection_count -= 1
            await self._say_goodbye(stream, b"")

    async def _say_goodbye(self, stream: trio.SocketStream, last_words: bytes) -> None:
        """Send the last bytes and the end, then read on: unread bytes would reset the answer.

        A courtesy with a bound: beyond `connections_limit` at once, the others are just closed.
        """
        if self._goodbye_count >= self.params.connections_limit:
            return
        self._goodbye_count += 1
        try:
            with trio.move_on_after(LINGER_S):
                await stream.send_all(last_words)
                await stream.send_eof()
                read_bytes = 0
                while read_bytes < LINGER_LIMIT_BYTES and (chunk := await stream.receive_some()):
                    read_bytes += len(chunk)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            self._goodbye_count -= 1


def format_address(name: tuple[Any, ...]) -> str:
    """`HOST:PORT` of a socket's name, IPv6 hosts in brackets."""
    host, port = name[0], name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
