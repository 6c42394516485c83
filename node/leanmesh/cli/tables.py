"""Tables on the terminal, of what a running node told."""

from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from leanmesh.cli.output import printable


def show(table: Table, summary: str) -> None:
    """Print a table and a sentence below it."""
    console = Console()
    console.print(table)
    console.print(cell(summary))


def cell(value: object) -> Text:
    """A value as it is.  A plain text would be read as markup, and brings its escapes to the terminal."""
    return Text(printable(str(value)))


def add_row(table: Table, *values: object) -> None:
    """One row of values; some of them are what peers call themselves and their topics."""
    table.add_row(*map(cell, values))


def whole(header: str) -> Column:
    """A column that is never cut off, where the terminal is too narrow for all of them."""
    return Column(header, no_wrap=True)


def short_peer(peer: Any) -> str:
    """Enough of a peer id to know it by."""
    text = str(peer)
    return f"{text[:4]}..{text[-6:]}"
