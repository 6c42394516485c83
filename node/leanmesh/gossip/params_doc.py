"""Writes the numbers of the core into docs/gossip.md, below the marker.

`python -m leanmesh.gossip.params_doc FILE`.  What stands above the marker is
written by hand and kept.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

from leanmesh.gossip.params import LEAN_PARAMS, REASON, GossipParams
from leanmesh.gossip.wire_params import OutboxLimits, WireLimits

MARKER = "<!-- `just docs` writes everything below from the code. -->"


def renewed(document: str) -> str:
    """The document with its generated part as the code has it now.  ValueError without the marker."""
    head, marker, _ = document.partition(MARKER)
    if not marker:
        raise ValueError(f"the document has no line {MARKER!r}")
    return "\n".join((head.rstrip(), "", MARKER, *_parts())) + "\n"


def _parts() -> Iterator[str]:
    yield "\n## Parameters of the router\n"
    yield "| parameter | libp2p profile | lean profile | reason |\n|---|---|---|---|"
    usual = GossipParams()
    for field in attrs.fields(GossipParams):
        value, other = getattr(usual, field.name), getattr(LEAN_PARAMS, field.name)
        differs = "same" if other == value else _number(other)
        yield f"| `{field.name}` | {_number(value)} | {differs} | {field.metadata[REASON]} |"
    for title, limits in (
        ("Limits of a received RPC", WireLimits()),
        ("Limits of an outbox", OutboxLimits()),
    ):
        yield f"\n## {title}\n\n| limit | value | reason |\n|---|---|---|"
        for field in attrs.fields(type(limits)):
            value = getattr(limits, field.name)
            yield f"| `{field.name}` | {_number(value)} | {field.metadata[REASON]} |"


def _number(value: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}"


def main(path: Path) -> None:
    """Bring one document up to date."""
    path.write_text(renewed(path.read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
