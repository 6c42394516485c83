"""`leanmesh publish`: messages from a file or a pipe onto a topic."""

import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import click
import trio

from leanmesh.cli.lifetime import run_command
from leanmesh.cli.network_options import options
from leanmesh.cli.output import say
from leanmesh.errors import RemoteError
from leanmesh.run import client_settings, open_node

# A line longer than any network takes is refused before it fills memory.
LINE_LIMIT_BYTES = 16 * 1024 * 1024
PROGRESS_INTERVAL_S = 1.0


@click.command("publish")
@click.argument("topic")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--raw", is_flag=True, help="Publish all of FILE as one message.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Seconds to wait for a peer that takes TOPIC.",
)
@options("profile", "key", "peer", "signing", "message_id")
def publish(
    topic: str, file: BinaryIO, timeout_s: float, peer: tuple[str, ...], *, raw: bool, **given: Any
) -> None:
    """Publish each line of FILE (standard input without one, or -) to TOPIC.

    It ends when every message has been written to at least one peer.

    \b
    echo hello | leanmesh publish --peer /ip4/127.0.0.1/tcp/9000/p2p/12D3Koo... news
    """
    if not peer:
        raise click.UsageError("give at least one --peer MULTIADDR to publish through")
    run_command(lambda: _publish(topic, file, timeout_s, peer, raw=raw, given=given))


async def _publish(
    topic: str, file: BinaryIO, timeout_s: float, peers: tuple[str, ...], *, raw: bool, given: dict[str, Any]
) -> None:
    given["key_file"] = given.pop("key")
    messages = iter([file.read()]) if raw else _lines(file)
    published = 0
    shown_s = trio.current_time()
    async with open_node(client_settings(**given)) as node:
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


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(LINE_LIMIT_BYTES + 1):
        if len(line) > LINE_LIMIT_BYTES:
            raise RemoteError(
                f"a line exceeds {LINE_LIMIT_BYTES} bytes; publish it with --raw from a file of its own"
            )
        yield line.removesuffix(b"\n")
