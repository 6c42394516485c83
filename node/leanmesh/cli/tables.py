"""Tables on the terminal, of what a running node told."""

from typing import Any

from rich.console import Console
from rich.table import Column, Table


def show(table: Table, summary: str) -> None:
    """Print a table and a sentence below it."""
    console = Console()
    console.print(table)
    console.print(summary)


def whole(header: str) -> Column:
    """A column that is never cut off, where the terminal is too narrow for all of them."""
    return Column(header, no_wrap=True)


def short_peer(peer: Any) -> str:
    """Enough of a peer id to know it by."""
    text = str(peer)
    return f"{text[:4]}..{text[-6:]}"
