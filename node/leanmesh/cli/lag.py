"""`leanmesh lag`: who brings messages first, and by how much the others are late."""

import json
from typing import Any

import click
from rich.table import Table

from leanmesh.cli.asking import DEFAULT_API, ask, shaped
from leanmesh.cli.output import printable
from leanmesh.cli.tables import add_row, short_peer, show, whole

OFF = "the node does not track the lag of duplicates; set is_on = true under [lag] and start it again"


@click.command("lag")
@click.option("--api", default=DEFAULT_API, show_default=True, metavar="URL", help="The node to ask.")
@click.option("--pairs", "has_pairs", is_flag=True, help="Show every winner and loser, the busiest first.")
@click.option("--json", "is_json", is_flag=True, help="Print the API's answer as it is.")
def lag(api: str, *, has_pairs: bool, is_json: bool) -> None:
    """Show who is first how often in a running node, and how late the others are.

    The node must track it: is_on = true under [lag], or LEANMESH_LAG__IS_ON=true.
    """
    facts = ask(api, "/api/lag/pairs" if has_pairs else "/api/lag")
    if is_json:
        click.echo(json.dumps(facts, indent=2))
        return
    with shaped(api):
        # Also where it is on there are no pairs before the first copies.
        answer = ask(api, "/api/lag") if has_pairs and not facts["pairs"] else facts
        if not answer.get("pairs") and not answer["networks"]:
            click.echo(OFF)
        elif has_pairs:
            _show_pairs(facts["pairs"])
        else:
            for network in facts["networks"]:
                _show_network(network)


def _show_network(network: dict[str, Any]) -> None:
    columns = ("first", "share", "behind it", "ms p50", "late", "ms p50", "ms p99")
    table = Table(whole("peer"), *columns)
    for peer in network["peers"]:
        behind, late = peer["others_behind"], peer["late"]
        add_row(
            table,
            short_peer(peer["peer"]),
            peer["firsts"],
            f"{100 * peer['share']:.1f} %",
            behind["count"],
            _milliseconds(behind["median_s"]),
            late["count"],
            _milliseconds(late["median_s"]),
            _milliseconds(late["p99_s"]),
        )
    show(table, f"network {network['network_id']}: {_summary(network)}")
    if network["never_first"]:
        click.echo(printable(f"never first: {' '.join(map(short_peer, network['never_first']))}"))


def _summary(network: dict[str, Any]) -> str:
    every, rate = network["all"], network["sample_rate"]
    sentence = f"{every['count']} copies came late, by {_milliseconds(every['median_s'])} ms in the median"
    if network["expired"]:
        sentence += f"; {network['expired']} had nothing to be compared with"
    if rate > 1:
        sentence += f"; one message of {rate} is looked at, {network['unsampled']} copies were not"
    return sentence


def _show_pairs(pairs: list[dict[str, Any]]) -> None:
    table = Table("net", "first", "late", "copies", "ms mean", "ms p50", "ms p99")
    for pair in sorted(pairs, key=lambda pair: pair["count"], reverse=True):
        add_row(
            table,
            pair["network_id"],
            short_peer(pair["winner"]),
            short_peer(pair["loser"]),
            pair["count"],
            _milliseconds(pair["mean_s"]),
            _milliseconds(pair["median_s"]),
            _milliseconds(pair["p99_s"]),
        )
    show(table, f"{len(pairs)} pairs")


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.2f}"
