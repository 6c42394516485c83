"""`leanmesh replay FILE`: repeats what a network recorded, up to the bug that ended it."""

from pathlib import Path

import click

from leanmesh.cli.output import printable_lines
from leanmesh.errors import LocalError
from leanmesh.service.replay import replay_file


@click.command("replay")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def replay(file: Path) -> None:
    """Feed the events in FILE to a router that starts as the recorded one did.

    FILE is of `leanmesh run --record FOLDER`.  What goes out must be the same to the
    byte, and so must the exception that ended the network, if one did: it is shown.
    Exit code 1 when something differs, or the file is damaged.
    """
    try:
        replayed = replay_file(file)
    except LocalError as error:
        raise click.ClickException(printable_lines(str(error))) from error
    for sentence in replayed.sentences():
        click.echo(printable_lines(sentence))
