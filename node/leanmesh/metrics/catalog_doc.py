"""Writes the catalog into docs/metrics.md, below the marker: `python -m leanmesh.metrics.catalog_doc FILE`.

What stands above the marker is written by hand and kept.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from leanmesh.metrics import (
    catalog_bridge,
    catalog_gossipsub,
    catalog_lag,
    catalog_lean,
    catalog_node,
    catalog_trace,
    catalog_work,
    catalog_workers,
)
from leanmesh.metrics.family import FamilySpec, HistogramSpec
from leanmesh.metrics.text import bound_text, type_text

MARKER = "<!-- `just docs` writes everything below from the code. -->"

PARTS: tuple[tuple[str, Sequence[FamilySpec]], ...] = (
    ("leanMetrics", catalog_lean.FAMILIES),
    ("gossipsub", catalog_gossipsub.FAMILIES),
    ("The node and its bookkeeping", catalog_node.FAMILIES),
    ("Work", catalog_work.FAMILIES),
    ("Workers", catalog_workers.FAMILIES),
    ("Duplicate lag", catalog_lag.FAMILIES),
    ("The trace", catalog_trace.FAMILIES),
    ("Sinks", catalog_bridge.FAMILIES),
)


def renewed(document: str) -> str:
    """The document with its generated part as the code has it now.  ValueError without the marker."""
    head, marker, _ = document.partition(MARKER)
    if not marker:
        raise ValueError(f"the document has no line {MARKER!r}")
    return "\n".join((head.rstrip(), "", MARKER, *_parts())) + "\n"


def _parts() -> Iterator[str]:
    for title, specs in PARTS:
        yield f"\n## {title}"
        for spec in specs:
            yield from _family(spec)


def _family(spec: FamilySpec) -> Iterator[str]:
    fixed = dict(spec.fixed)
    labels = [
        f"`{label}` ({', '.join(fixed[label])})" if label in fixed else f"`{label}`" for label in spec.labels
    ]
    facts = [type_text(spec), f"labels {', '.join(labels)}" if labels else "no labels"]
    if isinstance(spec, HistogramSpec):
        facts.append(f"buckets up to {', '.join(map(bound_text, spec.bounds))}")
    yield f"\n### {spec.name}\n\n{'; '.join(facts)}.\n\n{spec.help}"


def main(path: Path) -> None:
    """Bring one document up to date."""
    path.write_text(renewed(path.read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
