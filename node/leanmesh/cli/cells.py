"""`leanmesh cells FILE`: what a node has counted, read from its memory, also when it hangs or was killed."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from leanmesh.metrics.cells import MAX_NETWORKS, CellsCopy, CellsReader, CellsUnreadable, Value


@click.command("cells")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def cells(file: Path) -> None:
    """Print the names and values in FILE, the age of its heartbeat, and whether its writer lives."""
    try:
        reader = CellsReader.open(file)
        copy = reader.copy(is_writer_dead=not reader.writer_is_alive)
    except CellsUnreadable as error:
        raise click.ClickException(str(error)) from error
    for line in (*head_lines(reader), "", *value_lines(copy)):
        click.echo(line)


def head_lines(reader: CellsReader) -> Iterator[str]:
    """Who writes the block, and whether it still does."""
    started = datetime.fromtimestamp(reader.started_unix_ns / 1e9, UTC)
    running = "alive" if reader.writer_is_alive else "dead"
    yield f"incarnation:   {reader.incarnation:016x}"
    yield f"writer:        process {reader.pid}, {'ended' if reader.has_ended else running}"
    yield f"started:       {started.isoformat(timespec='milliseconds')}"
    yield f"heartbeat age: {reader.heartbeat_age_s:.3f} s"


def value_lines(copy: CellsCopy) -> Iterator[str]:
    """One line per label set, and per running network; a torn histogram says so."""
    for network_id in range(MAX_NETWORKS):
        is_running, count = copy.network(network_id)
        if is_running:
            yield f"network {network_id}: running, {count} mesh peers"
    torn = set(copy.torn)
    for spec, series in copy.families():
        for label_values, value in series:
            labels = ",".join(
                f"{label}={text!r}" for label, text in zip(spec.labels, label_values, strict=True)
            )
            note = (
                "  (torn: its writer was killed or stopped inside)"
                if (spec.name, label_values) in torn
                else ""
            )
            yield f"{spec.name}{{{labels}}} {value_text(value, spec.resolution)}{note}"


def value_text(value: Value, resolution: float) -> str:
    """A value in base units; of a histogram its count, sum and mean."""
    if isinstance(value, int):
        return number_text(value, resolution)
    counts, total = value
    count = sum(counts)
    mean = f" mean={total * resolution / count:.6g}" if count else ""
    return f"count={count} sum={number_text(total, resolution)}{mean}"


def number_text(steps: int, resolution: float) -> str:
    """A stored integer in base units, without digits that it does not have."""
    if resolution == 1:
        return str(steps)
    decimals = max(0, math.ceil(-math.log10(resolution) - 1e-9))
    text = f"{steps * resolution:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
