"""`leanmesh devnet`: a whole network in one process, with living traffic and one page of figures."""

import os
import sys
from contextlib import AbstractContextManager
from functools import partial

import attrs
import click
import trio

from leanmesh.cli.lifetime import MainPart, run_command
from leanmesh.cli.network_options import options
from leanmesh.cli.numbers import NOT_NEGATIVE
from leanmesh.cli.output import emit, log_to_output, say
from leanmesh.cli.status import LINE_INTERVAL_S, show_status
from leanmesh.devnet import Devnet, Share, devnet_networks, with_dials
from leanmesh.errors import LocalError
from leanmesh.settings import Settings, load
from leanmesh.workers import WorkersReady, run_workers, worker_command

# Slots of the C array: a process has no more networks than that.
NODES_LIMIT = 64
# At the end, for what is still on its way.
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
    type=NOT_NEGATIVE,
    default=10.0,
    show_default=True,
    help="Messages per second, in all.",
)
@click.option(
    "--size", type=click.IntRange(16, 1_000_000), default=1024, show_default=True, help="Bytes of each."
)
@click.option("--topic", default="devnet", show_default=True, help="The topic that all take.")
@click.option("--duration", "duration_s", type=NOT_NEGATIVE, help="End after so many seconds.")
@click.option("--seed", type=int, help="Repeat who dials whom and who publishes when.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Spread the peers over N processes; 0: one for all.  [0]",
)
@options("profile", "signing", "metrics", "log_format")
def devnet(
    nodes: int,
    transport: str,
    rate: float,
    size: int,
    topic: str,
    duration_s: float | None,
    seed: int | None,
    workers: int,
    profile: str | None,
    signing: str | None,
    metrics: str | None,
    log_format: str,
) -> None:
    """Run a network of peers in this process until Ctrl-C, which prints what came of it.

    They find each other over loopback, form a mesh, publish and relay; the page
    under /metrics shows all of them, each under its network_id.

    \b
    leanmesh devnet --nodes 16 --rate 200
    curl http://127.0.0.1:9470/metrics
    leanmesh mesh

    With --workers the peers run in several processes behind the same page; kill
    one and see that no count falls.
    """
    if transport == "quic":
        raise LocalError("--transport quic: this version has no QUIC yet; take tcp or memory")
    if profile == "lean":
        raise LocalError("--profile lean needs QUIC, which this version does not have; take libp2p")
    flags = {} if metrics is None else {"web.listen": ("--metrics", metrics)}
    settings = load(None, os.environ, flags).settings
    main_part = MainPart()
    until_s = float("inf") if duration_s is None else duration_s
    # On a terminal the status display says everything; lines between would tear it.
    is_interactive = log_format == "text" and sys.stdout.isatty()
    if not is_interactive:
        log_to_output(log_format, has_events=log_format == "json")
    if workers:
        if transport != "tcp" or seed is not None:
            raise LocalError("--workers: processes meet over --transport tcp, and no --seed repeats them")
        settings = attrs.evolve(
            settings,
            network=devnet_networks(nodes, topic, signing or "strict"),
            workers=attrs.evolve(settings.workers, count=workers),
        )
        share = Share(topic, rate / workers, size)
        run_command(
            partial(_run_workers, settings, share, main_part.for_at_most(until_s), log_format), main_part
        )
        return
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
    run_command(
        partial(_run, net, main_part.for_at_most(until_s), log_format, is_interactive=is_interactive),
        main_part,
    )


async def _run(
    net: Devnet, main_part: AbstractContextManager[None], log_format: str, *, is_interactive: bool
) -> None:
    async with trio.open_nursery() as nursery:
        say(f"starting {net.nodes} peers")
        url = await nursery.start(net.run)
        if log_format == "json":
            emit(event="ready", metrics=url, peers=net.peer_ids)
        else:
            say(f"{net.nodes} peers take the topic {net.topic}; metrics: {url}")
        with main_part:
            await show_status(net, url, is_interactive=is_interactive, is_json=log_format == "json")
        await net.settle(SETTLE_TIMEOUT_S)
        # Before the networks stop: stopped ones have no peers and no counts of their own.
        totals = net.totals()
        nursery.cancel_scope.cancel()
    if log_format == "json":
        emit(event="done", **totals)
    else:
        say(
            f"done: {totals['published']} published, {totals['delivered']} delivered to {net.nodes} peers, "
            f"{totals['missing']} still missing"
        )


async def _run_workers(
    settings: Settings, share: Share, main_part: AbstractContextManager[None], log_format: str
) -> None:
    is_json = log_format == "json"
    async with trio.open_nursery() as nursery:
        say(f"starting {len(settings.network)} peers in {settings.workers.count} processes")
        command = worker_command("--log-format", log_format, *([] if is_json else ["--quiet"]))
        ready: WorkersReady = await nursery.start(
            partial(run_workers, settings, command, complete=with_dials, share=share)
        )
        if is_json:
            emit(event="ready", metrics=ready.metrics_url, peers=_peer_ids(ready))
        else:
            say(f"{len(settings.network)} peers take the topic {share.topic}; metrics: {ready.metrics_url}")
        with main_part:
            while True:
                await trio.sleep(LINE_INTERVAL_S)
                _tell_totals(ready, "status", is_json=is_json)
        await ready.snapshotter.refresh()
        _tell_totals(ready, "done", is_json=is_json)
        nursery.cancel_scope.cancel()


def _peer_ids(ready: WorkersReady) -> list[str]:
    peers = {facts.network_id: facts.peer_id for worker in ready.supervisor.workers for facts in worker.facts}
    return [peers[network_id] for network_id in sorted(peers)]


def _tell_totals(ready: WorkersReady, event: str, *, is_json: bool) -> None:
    totals = {
        "published": int(ready.total("gossipsub_topic_msg_published_total")),
        "delivered": int(ready.total("gossipsub_topic_msg_recv_counts_total")),
        "duplicates": int(ready.total("gossipsub_duplicate_messages_total")),
        "mesh_peers": int(ready.total("lean_gossip_mesh_peers")),
        "restarts": int(ready.total("leanmesh_worker_restarts_total")),
    }
    if is_json:
        emit(event=event, **totals)
    else:
        say(f"{event}: " + ", ".join(f"{count} {name}" for name, count in totals.items()))
