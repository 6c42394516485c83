"""Turns copies of the cells into sample lines: templates, filled in by C at each refresh.

Only families whose label sets changed get new templates, so what a refresh
costs is one call into ffi/page.c for the numbers and one for the histograms.
"""

from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from itertools import accumulate, pairwise

import attrs

from leanmesh.metrics._cells import ffi, lib
from leanmesh.metrics.cells_copy import CellsCopy
from leanmesh.metrics.family import FamilySpec
from leanmesh.metrics.layout import FamilyLayout
from leanmesh.metrics.sample import Family, HistogramValue, Series, Value
from leanmesh.metrics.snapshot import EncodedFamily
from leanmesh.metrics.templates import LINE, FamilyTemplate, Lines


@attrs.define(eq=False)
class Sheet:
    """The families whose values lie in one array of a copy, ready to be rendered in one call."""

    families: tuple[Lines, ...]
    prefixes: bytes = attrs.field(init=False)
    lines: bytes = attrs.field(init=False)
    # After which line each family ends.
    cut_lines: "array[int]" = attrs.field(init=False)
    out: bytearray = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.prefixes = b"".join(family.prefixes for family in self.families)
        self.lines = b"".join(family.packed for family in self.families)
        self.cut_lines = array("I", accumulate(family.count for family in self.families))
        line_count = len(self.lines) // LINE.size
        self.out = bytearray(len(self.prefixes) + line_count * lib.PAGE_MAX_NUMBER_BYTES)

    def render(self, values: memoryview) -> list[bytes]:
        """The sample lines of each family."""
        cut_bytes = array("Q", bytes(8 * len(self.families)))
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
        spans = zip(self.families, pairwise((0, *cut_bytes)), strict=True)
        return [bytes(body[start:stop]) + family.end for family, (start, stop) in spans]


@attrs.frozen(eq=False)
class Part:
    """The families of one array of a copy: their templates, and a sheet for each format."""

    templates: tuple[FamilyTemplate, ...]
    text: Sheet
    # The same one unless there are `_created` lines.
    openmetrics: Sheet

    @classmethod
    def of(cls, templates: Iterable[FamilyTemplate]) -> "Part":
        """Put templates together."""
        held = tuple(templates)
        text = openmetrics = Sheet(tuple(template.text for template in held))
        if any(template.openmetrics is not template.text for template in held):
            openmetrics = Sheet(tuple(template.openmetrics for template in held))
        return cls(held, text, openmetrics)

    def encode(self, words: memoryview, values: "CellsValues") -> list[EncodedFamily]:
        """Fill in the numbers."""
        text = openmetrics = self.text.render(words)
        if self.openmetrics is not self.text:
            openmetrics = self.openmetrics.render(words)
        return [
            EncodedFamily(
                template.layout.spec,
                text_lines,
                openmetrics_lines,
                partial(values.family, template.layout.spec.name),
            )
            for template, text_lines, openmetrics_lines in zip(self.templates, text, openmetrics, strict=True)
        ]


@attrs.define(eq=False)
class CellsEncoder:
    """Turns copies of one block of cells into encoded families."""

    with_created: bool
    _templates: dict[str, FamilyTemplate] = attrs.field(factory=dict[str, FamilyTemplate], init=False)
    _numbers: Part = attrs.field(factory=lambda: Part.of(()), init=False)
    _histograms: Part = attrs.field(factory=lambda: Part.of(()), init=False)
    _layout_version: int = attrs.field(default=-1, init=False)

    def encode(self, copy: CellsCopy, created_unix_s: float) -> list[EncodedFamily]:
        """Encode one copy.  Label sets not seen before count as created at `created_unix_s`."""
        if copy.layout_version != self._layout_version:
            self._rebuild(copy.layout.families, created_unix_s)
            self._layout_version = copy.layout_version
        values = CellsValues(copy, self._templates)
        return [
            *self._numbers.encode(copy.words, values),
            *self._histograms.encode(copy.group_words, values),
        ]

    def _rebuild(self, layouts: Sequence[FamilyLayout], created_unix_s: float) -> None:
        templates: dict[str, FamilyTemplate] = {}
        for layout in layouts:
            template = self._templates.get(layout.spec.name)
            if template is None or template.layout is not layout:
                known = {} if template is None else template.series
                template = FamilyTemplate.build(layout, known, created_unix_s, with_created=self.with_created)
            templates[layout.spec.name] = template
        self._templates = templates
        self._numbers = Part.of(t for t in templates.values() if not t.layout.is_grouped)
        self._histograms = Part.of(t for t in templates.values() if t.layout.is_grouped)


@attrs.frozen(eq=False)
class CellsValues:
    """The values of one copy in base units, unpacked when first asked for."""

    copy: CellsCopy
    templates: dict[str, FamilyTemplate]

    def family(self, name: str) -> Family:
        """One family by its name."""
        return self.families[name]

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
