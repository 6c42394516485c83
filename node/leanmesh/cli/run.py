"""`leanmesh run`: one node, until it is told to stop."""

import json
import logging
import os
from functools import partial
from pathlib import Path

import click
import trio

from leanmesh.cli.lifetime import run_until_stopped
from leanmesh.run import Ready, run
from leanmesh.settings import Settings, load


@click.command("run")
@click.option(
    "--config", type=click.Path(path_type=Path), help="TOML file of settings (see leanmesh check-config)."
)
@click.option(
    "--metrics", metavar="HOST:PORT", help="Where to serve HTTP; port 0 takes a free one.  [127.0.0.1:9470]"
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(config: Path | None, metrics: str | None, log_format: str) -> None:
    """Run a node until Ctrl-C or SIGTERM."""
    flags = {} if metrics is None else {"web.listen": ("--metrics", metrics)}
    settings = load(config, os.environ, flags).settings
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    trio.run(run_until_stopped, partial(_serve, settings, is_json=log_format == "json"))


async def _serve(settings: Settings, *, is_json: bool) -> None:
    async with trio.open_nursery() as nursery:
        ready = await nursery.start(run, settings)
        _announce(ready, is_json=is_json)


def _announce(ready: Ready, *, is_json: bool) -> None:
    facts = {"event": "ready", "metrics": ready.metrics_url, "cells": str(ready.cells_path or "")}
    click.echo(json.dumps(facts) if is_json else f"ready: {ready.metrics_url}")
