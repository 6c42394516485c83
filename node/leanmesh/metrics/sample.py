"""Values of families: what sources answer, and what a snapshot holds."""

from collections.abc import Iterable, Sequence

import attrs

from leanmesh.errors import LocalError
from leanmesh.metrics.family import OTHER, FamilySpec, HistogramSpec


@attrs.frozen
class HistogramValue:
    """Observations per band (not cumulative; the last band is +Inf) and their sum in the base unit."""

    counts: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        """All observations."""
        return sum(self.counts)

    def __add__(self, more: "HistogramValue") -> "HistogramValue":
        return HistogramValue(
            tuple(a + b for a, b in zip(self.counts, more.counts, strict=True)), self.sum + more.sum
        )


Value = int | float | HistogramValue


@attrs.frozen
class Sample:
    """One value that a source answers.  Samples of one label set are added up."""

    spec: FamilySpec
    labels: tuple[str, ...]
    value: Value


@attrs.frozen
class Series:
    """One label set and its value.  `created_unix_s`: no later than its first event, for OpenMetrics."""

    labels: tuple[str, ...]
    value: Value
    created_unix_s: float = 0.0


@attrs.frozen
class Family:
    """One family with all its series, as one snapshot saw them."""

    spec: FamilySpec
    series: tuple[Series, ...]

    def value(self, *labels: str) -> Value:
        """The value of one label set; LocalError when there is no such series."""
        for series in self.series:
            if series.labels == labels:
                return series.value
        raise LocalError(f"{self.spec.name} has no series with the labels {labels}")


def add_values(one: Value, more: Value) -> Value:
    """Two values of one series together."""
    if isinstance(one, HistogramValue) and isinstance(more, HistogramValue):
        return one + more
    if isinstance(one, HistogramValue) or isinstance(more, HistogramValue):
        raise LocalError(f"a histogram and a number cannot be added: {one} and {more}")
    return one + more


def check_sample(sample: Sample) -> None:
    """LocalError when a sample does not fit its own family."""
    spec, value = sample.spec, sample.value
    if len(sample.labels) != len(spec.labels):
        raise LocalError(f"{spec.name} has the labels {spec.labels}; a sample gives {sample.labels}")
    if isinstance(spec, HistogramSpec) != isinstance(value, HistogramValue):
        raise LocalError(f"{spec.name} cannot have the value {value!r}")
    if isinstance(spec, HistogramSpec) and isinstance(value, HistogramValue):
        bands = len(spec.bounds) + 1
        if len(value.counts) != bands:
            raise LocalError(f"{spec.name} has {bands} bands; a sample gives {len(value.counts)}")


def fold(
    specs: Sequence[FamilySpec], samples: Iterable[Sample], dropped: dict[str, int]
) -> dict[FamilySpec, dict[tuple[str, ...], Value]]:
    """Sort the samples of one source into its families, adding up those of one label set.

    Label sets beyond a family's `series_limit` go under `other` in every label and are
    counted in `dropped` under the family's name.  A sample of a family that the source did
    not declare is a LocalError: nobody could have checked that the family is its own.
    """
    families: dict[FamilySpec, dict[tuple[str, ...], Value]] = {spec: {} for spec in specs}
    for sample in samples:
        check_sample(sample)
        series = families.get(sample.spec)
        if series is None:
            raise LocalError(f"{sample.spec.name} was not declared by its source")
        labels, other = sample.labels, (OTHER,) * len(sample.labels)
        own_count = len(series) - (other in series)
        if labels not in series and labels != other and own_count >= sample.spec.series_limit:
            labels = other
            dropped[sample.spec.name] = dropped.get(sample.spec.name, 0) + 1
        held = series.get(labels)
        series[labels] = sample.value if held is None else add_values(held, sample.value)
    return families
