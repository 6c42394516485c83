"""`leanmesh worker`: one worker process, as the supervisor of `leanmesh run --workers N` starts it."""

import signal
from functools import partial

import click

from leanmesh.cli.lifetime import run_command
from leanmesh.cli.network_options import options
from leanmesh.cli.output import log_to_output
from leanmesh.workers import run_worker


@click.command("worker", hidden=True)
@options("log_format")
@click.option("--quiet", is_flag=True, help="No events.")
@click.argument("channel", type=int)
@click.argument("cells", type=int)
@click.argument("supervisor", type=int)
def worker(channel: int, cells: int, supervisor: int, log_format: str, *, quiet: bool) -> None:
    """Run networks for the process SUPERVISOR, told over the descriptor CHANNEL, counted in CELLS."""
    log_to_output(log_format, has_events=not quiet)
    # To the supervisor it means something, and whoever sends it by name means that one.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run_command(partial(run_worker, channel, cells, supervisor))
