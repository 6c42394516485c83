"""`leanmesh peers` and `leanmesh mesh`: what a running node sees, asked over its API."""

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from leanmesh.cli.asking import DEFAULT_API, ask

_API = click.option("--api", default=DEFAULT_API, show_default=True, metavar="URL", help="The node to ask.")
_JSON = click.option("--json", "is_json", is_flag=True, help="Print the API's answer as it is.")


@click.command("peers")
@_API
@_JSON
def peers(api: str, *, is_json: bool) -> None:
    """Show the connected peers of a running node."""
    facts = ask(api, "/api/peers")
    if is_json:
        click.echo(json.dumps(facts, indent=2))
        return
    table = Table("net", "peer", "agent", "dir", "protocol", "meshes", "rtt ms", "outbox", "for")
    for peer in facts["peers"]:
        rtt_s = peer["rtt_s"]
        table.add_row(
            str(peer["network_id"]),
            _short(peer["peer"]),
            peer["agent"],
            "out" if peer["is_outbound"] else "in",
            peer["protocol"] or "no gossip",
            ", ".join(peer["meshes"]) or "-",
            "-" if rtt_s is None else f"{1000 * rtt_s:.1f}",
            f"{peer['outbox_messages']}" + (f" slow: {peer['slow_reason']}" if peer["slow_reason"] else ""),
            f"{peer['connected_s']:.0f} s",
        )
    _show(table, f"{len(facts['peers'])} peers")


@click.command("mesh")
@_API
@_JSON
def mesh(api: str, *, is_json: bool) -> None:
    """Show the meshes of a running node."""
    facts = ask(api, "/api/mesh")
    if is_json:
        click.echo(json.dumps(facts, indent=2))
        return
    table = Table("net", "topic", "taken", "mesh", "peers in it", "peers that take it")
    for topic in facts["topics"]:
        table.add_row(
            str(topic["network_id"]),
            topic["topic"],
            "yes" if topic["is_joined"] else "no",
            str(len(topic["mesh"])),
            " ".join(map(_short, topic["mesh"])) or "-",
            str(len(topic["peers"])),
        )
    _show(table, f"{len(facts['topics'])} topics")


def _show(table: Table, summary: str) -> None:
    console = Console()
    console.print(table)
    console.print(summary)


def _short(peer: Any) -> str:
    text = str(peer)
    return f"{text[:4]}..{text[-6:]}"
