"""The snapshot: every family at one instant, immutable, its sample lines encoded once."""

from collections.abc import Callable, Collection, Iterable
from functools import cached_property
from itertools import chain

import attrs

from leanmesh.errors import LocalError
from leanmesh.metrics.family import FamilySpec, HistogramSpec
from leanmesh.metrics.sample import Family, HistogramValue, Series
from leanmesh.metrics.text import (
    as_bytes,
    created_prefix,
    has_created,
    header,
    line_prefixes,
    number_text,
    sample_names,
)


@attrs.frozen(eq=False)
class EncodedFamily:
    """One family of one snapshot: its sample lines as bytes, and its values when somebody wants them.

    The lines are the same in both formats.  `created_lines` are for OpenMetrics
    alone, and empty unless the settings ask for them.
    """

    spec: FamilySpec
    lines: bytes
    created_lines: bytes
    _read: Callable[[], Family]

    @cached_property
    def family(self) -> Family:
        """The values, unpacked when first asked for: a scrape needs only the lines."""
        return self._read()

    @property
    def text(self) -> bytes:
        """The family in the text format 0.0.4."""
        return header(self.spec, is_openmetrics=False) + self.lines

    @property
    def openmetrics(self) -> bytes:
        """The family in OpenMetrics 1.0."""
        return header(self.spec, is_openmetrics=True) + self.lines + self.created_lines


@attrs.frozen(eq=False)
class Snapshot:
    """All families as they were at one instant.  Generation 0 is the empty one before the first refresh.

    `taken_at_s` is on the loop's clock, `taken_at_unix_s` on the wall's.
    """

    generation: int
    taken_at_s: float
    taken_at_unix_s: float
    encoded: tuple[EncodedFamily, ...]
    # The whole page in the text format 0.0.4, made with the snapshot: no scrape pays for it.
    text: bytes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "text", b"".join(family.text for family in self.encoded))

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """All families with their values, in the order of their names."""
        return tuple(encoded.family for encoded in self.encoded)

    def family(self, name: str) -> Family:
        """One family by its name; LocalError when the snapshot has none of that name."""
        for encoded in self.encoded:
            if encoded.spec.name == name:
                return encoded.family
        raise LocalError(f"snapshot {self.generation} has no family {name!r}")

    @cached_property
    def openmetrics(self) -> bytes:
        """The whole page in OpenMetrics 1.0, without the `# EOF` that ends it."""
        return b"".join(family.openmetrics for family in self.encoded)


def named(families: Iterable[EncodedFamily], names: Collection[str]) -> list[EncodedFamily]:
    """The families that `name[]` asks for: by their own name or by that of any of their samples."""
    wanted = set(names)
    return [family for family in families if not wanted.isdisjoint(sample_names(family.spec))]


def encode_family(family: Family, *, with_created: bool) -> EncodedFamily:
    """Encode the values of a source.  The cells, which are many, have templates instead."""
    lines = b"".join(chain.from_iterable(_series_lines(family.spec, series) for series in family.series))
    created = b""
    if with_created and has_created(family.spec):
        created = b"".join(
            created_prefix(family.spec, series.labels) + as_bytes(number_text(series.created_unix_s)) + b"\n"
            for series in family.series
        )
    return EncodedFamily(family.spec, lines, created, lambda: family)


def _series_lines(spec: FamilySpec, series: Series) -> Iterable[bytes]:
    value = series.value
    numbers: list[float]
    if isinstance(value, HistogramValue):
        assert isinstance(spec, HistogramSpec)
        total = 0
        numbers = [total := total + count for count in value.counts]
        numbers += [total, value.sum]
    else:
        numbers = [value]
    for prefix, number in zip(line_prefixes(spec, series.labels), numbers, strict=True):
        yield prefix + as_bytes(number_text(number)) + b"\n"
