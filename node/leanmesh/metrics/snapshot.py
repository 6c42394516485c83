"""The snapshot: every family at one instant, immutable, its sample lines encoded once."""

from collections.abc import Callable, Collection, Iterable
from functools import cached_property, lru_cache

import attrs

from leanmesh.errors import LocalError
from leanmesh.metrics.family import FamilySpec, HistogramSpec
from leanmesh.metrics.sample import Family, HistogramValue, Series
from leanmesh.metrics.text import (
    as_bytes,
    created_line,
    header,
    line_prefixes,
    number_text,
    sample_names,
)

# Series of sources whose prefixes are kept: every pair of peers of a network, four times over.  A
# histogram with two peer ids has 4 kB.
PREFIXES_LIMIT = 4096


@attrs.frozen(eq=False)
class EncodedFamily:
    """One family of one snapshot: its sample lines as bytes, and its values when somebody wants them.

    The lines are the same in both formats, unless the settings ask for the
    `_created` lines that only OpenMetrics has.
    """

    spec: FamilySpec
    lines: bytes
    openmetrics_lines: bytes
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
        return header(self.spec, is_openmetrics=True) + self.openmetrics_lines


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
    parts = [b"".join(_series_lines(family.spec, series)) for series in family.series]
    lines = openmetrics_lines = b"".join(parts)
    if with_created:
        # The lines of one series must stay together.
        openmetrics_lines = b"".join(
            part + created_line(family.spec, series.labels, series.created_unix_s)
            for part, series in zip(parts, family.series, strict=True)
        )
    return EncodedFamily(family.spec, lines, openmetrics_lines, lambda: family)


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
    for prefix, number in zip(_prefixes(spec, series.labels), numbers, strict=True):
        if type(number) is int:
            # Nearly all of them: the counts of histograms.
            yield b"%b%d\n" % (prefix, number)
        else:
            yield prefix + as_bytes(number_text(number)) + b"\n"


@lru_cache(maxsize=PREFIXES_LIMIT)
def _prefixes(spec: FamilySpec, labels: tuple[str, ...]) -> tuple[bytes, ...]:
    """Kept from snapshot to snapshot: making them costs ten times what filling in the numbers does."""
    return line_prefixes(spec, labels)
