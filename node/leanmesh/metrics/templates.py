"""Templates: everything of the cells' families but the numbers.

That is the prefix of each line, and which word of a copy goes behind it
(ffi/page.h).  A template is made when label sets come or go; those that stay
keep their prefixes.
"""

import struct
from collections.abc import Sequence

import attrs

from leanmesh.metrics._cells import lib
from leanmesh.metrics.family import FamilySpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.layout import FamilyLayout
from leanmesh.metrics.text import created_line, line_prefixes

# `page_line` of ffi/page.h.
LINE = struct.Struct("=IIBBH")


@attrs.frozen
class SeriesTemplate:
    """One label set: its prefixes one after the other, its packed lines, and when it was first seen.

    `created_line` is for OpenMetrics, and empty unless it is asked for.
    """

    prefixes: bytes
    packed: bytes
    created_unix_s: float
    created_line: bytes

    @classmethod
    def build(
        cls,
        spec: FamilySpec,
        labels: tuple[str, ...],
        position: int,
        created_unix_s: float,
        *,
        with_created: bool,
    ) -> "SeriesTemplate":
        """Make the lines of one label set, whose value lies at `position` for as long as it lives."""
        prefixes = line_prefixes(spec, labels)
        lengths = list(map(len, prefixes))
        if isinstance(spec, HistogramSpec):
            packed = _pack_histogram(spec, lengths, position)
        else:
            flags = lib.PAGE_SIGNED if isinstance(spec, GaugeSpec) else 0
            packed = LINE.pack(lengths[0], position, spec.decimals, flags, 0)
        created = created_line(spec, labels, created_unix_s) if with_created else b""
        return cls(b"".join(prefixes), packed, created_unix_s, created)

    def packed_behind(self, lead: bytes) -> bytes:
        """The packed lines with `lead` before the first prefix."""
        prefix_bytes, *rest = LINE.unpack_from(self.packed)
        return LINE.pack(len(lead) + prefix_bytes, *rest) + self.packed[LINE.size :]


def _pack_histogram(spec: HistogramSpec, lengths: Sequence[int], position: int) -> bytes:
    first, *buckets, count, total = lengths
    lines = [LINE.pack(first, position, 0, 0, 0)]
    lines += [LINE.pack(size, position + i, 0, lib.PAGE_ADD, 0) for i, size in enumerate(buckets, 1)]
    lines.append(LINE.pack(count, 0, 0, lib.PAGE_AGAIN, 0))
    lines.append(LINE.pack(total, position + len(buckets) + 1, spec.decimals, lib.PAGE_SIGNED, 0))
    return b"".join(lines)


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
        places = zip(layout.serials, layout.label_values, layout.positions, strict=True)
        for serial, labels, position in places:
            series[serial] = known.get(serial) or SeriesTemplate.build(
                layout.spec, labels, position, created_unix_s, with_created=with_created
            )
        templates = list(series.values())
        text = openmetrics = Lines(
            b"".join([template.prefixes for template in templates]),
            b"".join([template.packed for template in templates]),
            end=b"",
        )
        if any(template.created_line for template in templates):
            openmetrics = _with_created(templates)
        return cls(layout, series, text, openmetrics)


def _with_created(templates: Sequence[SeriesTemplate]) -> Lines:
    """The lines of a label set must stay together: its `_created` line goes before the next one's prefix."""
    leads = [b"", *(template.created_line for template in templates)]
    pairs = list(zip(leads, templates, strict=False))
    return Lines(
        b"".join(part for lead, template in pairs for part in (lead, template.prefixes)),
        b"".join(template.packed_behind(lead) for lead, template in pairs),
        end=leads[-1],
    )
