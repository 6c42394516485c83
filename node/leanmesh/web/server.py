"""The HTTP server: hypercorn's protocol on listeners and limits of our own.

Hypercorn speaks HTTP; who may connect, how many, and for how long is decided
here, because its own Trio server leaves three holes: it writes under a shield
without a timeout, so a client that stops reading holds up the stop of the
node; it has no bound on connections; and it leaves the reader of an abandoned
request body waiting for ever.
"""

import logging
from functools import partial
from typing import Any, cast

import attrs
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState

from leanmesh.contain import ContainedErrors
from leanmesh.errors import LocalError
from leanmesh.web.http import App
from leanmesh.web.params import WebParams, split_address

LOGGER = logging.getLogger(__name__)

# Streams of one HTTP/2 connection; scrapers use one, browsers a few.
STREAMS_LIMIT = 8
# How long, and for how much, we read on after the last answer, so that the close does not reset it away.
LINGER_S = 1.0
LINGER_LIMIT_BYTES = 1024 * 1024
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n"


@attrs.define(eq=False)
class ClientStream:
    """What hypercorn sees of a connection: reads and writes end in time, and closing ends all of it."""

    stream: trio.SocketStream
    params: WebParams
    lifetime: trio.CancelScope

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket, for its two addresses."""
        return self.stream.socket

    async def receive_some(self, limit_bytes: int) -> bytes | bytearray:
        """Some bytes, b"" at the end, or TooSlowError."""
        with trio.fail_after(self.params.idle_timeout_s):
            data = await self.stream.receive_some(limit_bytes)
        if not data:
            # Hypercorn would keep the place of a client that left until its idle time is over.
            self.lifetime.cancel()
        return data

    async def send_all(self, data: bytes) -> None:
        """Send all, or give the client up."""
        try:
            with trio.fail_after(self.params.write_timeout_s):
                await self.stream.send_all(data)
        except trio.TooSlowError:
            self.abort()
            raise trio.BrokenResourceError("the client does not read") from None

    async def send_eof(self) -> None:
        """Nothing: the end is said when the connection's tasks are gone."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """End the connection's tasks; the server closes the socket after them."""
        self.lifetime.cancel()
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        """Close the socket under whoever waits for it, shielded or not."""
        self.stream.socket.close()
        self.lifetime.cancel()


@attrs.define(eq=False)
class HttpServer:
    """Serves an app on one address until it is cancelled.

    `connections_refused` counts those turned away at `connections_limit`.
    """

    app: App
    params: WebParams
    contained: ContainedErrors
    connections_refused: int = 0
    _clients: dict[ClientStream, None] = attrs.field(factory=dict[ClientStream, None], init=False)

    @property
    def connection_count(self) -> int:
        """Connections being served now."""
        return len(self._clients)

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and serve.  Reports the address as `HOST:PORT`, with the port that was really taken."""
        listener = await self._listen()
        config = self._config()
        async with trio.open_nursery() as nursery:
            serve = partial(self._serve_client, config, WorkerContext(None))
            nursery.start_soon(partial(trio.serve_listeners, serve, [listener], handler_nursery=nursery))
            task_status.started(format_address(listener.socket.getsockname()))
            try:
                await trio.sleep_forever()
            finally:
                for client in tuple(self._clients):
                    client.abort()

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
        config.h2_max_header_list_size = self.params.head_limit_bytes
        config.h2_max_concurrent_streams = STREAMS_LIMIT
        config.keep_alive_timeout = self.params.idle_timeout_s
        return config

    async def _serve_client(self, config: Config, context: WorkerContext, stream: trio.SocketStream) -> None:
        async with stream:
            if len(self._clients) >= self.params.connections_limit:
                self.connections_refused += 1
                await self._say_goodbye(stream, BUSY)
                return
            # What hypercorn's protocol code raises over a client's bytes ends that connection alone.
            with self.contained.contain("http_connection"), trio.CancelScope() as lifetime:
                client = ClientStream(stream, self.params, lifetime)
                self._clients[client] = None
                try:
                    await TCPServer(
                        cast(Any, ASGIWrapper(cast(Any, self.app))),
                        config,
                        context,
                        ConnectionState(LifespanState({})),
                        cast(Any, client),
                    ).run()
                finally:
                    del self._clients[client]
            await self._say_goodbye(stream, b"")

    async def _say_goodbye(self, stream: trio.SocketStream, last_words: bytes) -> None:
        """Send the last bytes and the end, then read on: unread bytes would reset the answer."""
        with trio.move_on_after(LINGER_S):
            try:
                await stream.send_all(last_words)
                await stream.send_eof()
                read_bytes = 0
                while read_bytes < LINGER_LIMIT_BYTES:
                    chunk = await stream.receive_some()
                    if not chunk:
                        return
                    read_bytes += len(chunk)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return


def format_address(name: tuple[Any, ...]) -> str:
    """`HOST:PORT` of a socket's name, IPv6 hosts in brackets."""
    host, port = name[0], name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
