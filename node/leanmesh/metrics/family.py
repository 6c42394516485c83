"""What a metric family is: its name, type, help, labels and bounds, as values.

The catalog lists every family once, with these classes.  The cells store
unsigned or signed 64-bit integers; `resolution` says what one step of the
stored integer is worth on the page (1e-9 for seconds kept as nanoseconds), so
that sums are exact and workers can be added up to the unit.
"""

import enum
import re

import attrs

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# What scrapers and Prometheus itself put on every series.
RESERVED_LABELS = frozenset({"job", "instance", "network", "le", "quantile"})

# Resolutions, and how many decimals of the base unit each one needs.
DECIMALS = {float(f"1e-{decimals}"): decimals for decimals in range(13)}

# Label values that stand for every label set beyond `series_limit`.
OTHER = "other"
SERIES_LIMIT = 300


def _check_labels(
    instance: object, attribute: "attrs.Attribute[tuple[str, ...]]", value: tuple[str, ...]
) -> None:
    for label in value:
        if not LABEL_NAME.fullmatch(label) or label.startswith("__") or label in RESERVED_LABELS:
            raise ValueError(f"{label!r} cannot be a label of ours in {instance!r}")


def _check_name(instance: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if not NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no metric name")


def _check_fixed(
    instance: "FamilySpec",
    attribute: "attrs.Attribute[tuple[tuple[str, tuple[str, ...]], ...]]",
    value: tuple[tuple[str, tuple[str, ...]], ...],
) -> None:
    for label, values in value:
        if label not in instance.labels or not values:
            raise ValueError(f"{instance.name} has no label {label!r} with the values {values}")


def _check_resolution(instance: "FamilySpec", attribute: "attrs.Attribute[float]", value: float) -> None:
    if value not in DECIMALS:
        raise ValueError(f"the resolution of {instance.name} must be 1 or 0.1 to 1e-12, not {value}")


@attrs.frozen
class FamilySpec:
    """One family of series.

    `resolution` is the value of one stored step, in the family's base unit; a power
    of ten, so that every stored value has an exact decimal text.
    `series_limit` bounds the label sets; those beyond it are counted under
    `other` in every label and in leanmesh_series_dropped_total.  `fixed` lists the
    values of the labels that have a known few: such families are complete on the
    page from the start (see catalog.prime), so that a rate never misses its first event.
    """

    name: str = attrs.field(validator=_check_name)
    help: str
    labels: tuple[str, ...] = attrs.field(default=(), validator=_check_labels, kw_only=True)
    resolution: float = attrs.field(default=1.0, validator=_check_resolution, kw_only=True)
    series_limit: int = attrs.field(default=SERIES_LIMIT, kw_only=True)
    fixed: tuple[tuple[str, tuple[str, ...]], ...] = attrs.field(
        default=(), validator=_check_fixed, kw_only=True
    )

    @property
    def decimals(self) -> int:
        """How many decimals of the base unit one stored step is: 9 for nanoseconds."""
        return DECIMALS[self.resolution]


@attrs.frozen
class CounterSpec(FamilySpec):
    """A value that only grows.  Its name ends in `_total`."""

    def __attrs_post_init__(self) -> None:
        if not self.name.endswith("_total"):
            raise ValueError(f"the counter {self.name} must end in _total")


class Across(enum.Enum):
    """What a gauge of several worker processes is: of those that live, for each label set."""

    SUM = enum.auto()
    MAX = enum.auto()
    MIN = enum.auto()


@attrs.frozen
class GaugeSpec(FamilySpec):
    """A value that is what it is now.

    `across_workers` is for label sets that several workers have.  Those with a
    network_id have one worker each, so that any rule keeps one series for each network.
    """

    across_workers: Across = attrs.field(default=Across.SUM, kw_only=True)


@attrs.frozen
class HistogramSpec(FamilySpec):
    """Counts of observations up to each inclusive bound, in the family's base unit; +Inf is implied."""

    bounds: tuple[float, ...] = attrs.field(kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not self.bounds or list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError(f"the bounds of {self.name} must rise: {self.bounds}")
