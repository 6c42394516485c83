"""`leanmesh peers` and `leanmesh mesh`: what a running node sees, asked over its API."""

import json
from typing import Any

import click
from rich.table import Table

from leanmesh.cli.asking import DEFAULT_API, ask, shaped
from leanmesh.cli.tables import add_row, short_peer, show, whole

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
    with shaped(api):
        _show_peers(facts["peers"])


def _show_peers(peers: list[dict[str, Any]]) -> None:
    table = Table("net", whole("peer"), "agent", "dir", "protocol", "meshes", "rtt ms", "outbox", "for")
    for peer in peers:
        rtt_s = peer["rtt_s"]
        add_row(
            table,
            peer["network_id"],
            short_peer(peer["peer"]),
            peer["agent"],
            "out" if peer["is_outbound"] else "in",
            peer["protocol"] or "no gossip",
            ", ".join(peer["meshes"]) or "-",
            "-" if rtt_s is None else f"{1000 * rtt_s:.1f}",
            f"{peer['outbox_messages']}" + (f" slow: {peer['slow_reason']}" if peer["slow_reason"] else ""),
            f"{peer['connected_s']:.0f} s",
        )
    show(table, f"{len(peers)} peers")


@click.command("mesh")
@_API
@_JSON
@click.option(
    "--links",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many of the last links to show: who grafted, why, for how long, why it ended.",
)
def mesh(api: str, links: int, *, is_json: bool) -> None:
    """Show the meshes of a running node, and the links they are and were made of."""
    facts = ask(api, "/api/mesh")
    if is_json:
        click.echo(json.dumps(facts, indent=2))
        return
    with shaped(api):
        _show_topics(facts["topics"])
        if links:
            _show_links(facts["links"], links)


def _show_topics(topics: list[dict[str, Any]]) -> None:
    table = Table("net", "topic", "taken", "mesh", "peers in it", "peers that take it")
    for topic in topics:
        add_row(
            table,
            topic["network_id"],
            topic["topic"],
            "yes" if topic["is_joined"] else "no",
            len(topic["mesh"]),
            " ".join(map(short_peer, topic["mesh"])) or "-",
            len(topic["peers"]),
        )
    show(table, f"{len(topics)} topics")


def _show_links(links: list[dict[str, Any]], count: int) -> None:
    table = Table("net", "topic", whole("peer"), "by", "why", "for", "ended", "firsts", title="links")
    shown = links[max(0, len(links) - count) :]
    for link in shown:
        add_row(
            table,
            link["network_id"],
            link["topic"],
            short_peer(link["peer"]),
            link["grafted_by"],
            link["reason"],
            f"{link['duration_s']:.0f} s",
            link["ended"] or "-",
            link["firsts"],
        )
    show(table, f"{len(shown)} of the {len(links)} links that are and were last")
