"""`leanmesh subscribe`: the messages of topics as JSON lines."""

import base64
import json
import sys
import time
from typing import Any

import base58
import click
import trio

from leanmesh.cli.lifetime import run_command
from leanmesh.cli.network_options import options
from leanmesh.cli.output import say
from leanmesh.run import Node, Overflow, ReceivedMessage, client_settings, open_node


@click.command("subscribe")
@click.argument("topics", metavar="TOPIC...", nargs=-1, required=True)
@click.option("--count", type=click.IntRange(min=1), help="End after so many messages.")
@options("profile", "key", "peer", "signing", "message_id")
def subscribe(topics: tuple[str, ...], count: int | None, peer: tuple[str, ...], **given: Any) -> None:
    """Print the messages of each TOPIC, one JSON object per line, data in base64.

    A reader that is slow slows the network down rather than losing messages.

    \b
    leanmesh subscribe --peer /ip4/127.0.0.1/tcp/9000/p2p/12D3Koo... news
    """
    if not peer:
        raise click.UsageError("give at least one --peer MULTIADDR to receive from")
    given["key_file"] = given.pop("key")
    run_command(lambda: _subscribe(topics, count, client_settings(peers=peer, **given)))


async def _subscribe(topics: tuple[str, ...], count: int | None, settings: Any) -> None:
    printer = Printer(count)
    async with open_node(settings) as node, trio.open_nursery() as nursery:
        for topic in dict.fromkeys(topics):
            nursery.start_soon(_print_topic, node, topic, printer, nursery.cancel_scope)
        say(f"waiting for messages of {', '.join(topics)}; Ctrl-C ends")


class Printer:
    """Counts what was printed, and knows when it is enough."""

    def __init__(self, limit: int | None) -> None:
        self._missing = limit
        # Messages are stamped on Trio's clock; lines are for programs that have the wall clock.
        self._clock_offset_s = time.time() - trio.current_time()

    def print(self, messages: list[ReceivedMessage]) -> bool:
        """Print messages; False when no more are wanted."""
        if self._missing is not None:
            messages = messages[: self._missing]
            self._missing -= len(messages)
        sys.stdout.write("".join(self._line(message) for message in messages))
        sys.stdout.flush()
        return self._missing != 0

    def _line(self, message: ReceivedMessage) -> str:
        facts = {
            "topic": message.topic,
            "id": message.message_id.hex(),
            "from": base58.b58encode(message.author).decode() if message.author else None,
            "peer": str(message.peer) if message.peer else None,
            "size": len(message.data),
            "data": base64.b64encode(message.data).decode(),
            "received_at_s": round(message.received_at_s + self._clock_offset_s, 6),
        }
        return json.dumps(facts) + "\n"


async def _print_topic(node: Node, topic: str, printer: Printer, scope: trio.CancelScope) -> None:
    async with node.subscribe(topic, overflow=Overflow.WAIT) as subscription:
        while True:
            batch = await subscription.receive_batch()
            # In a thread: whoever reads our output may be slow, and the node must go on.
            if not await trio.to_thread.run_sync(printer.print, batch):
                scope.cancel()
                return
