"""`leanmesh check-config FILE`: what the settings are, or everything that is wrong with them."""

import os
from pathlib import Path

import click

from leanmesh.settings import load


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
def check_config(file: Path) -> None:
    """Check FILE and print every setting in effect and where it comes from."""
    click.echo(load(file, os.environ).effective())
