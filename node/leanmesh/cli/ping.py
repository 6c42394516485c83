"""`leanmesh ping` and `leanmesh id`: how far away a peer is, and what it says of itself."""

import json
import statistics
from typing import Any

import click
import trio

from leanmesh.cli.asking import DEFAULT_API, ask
from leanmesh.cli.lifetime import run_command
from leanmesh.cli.network_options import options
from leanmesh.cli.numbers import NOT_NEGATIVE
from leanmesh.cli.output import say
from leanmesh.run import client_settings, open_node


@click.command("ping")
@click.argument("address", metavar="MULTIADDR")
@click.option("--count", type=click.IntRange(min=1), default=4, show_default=True, help="Pings to send.")
@click.option("--interval", "interval_s", type=NOT_NEGATIVE, default=1.0, help="Seconds between them.")
@options("key")
def ping(address: str, count: int, interval_s: float, key: str | None) -> None:
    """Measure the round trip to a peer, over a connection of our own.

    \b
    leanmesh ping /ip4/127.0.0.1/tcp/9000/p2p/12D3Koo...
    """
    run_command(lambda: _ping(address, count, interval_s, key))


async def _ping(address: str, count: int, interval_s: float, key: str | None) -> None:
    async with open_node(client_settings(key_file=key)) as node:
        started_s = trio.current_time()
        connection = await node.connect(address)
        say(
            f"connected to {connection.remote_peer} at {connection.remote_address} "
            f"in {1000 * (trio.current_time() - started_s):.1f} ms"
        )
        rtts_s: list[float] = []
        async with node.ping(connection, interval_s=interval_s) as round_trips:
            while len(rtts_s) < count:
                rtts_s.append(await anext(round_trips))
                click.echo(f"ping {len(rtts_s)}: {1000 * rtts_s[-1]:.3f} ms")
        click.echo(
            f"{count} answered; min {1000 * min(rtts_s):.3f}, median {1000 * statistics.median(rtts_s):.3f}, "
            f"max {1000 * max(rtts_s):.3f} ms"
        )


@click.command("id")
@click.argument("address", metavar="[MULTIADDR]", required=False)
@click.option("--api", default=DEFAULT_API, show_default=True, metavar="URL", help="The running node to ask.")
@options("key")
def show_id(address: str | None, api: str, key: str | None) -> None:
    """Say who the node that runs here is; with MULTIADDR, what that peer says of itself."""
    if address is None:
        click.echo(json.dumps(ask(api, "/api/node"), indent=2))
    else:
        run_command(lambda: _identify(address, key))


async def _identify(address: str, key: str | None) -> None:
    async with open_node(client_settings(key_file=key)) as node:
        connection = await node.connect(address)
        told = await node.identify(connection)
        facts: dict[str, Any] = {
            "peer_id": str(connection.remote_peer),
            "agent": told.agent_version,
            "protocol_version": told.protocol_version,
            "listen": [str(each) for each in told.listen_addresses],
            "observed": str(told.observed_address) if told.observed_address else None,
            "protocols": list(told.protocols),
        }
        click.echo(json.dumps(facts, indent=2))
