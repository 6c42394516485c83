"""`leanmesh publish`: messages from a file or a pipe onto a topic."""

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

import click
import trio

from leanmesh.cli.lifetime import run_command
from leanmesh.cli.network_options import options
from leanmesh.cli.numbers import NOT_NEGATIVE
from leanmesh.cli.output import say
from leanmesh.errors import LocalError, RemoteError
from leanmesh.run import client_settings, open_node

CHUNK_BYTES = 64 * 1024
PROGRESS_INTERVAL_S = 1.0


@click.command("publish")
@click.argument("topic")
@click.argument("file", type=click.Path(path_type=Path), default="-")
@click.option("--raw", is_flag=True, help="Publish all of FILE as one message.")
@click.option(
    "--timeout",
    "timeout_s",
    type=NOT_NEGATIVE,
    default=10.0,
    show_default=True,
    help="Seconds to wait for a peer that takes TOPIC.",
)
@options("profile", "key", "peer", "signing", "message_id")
def publish(
    topic: str, file: Path, timeout_s: float, peer: tuple[str, ...], *, raw: bool, **given: Any
) -> None:
    """Publish each line of FILE (standard input without one, or -) to TOPIC.

    It ends when every message has been written to at least one peer.

    \b
    echo hello | leanmesh publish --peer /ip4/127.0.0.1/tcp/9000/p2p/12D3Koo... news
    """
    if not peer:
        raise click.UsageError("give at least one --peer MULTIADDR to publish through")
    given["key_file"] = given.pop("key")
    with _opened(file) as chunks:
        run_command(partial(_publish, topic, chunks, timeout_s, peer, raw=raw, given=given))


async def _publish(
    topic: str,
    chunks: Iterator[bytes],
    timeout_s: float,
    peers: tuple[str, ...],
    *,
    raw: bool,
    given: dict[str, Any],
) -> None:
    settings = client_settings(**given)
    messages = (whole if raw else lines)(chunks, settings.gossip.message_limit_bytes)
    published = 0
    shown_s = trio.current_time()
    async with open_node(settings) as node:
        for address in peers:
            await node.connect(address)
        while (
            message := await trio.to_thread.run_sync(next, messages, None, abandon_on_cancel=True)
        ) is not None:
            receipt = await node.publish(topic, message, written_by=1, timeout_s=timeout_s)
            if not receipt.written:
                raise RemoteError(
                    f"message {published + 1} was written to none of the {receipt.recipients} peers "
                    f"that take {topic} within {timeout_s:g} s; {published} messages before it were"
                )
            published += 1
            if sys.stderr.isatty() and trio.current_time() - shown_s > PROGRESS_INTERVAL_S:
                shown_s = trio.current_time()
                say(f"{published} published")
    say(f"{published} message{'' if published == 1 else 's'} published to {topic}")


@contextmanager
def _opened(file: Path) -> Generator[Iterator[bytes]]:
    """What can be read, piece by piece."""
    if str(file) == "-":
        # None when whoever started us has closed it.
        if cast("TextIO | None", sys.stdin) is None:
            raise LocalError("standard input is closed; name a FILE to publish")
        yield _chunks(sys.stdin.fileno(), "standard input")
        return
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LocalError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        yield _chunks(descriptor, str(file))
    finally:
        os.close(descriptor)


def _chunks(descriptor: int, name: str) -> Iterator[bytes]:
    """All that can be read.

    From the descriptor itself: a thread that is left behind in a read holds the lock
    of a buffered file, and the interpreter cannot end without it.
    """
    try:
        while chunk := os.read(descriptor, CHUNK_BYTES):
            yield chunk
    except OSError as error:
        raise LocalError(f"{name} cannot be read: {error.strerror}") from error


def lines(chunks: Iterator[bytes], limit_bytes: int) -> Iterator[bytes]:
    """The lines without their ends.  Raises LocalError for one longer than a message may be."""
    line = bytearray()
    for chunk in chunks:
        head, *others = chunk.split(b"\n")
        line += head
        for other in others:
            _check(line, limit_bytes)
            yield bytes(line)
            line = bytearray(other)
        _check(line, limit_bytes)
    if line:
        yield bytes(line)


def whole(chunks: Iterator[bytes], limit_bytes: int) -> Iterator[bytes]:
    """All of it as one message.  Raises LocalError, having read little more, when it is too large for one."""
    message = bytearray()
    for chunk in chunks:
        message += chunk
        _check(message, limit_bytes)
    yield bytes(message)


def _check(message: bytearray, limit_bytes: int) -> None:
    if len(message) > limit_bytes:
        raise LocalError(f"a message exceeds {limit_bytes} bytes, the most that the network takes")
