"""Templates: everything of the cells' families but the numbers.

That is the prefix of each line, and which word of a copy goes behind it
(ffi/page.h).  A template is made when label sets come or go; those that stay
keep their prefixes.
"""

import struct
from collections.abc import Sequence

import attrs

from leanmesh.metrics._cells import lib
from leanmesh.metrics.family import FamilySpec, GaugeSpec
from leanmesh.metrics.layout import FamilyLayout
from leanmesh.metrics.text import created_line, line_prefixes

# `page_line` of ffi/page.h.
LINE = struct.Struct("=IIBBH")


@attrs.frozen
class SeriesTemplate:
    """One label set: its prefixes one after the other, their lengths, and when it was first seen.

    `created_line` is for OpenMetrics, and empty unless it is asked for.
    """

    prefixes: bytes
    lengths: tuple[int, ...]
    created_unix_s: float
    created_line: bytes

    @classmethod
    def build(
        cls, spec: FamilySpec, labels: tuple[str, ...], created_unix_s: float, *, with_created: bool
    ) -> "SeriesTemplate":
        """Make the prefixes of one label set."""
        prefixes = line_prefixes(spec, labels)
        created = created_line(spec, labels, created_unix_s) if with_created else b""
        return cls(b"".join(prefixes), tuple(map(len, prefixes)), created_unix_s, created)


@attrs.frozen
class Lines:
    """The lines of one family in one format, without their numbers; `end` follows the last one."""

    prefixes: bytes
    packed: bytes
    end: bytes

    @property
    def count(self) -> int:
        """How many lines have a number to be filled in."""
        return len(self.packed) // LINE.size


@attrs.frozen(eq=False)
class FamilyTemplate:
    """One family's lines.  The formats differ only where OpenMetrics has `_created` lines."""

    layout: FamilyLayout
    series: dict[int, SeriesTemplate]
    text: Lines
    openmetrics: Lines

    @classmethod
    def build(
        cls,
        layout: FamilyLayout,
        known: dict[int, SeriesTemplate],
        created_unix_s: float,
        *,
        with_created: bool,
    ) -> "FamilyTemplate":
        """Make the lines of a family.  `known` are its label sets so far, by serial."""
        series: dict[int, SeriesTemplate] = {}
        for serial, labels in zip(layout.serials, layout.label_values, strict=True):
            series[serial] = known.get(serial) or SeriesTemplate.build(
                layout.spec, labels, created_unix_s, with_created=with_created
            )
        templates = list(series.values())
        text = openmetrics = _lines(layout, templates, [b""] * (len(templates) + 1))
        if any(template.created_line for template in templates):
            # A label set's lines must stay together: its `_created` line goes before the next prefix.
            openmetrics = _lines(layout, templates, [b"", *(template.created_line for template in templates)])
        return cls(layout, series, text, openmetrics)


def _lines(layout: FamilyLayout, templates: Sequence[SeriesTemplate], leads: Sequence[bytes]) -> Lines:
    """Put the label sets of a family together; leads[i] stands before the first line of the i-th."""
    pack_series = _pack_histogram if layout.is_grouped else _pack_number
    packed = [
        pack_series(layout.spec, template.lengths, position, len(lead))
        for template, position, lead in zip(templates, layout.positions, leads, strict=False)
    ]
    prefixes = [
        part for template, lead in zip(templates, leads, strict=False) for part in (lead, template.prefixes)
    ]
    return Lines(b"".join(prefixes), b"".join(packed), leads[-1])


def _pack_number(spec: FamilySpec, lengths: tuple[int, ...], position: int, lead_bytes: int) -> bytes:
    flags = lib.PAGE_SIGNED if isinstance(spec, GaugeSpec) else 0
    return LINE.pack(lead_bytes + lengths[0], position, spec.decimals, flags, 0)


def _pack_histogram(spec: FamilySpec, lengths: tuple[int, ...], position: int, lead_bytes: int) -> bytes:
    first, *buckets, count, total = lengths
    lines = [LINE.pack(lead_bytes + first, position, 0, 0, 0)]
    lines += [LINE.pack(size, position + i, 0, lib.PAGE_ADD, 0) for i, size in enumerate(buckets, 1)]
    lines.append(LINE.pack(count, 0, 0, lib.PAGE_AGAIN, 0))
    lines.append(LINE.pack(total, position + len(buckets) + 1, spec.decimals, lib.PAGE_SIGNED, 0))
    return b"".join(lines)
