"""Writes the settings reference into docs/operations.md, below the marker.

`python -m leanmesh.settings_doc FILE`.  The reason of a number is the comment
above it in the layer's params.py, or its `reason`; what stands above the
marker is written by hand and kept.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from leanmesh.settings import Settings, class_of_tables, shown_default

MARKER = "<!-- `just docs` writes everything below from the code. -->"


def renewed(document: str) -> str:
    """The document with its generated part as the code has it now.  ValueError without the marker."""
    head, marker, _ = document.partition(MARKER)
    if not marker:
        raise ValueError(f"the document has no line {MARKER!r}")
    return "\n".join((head.rstrip(), "", MARKER, "", *_tables(Settings, "")))


def _tables(cls: type[Any], path: str) -> Iterator[str]:
    """The table of one class, then those of the classes inside it."""
    rows: list[str] = []
    inner: list[tuple[type[Any], str]] = []
    reasons = _reasons(cls)
    for name, field in attrs.fields_dict(attrs.resolve_types(cls)).items():
        kind = class_of_tables(field.type)
        if kind is not None:
            inner.append((kind, f"[{path}{name}]" if field.type is not kind else f"{path}{name}"))
            continue
        reason = field.metadata.get("reason") or reasons.get(name, "")
        rows.append(f"| `{name}` | {shown_default(field.default)} | {reason} |")
    if rows:
        yield f"## `[{path.rstrip('.')}]`\n"
        yield f"{inspect.cleandoc(cls.__doc__ or '')}\n"
        yield "| key | default | why, or what for |\n|---|---|---|"
        yield from rows
        yield ""
    for kind, key in inner:
        yield from _tables(kind, f"{key}.")


def _reasons(cls: type[Any]) -> dict[str, str]:
    """The comment lines right above each field of a class; a comment holds for the fields that follow it."""
    lines = inspect.getsource(cls).splitlines()
    (definition,) = ast.parse("\n".join(_dedented(lines))).body
    assert isinstance(definition, ast.ClassDef)
    reasons: dict[str, str] = {}
    reason = ""
    for statement in definition.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            reason = _comment_above(lines, statement.lineno - 1) or reason
            reasons[statement.target.id] = reason
    return reasons


def _dedented(lines: list[str]) -> list[str]:
    return inspect.cleandoc("\n".join(("", *lines))).splitlines()


def _comment_above(lines: list[str], index: int) -> str:
    comment: list[str] = []
    while index > 0 and (line := lines[index - 1].strip()).startswith("#"):
        comment.insert(0, line.lstrip("# "))
        index -= 1
    return " ".join(comment)


def main() -> None:
    """Renew the file named on the command line."""
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text()))


if __name__ == "__main__":
    main()
