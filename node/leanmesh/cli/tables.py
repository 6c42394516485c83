"""Tables on the terminal, of what a running node told."""

from typing import Any

from rich.console import Console
from rich.table import Table


def show(table: Table, summary: str) -> None:
    """Print a table and a sentence below it."""
    console = Console()
    console.print(table)
    console.print(summary)


def short_peer(peer: Any) -> str:
    """Enough of a peer id to know it by."""
    text = str(peer)
    return f"{text[:4]}..{text[-6:]}"
