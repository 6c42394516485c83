"""`leanmesh devnet`: a whole network in one process, with living traffic and one page of figures."""

import os
import sys
from functools import partial

import click
import trio

from leanmesh.cli.lifetime import run_command
from leanmesh.cli.network_options import options
from leanmesh.cli.output import emit, log_to_output, say
from leanmesh.cli.status import show_status
from leanmesh.devnet import Devnet
from leanmesh.errors import LocalError
from leanmesh.settings import load

# Slots of the C array: a process has no more networks than that.
NODES_LIMIT = 64
# At the end of --duration, for what is still on its way.
SETTLE_TIMEOUT_S = 5.0


@click.command("devnet")
@click.option(
    "--nodes", type=click.IntRange(2, NODES_LIMIT), default=8, show_default=True, help="Peers to run."
)
@click.option(
    "--transport",
    type=click.Choice(["tcp", "quic", "memory"]),
    default="tcp",
    show_default=True,
    help="tcp: loopback sockets with Noise and yamux; memory: without sockets.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Messages per second, in all.",
)
@click.option(
    "--size", type=click.IntRange(16, 1024 * 1024), default=1024, show_default=True, help="Bytes of each."
)
@click.option("--topic", default="devnet", show_default=True, help="The topic that all take.")
@click.option("--duration", "duration_s", type=click.FloatRange(min=0), help="End after so many seconds.")
@click.option("--seed", type=int, help="Repeat who dials whom and who publishes when.")
@options("profile", "signing", "metrics", "log_format")
def devnet(
    nodes: int,
    transport: str,
    rate: float,
    size: int,
    topic: str,
    duration_s: float | None,
    seed: int | None,
    profile: str | None,
    signing: str | None,
    metrics: str | None,
    log_format: str,
) -> None:
    """Run a network of peers in this process until Ctrl-C.

    They find each other over loopback, form a mesh, publish and relay; the page
    under /metrics shows all of them, each under its network_id.

    \b
    leanmesh devnet --nodes 16 --rate 200
    curl http://127.0.0.1:9470/metrics
    leanmesh mesh
    """
    if transport == "quic":
        raise LocalError("--transport quic: this version has no QUIC yet; take tcp or memory")
    if profile == "lean":
        raise LocalError("--profile lean needs QUIC, which this version does not have; take libp2p")
    flags = {} if metrics is None else {"web.listen": ("--metrics", metrics)}
    settings = load(None, os.environ, flags).settings
    # On a terminal the status display says everything; lines between would tear it.
    is_interactive = log_format == "text" and sys.stdout.isatty()
    if not is_interactive:
        log_to_output(log_format, has_events=log_format == "json")
    net = Devnet(
        settings,
        nodes=nodes,
        is_in_memory=transport == "memory",
        rate_per_s=rate,
        size_bytes=size,
        topic=topic,
        seed=seed,
        signing=signing or "strict",
    )
    run_command(partial(_run, net, duration_s, log_format, is_interactive=is_interactive))


async def _run(net: Devnet, duration_s: float | None, log_format: str, *, is_interactive: bool) -> None:
    async with trio.open_nursery() as nursery:
        say(f"starting {net.nodes} peers")
        url = await nursery.start(net.run)
        if log_format == "json":
            emit(event="ready", metrics=url, peers=net.peer_ids)
        else:
            say(f"{net.nodes} peers take the topic {net.topic}; metrics: {url}")
        with trio.move_on_after(float("inf") if duration_s is None else duration_s):
            await show_status(net, url, is_interactive=is_interactive, is_json=log_format == "json")
        await net.settle(SETTLE_TIMEOUT_S)
        nursery.cancel_scope.cancel()
    if log_format == "json":
        emit(event="done", **net.totals())
    else:
        totals = net.totals()
        say(
            f"done: {totals['published']} published, {totals['delivered']} delivered to {net.nodes} peers, "
            f"{totals['missing']} still missing"
        )
