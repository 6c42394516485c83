"""Connections to NATS: made with our credentials, and the stream looked after.  Only what runs in asyncio.

The library's own reconnecting is off: it keeps a buffer of its own and says
nothing of what is in it.  A connection that is lost is over, and the sink makes another.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import attrs
from nats.aio.client import Client
from nats.errors import Error, NoServersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from leanmesh.bridge.errors import NatsRefused, NatsUnavailable
from leanmesh.bridge.nats_credentials import NatsCredentials
from leanmesh.bridge.params import NatsParams
from leanmesh.bridge.subjects import subjects_of_stream

# A server that answers our pings this slowly is as good as gone.
PING_INTERVAL_S = 10
PINGS_LIMIT = 2

# What a server may take to say goodbye.
CLOSE_TIMEOUT_S = 1.0

# What the server says when it does not let us in.
REFUSALS = ("authorization", "authentication", "account")

# JetStream's own code: somebody else made the stream in the meantime, otherwise.
STREAM_NAME_IN_USE = 10058


@attrs.define(eq=False)
class _Listener:
    """What the library tells of one connection; passed on from when it is ours."""

    on_lost: Callable[[str], None]
    on_error: Callable[[Exception], None]
    is_ours: bool = False
    heard: list[Exception] = attrs.field(factory=list[Exception])

    async def error_aio(self, error: Exception) -> None:
        """Something went wrong."""
        if self.is_ours:
            self.on_error(error)
        else:
            self.heard.append(error)

    async def closed_aio(self) -> None:
        """The connection is over."""
        if self.is_ours:
            self.on_lost("the server closed the connection")


async def connect_aio(
    params: NatsParams, on_error: Callable[[Exception], None], on_lost: Callable[[str], None]
) -> Client:
    """A connection to the first server that takes us.  NatsRefused or NatsUnavailable when none does."""
    credentials = _credentials(params)
    reasons: list[str] = []
    is_refused = False
    for url in params.urls:
        client, listener = Client(), _Listener(on_lost, on_error)
        try:
            async with asyncio.timeout(params.connect_timeout_s):
                await client.connect(
                    servers=[url],
                    name=f"leanmesh {params.name}",
                    error_cb=listener.error_aio,
                    closed_cb=listener.closed_aio,
                    allow_reconnect=False,
                    # The least that the library knows: it tries twice.
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    ping_interval=PING_INTERVAL_S,
                    max_outstanding_pings=PINGS_LIMIT,
                    # Nothing is kept for a server that is away: what is unacknowledged is kept by us.
                    pending_size=0,
                    **credentials,
                )
            listener.is_ours = True
            return client
        except TimeoutError:
            reasons.append(f"{url}: no answer within {params.connect_timeout_s:g} s")
        except (OSError, Error) as error:
            # The library says that no server is left; what was wrong it told before.
            cause = listener.heard[-1] if isinstance(error, NoServersError) and listener.heard else error
            reasons.append(f"{url}: {cause or type(cause).__name__}")
            is_refused |= any(word in str(cause).lower() for word in REFUSALS)
        except BaseException:
            await close_aio(client)
            raise
        await close_aio(client)
    if is_refused:
        raise NatsRefused(
            f"NATS does not let us in ({'; '.join(reasons)}): check user, password, token, secret_file or "
            "credentials_file"
        )
    raise NatsUnavailable(f"no NATS server can be reached ({'; '.join(reasons)})")


async def close_aio(client: Client) -> None:
    """Disconnect, within a second: a connection that broke in its handshake does not close by itself."""
    with contextlib.suppress(TimeoutError, OSError, Error):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await client.close()


def _credentials(params: NatsParams) -> dict[str, Any]:
    """What says who we are.  Files are read each time: secrets may be renewed."""
    try:
        secret = None
        if params.secret_file is not None:
            secret = Path(params.secret_file).expanduser().read_text().partition("\n")[0].strip()
            if not secret:
                raise NatsRefused(f"secret_file = {params.secret_file}: its first line is empty")
        given: dict[str, Any] = {
            "user": params.user,
            "password": params.password or (secret if params.user is not None else None),
            "token": params.token or (secret if params.user is None else None),
        }
        if params.credentials_file is not None:
            credentials = NatsCredentials.read(Path(params.credentials_file).expanduser())
            given["user_jwt_cb"] = lambda: credentials.jwt
            given["signature_cb"] = credentials.sign
        if params.tls_ca_file is not None:
            given["tls"] = ssl.create_default_context(cafile=str(Path(params.tls_ca_file).expanduser()))
    except OSError as error:
        raise NatsRefused(
            f"{error.filename or params.tls_ca_file}: cannot be read: {error.strerror}"
        ) from error
    except ValueError as error:
        raise NatsRefused(f"secret_file = {params.secret_file}: is no text") from error
    return given


async def check_stream_aio(client: Client, params: NatsParams) -> None:
    """See that the stream is there, or make it.  NatsRefused or NatsUnavailable when it is not."""
    stream = cast(Any, client).jetstream(timeout=params.connect_timeout_s)
    try:
        await _find_or_create_aio(stream, params)
    except ServiceUnavailableError as error:
        raise NatsUnavailable(
            f"the NATS server has no JetStream for us ({error.description or 'nobody answers'}); "
            "it is started with -js, and its account must allow it"
        ) from error
    except NatsTimeoutError as error:
        raise NatsUnavailable(
            f"JetStream said nothing of the stream {params.stream!r} in {params.connect_timeout_s:g} s; "
            f"a user that may publish only needs leave to ask $JS.API.STREAM.INFO.{params.stream}"
        ) from error
    except APIError as error:
        raise NatsRefused(
            f"JetStream refuses the stream {params.stream!r}: {error.description} ({error.err_code})"
        ) from error
    except (Error, OSError) as error:
        raise NatsUnavailable(f"the NATS server went away: {error or type(error).__name__}") from error


async def _find_or_create_aio(stream: Any, params: NatsParams) -> None:
    try:
        info = await stream.stream_info(params.stream)
        if info.config.no_ack:
            raise NatsRefused(
                f"the stream {params.stream!r} acknowledges nothing (no_ack), so nobody could know what it "
                "holds; make it without, or name another stream"
            )
        return
    except NotFoundError:
        if not params.create_stream:
            raise NatsRefused(
                f"there is no stream {params.stream!r} on the NATS server; make one that takes "
                f"{subjects_of_stream(params.subject)}, or set create_stream = true under [[nats]]"
            ) from None
    config = StreamConfig(
        name=params.stream,
        subjects=[subjects_of_stream(params.subject)],
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_bytes=params.stream_limit_bytes,
        max_age=params.stream_age_limit_s,
        duplicate_window=min(params.duplicate_window_s, params.stream_age_limit_s),
        num_replicas=params.stream_replicas,
    )
    try:
        await stream.add_stream(config)
    except APIError as error:
        if error.err_code != STREAM_NAME_IN_USE:
            raise
