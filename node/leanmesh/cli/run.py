"""`leanmesh run`: one node, until it is told to stop."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from leanmesh.cli.lifetime import run_command
from leanmesh.cli.network_options import flags, options
from leanmesh.cli.output import emit, log_to_output, say
from leanmesh.errors import LocalError
from leanmesh.run import Ready, run
from leanmesh.settings import Settings, load
from leanmesh.workers import WorkersReady, run_workers, worker_command


@click.command("run")
@options(
    "config",
    "profile",
    "key",
    "listen",
    "announce",
    "peer",
    "topic",
    "role",
    "signing",
    "message_id",
    "metrics",
    "nats",
    "workers",
    "trace",
    "record",
    "log_format",
)
@click.option(
    "--bootnodes", type=click.Path(path_type=Path), metavar="FILE", help="nodes.yaml of a lean network."
)
def command(config: Path | None, bootnodes: Path | None, log_format: str, **given: Any) -> None:
    """Run a node until Ctrl-C or SIGTERM.

    It joins the network of its peers, relays the topics it takes, and serves
    /metrics, /healthz and /api on the metrics address.  Flags go before the
    environment (LEANMESH_WEB__LISTEN=...), and that before the file.

    \b
    leanmesh run --topic news --peer /ip4/192.0.2.7/tcp/9000/p2p/12D3Koo...
    """
    if bootnodes is not None:
        raise LocalError(
            "--bootnodes lists ENRs of a lean network; this version dials with --peer MULTIADDR only"
        )
    settings = load(config, os.environ, flags(given)).settings
    log_to_output(log_format)
    serve = partial(_supervise, log_format=log_format) if settings.workers.count else _serve
    run_command(partial(serve, settings, is_json=log_format == "json"))


async def _supervise(settings: Settings, *, log_format: str, is_json: bool) -> None:
    async with trio.open_nursery() as nursery:
        command = worker_command("--log-format", log_format)
        ready: WorkersReady = await nursery.start(run_workers, settings, command)
        if is_json:
            _emit_workers_ready(ready)
        else:
            _say_workers_ready(ready)


async def _serve(settings: Settings, *, is_json: bool) -> None:
    async with trio.open_nursery() as nursery:
        ready = await nursery.start(run, settings)
        if is_json:
            _emit_ready(ready)
        else:
            _say_ready(ready, settings)


def _emit_ready(ready: Ready) -> None:
    first = ready.node.network()
    emit(
        event="ready",
        peer_id=str(first.key.peer_id),
        listen=[str(address) for address in first.listen_addresses],
        metrics=ready.metrics_url,
        cells=str(ready.cells_path or ""),
        networks=[
            {
                "network_id": network_id,
                "peer_id": str(network.key.peer_id),
                "listen": [str(address) for address in network.listen_addresses],
                "topics": list(network.topics),
            }
            for network_id, network in ready.node.networks.items()
        ],
    )


def _emit_workers_ready(ready: WorkersReady) -> None:
    workers = ready.supervisor.workers
    networks = {
        facts.network_id: {
            "network_id": facts.network_id,
            "peer_id": facts.peer_id,
            "listen": facts.listen,
            "topics": facts.topics,
            "worker": worker.number,
        }
        for worker in workers
        for facts in worker.facts
    }
    first = networks[workers[0].facts[0].network_id]
    emit(
        event="ready",
        peer_id=first["peer_id"],
        listen=first["listen"],
        metrics=ready.metrics_url,
        cells=str(ready.cells_path or ""),
        networks=[networks[network_id] for network_id in sorted(networks)],
    )


def _say_workers_ready(ready: WorkersReady) -> None:
    for worker in ready.supervisor.workers:
        say(f"{worker.name}:")
        for facts in worker.facts:
            say(f"  network {facts.network_id}: we are {facts.peer_id}")
            for address in facts.listen:
                say(f"    listening on {address}")
            say(f"    topics: {', '.join(facts.topics) or 'none'}")
    say(f"metrics: {ready.metrics_url}")


def _say_ready(ready: Ready, settings: Settings) -> None:
    for network_id, network in ready.node.networks.items():
        params = network.params
        say(f"network {network_id}: we are {network.key.peer_id}")
        for address in network.listen_addresses:
            say(f"  listening on {address}")
        say(f"  topics: {', '.join(network.topics) or 'none; give --topic to take part in a mesh'}")
        if not params.peers:
            say("  peers: none configured; others must dial us, or give --peer")
    say(f"metrics: {ready.metrics_url}")
