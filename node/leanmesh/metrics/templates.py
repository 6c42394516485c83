"""Templates: the cells' part of a page, made when label sets come or go, and filled by C at each refresh.

A template is everything but the numbers: the prefix of each line, and which
word of a copy goes behind it (ffi/page.h).  Families whose label sets did not
change keep theirs, and label sets that stay keep their prefixes.
"""

import struct
from array import array
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import attrs

from leanmesh.metrics._cells import ffi, lib
from leanmesh.metrics.cells_copy import CellsCopy
from leanmesh.metrics.family import FamilySpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.layout import FamilyLayout
from leanmesh.metrics.sample import Family, HistogramValue, Series, Value
from leanmesh.metrics.snapshot import EncodedFamily
from leanmesh.metrics.text import as_bytes, created_prefix, has_created, line_prefixes, number_text

# `page_line` of ffi/page.h.
LINE = struct.Struct("=IIBBH")


@attrs.frozen
class SeriesTemplate:
    """One label set: its prefixes one after the other, their lengths, and when it was first seen."""

    prefixes: bytes
    lengths: tuple[int, ...]
    created_unix_s: float


@attrs.define(eq=False)
class FamilyTemplate:
    """One family's lines."""

    layout: FamilyLayout
    series: dict[int, SeriesTemplate]
    prefixes: bytes
    lines: bytes

    @classmethod
    def build(
        cls, layout: FamilyLayout, known: dict[int, SeriesTemplate], created_unix_s: float
    ) -> "FamilyTemplate":
        """Make the lines of a family.  `known` are its label sets so far, by serial."""
        series: dict[int, SeriesTemplate] = {}
        for serial, values in zip(layout.serials, layout.label_values, strict=True):
            template = known.get(serial)
            if template is None:
                prefixes = line_prefixes(layout.spec, values)
                template = SeriesTemplate(b"".join(prefixes), tuple(map(len, prefixes)), created_unix_s)
            series[serial] = template
        prefixes = b"".join([template.prefixes for template in series.values()])
        return cls(layout, series, prefixes, cls._lines(layout, series))

    @staticmethod
    def _lines(layout: FamilyLayout, series: dict[int, SeriesTemplate]) -> bytes:
        spec, pack = layout.spec, LINE.pack
        templates = zip(series.values(), layout.positions, strict=True)
        if not isinstance(spec, HistogramSpec):
            flags = lib.PAGE_SIGNED if isinstance(spec, GaugeSpec) else 0
            decimals = spec.decimals
            return b"".join(
                [pack(template.lengths[0], position, decimals, flags, 0) for template, position in templates]
            )
        lines: list[bytes] = []
        for template, position in templates:
            first, *buckets, count, total = template.lengths
            lines.append(pack(first, position, 0, 0, 0))
            lines += [pack(size, position + i, 0, lib.PAGE_ADD, 0) for i, size in enumerate(buckets, 1)]
            lines.append(pack(count, 0, 0, lib.PAGE_AGAIN, 0))
            lines.append(pack(total, position + len(buckets) + 1, spec.decimals, lib.PAGE_SIGNED, 0))
        return b"".join(lines)

    def created_lines(self) -> bytes:
        """The `_created` lines, for OpenMetrics."""
        if not has_created(self.layout.spec):
            return b""
        return b"".join(
            created_prefix(self.layout.spec, values) + as_bytes(number_text(template.created_unix_s)) + b"\n"
            for values, template in zip(self.layout.label_values, self.series.values(), strict=True)
        )


@attrs.define(eq=False)
class Sheet:
    """The families whose values lie in one array of a copy, ready to be rendered in one call."""

    templates: tuple[FamilyTemplate, ...]
    prefixes: bytes = attrs.field(init=False)
    lines: bytes = attrs.field(init=False)
    # After which line each family ends, and room for after which byte.
    cut_lines: "array[int]" = attrs.field(init=False)
    out: bytearray = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.prefixes = b"".join(template.prefixes for template in self.templates)
        self.lines = b"".join(template.lines for template in self.templates)
        self.cut_lines = array("I")
        line_count = 0
        for template in self.templates:
            line_count += len(template.lines) // LINE.size
            self.cut_lines.append(line_count)
        self.out = bytearray(len(self.prefixes) + line_count * lib.PAGE_MAX_NUMBER_BYTES)

    def render(self, values: memoryview) -> list[bytes]:
        """The sample lines of each family."""
        cut_bytes = array("Q", bytes(8 * len(self.templates)))
        written = lib.page_render(
            ffi.from_buffer("char[]", self.prefixes),
            len(self.prefixes),
            ffi.from_buffer("page_line[]", self.lines),
            len(self.lines) // LINE.size,
            ffi.from_buffer("uint64_t[]", values),
            len(values),
            ffi.from_buffer("uint32_t[]", self.cut_lines),
            ffi.from_buffer("uint64_t[]", cut_bytes),
            len(cut_bytes),
            ffi.from_buffer("char[]", self.out),
            len(self.out),
        )
        assert written >= 0, "a template does not fit its copy"
        body = memoryview(self.out)
        return [bytes(body[start:stop]) for start, stop in pairwise((0, *cut_bytes))]


@attrs.define(eq=False)
class CellsEncoder:
    """Turns copies of one block of cells into encoded families."""

    with_created: bool
    _templates: dict[str, FamilyTemplate] = attrs.field(factory=dict[str, FamilyTemplate], init=False)
    _sheets: tuple[Sheet, Sheet] = attrs.field(default=(Sheet(()), Sheet(())), init=False)
    _layout_version: int = attrs.field(default=-1, init=False)

    def encode(self, copy: CellsCopy, created_unix_s: float) -> list[EncodedFamily]:
        """Encode one copy.  Label sets not seen before count as created at `created_unix_s`."""
        if copy.layout_version != self._layout_version:
            self._rebuild(copy.layout.families, created_unix_s)
            self._layout_version = copy.layout_version
        values = CellsValues(copy, self._templates)
        return [
            self._encoded(template, lines, values)
            for sheet, words in zip(self._sheets, (copy.words, copy.group_words), strict=True)
            for template, lines in zip(sheet.templates, sheet.render(words), strict=True)
        ]

    def _encoded(self, template: FamilyTemplate, lines: bytes, values: "CellsValues") -> EncodedFamily:
        spec = template.layout.spec
        created = template.created_lines() if self.with_created else b""
        return EncodedFamily(spec, lines, created, lambda: values.families[spec.name])

    def _rebuild(self, layouts: Sequence[FamilyLayout], created_unix_s: float) -> None:
        templates: dict[str, FamilyTemplate] = {}
        for layout in layouts:
            template = self._templates.get(layout.spec.name)
            if template is None or template.layout is not layout:
                known = {} if template is None else template.series
                template = FamilyTemplate.build(layout, known, created_unix_s)
            templates[layout.spec.name] = template
        self._templates = templates
        words, groups = (
            Sheet(tuple(t for t in templates.values() if t.layout.is_grouped is is_grouped))
            for is_grouped in (False, True)
        )
        self._sheets = (words, groups)


@attrs.frozen(eq=False)
class CellsValues:
    """The values of one copy in base units, unpacked when first asked for."""

    copy: CellsCopy
    templates: dict[str, FamilyTemplate]

    @cached_property
    def families(self) -> dict[str, Family]:
        """Every family by its name."""
        return {
            spec.name: Family(
                spec,
                tuple(
                    Series(labels, _base_value(spec, value), template.created_unix_s)
                    for (labels, value), template in zip(
                        series, self.templates[spec.name].series.values(), strict=True
                    )
                ),
            )
            for spec, series in self.copy.families()
        }


def _base_value(spec: FamilySpec, value: int | tuple[tuple[int, ...], int]) -> Value:
    if isinstance(value, tuple):
        counts, total = value
        return HistogramValue(counts, total / 10**spec.decimals if spec.decimals else total)
    # Divided, not multiplied: the quotient is the float that the text on the page reads as.
    return value / 10**spec.decimals if spec.decimals else value
