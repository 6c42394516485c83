"""The texts of the exposition formats: numbers, escapes, headers and line prefixes.

Sample lines are the same in both formats; only headers and the end differ.
Numbers and `le` values are canonical: one value has one text.
"""

import math

from leanmesh.metrics.family import CounterSpec, FamilySpec, GaugeSpec, HistogramSpec

# Integers up to here are exact in the 64-bit floats that every scraper uses.
EXACT_INTEGER_LIMIT = 2**53

# Go prints floats from 1e6 up with an exponent; `le` texts follow it.
EXPONENT_FROM = 1e6


def number_text(value: float) -> str:
    """A sample's value: integers without a point, other numbers in their shortest exact form."""
    if isinstance(value, int):
        # bool is an int too, and its own text would be no number.
        return str(int(value))
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value.is_integer() and abs(value) < EXACT_INTEGER_LIMIT:
        return str(int(value))
    return repr(value)


def bound_text(bound: float) -> str:
    """An `le` value: 0.005, 1.0, 5e-05, 1e+06, 1.048576e+06, +Inf."""
    if bound == math.inf:
        return "+Inf"
    if bound < EXPONENT_FROM or bound >= 1e16:
        return repr(float(bound))
    whole, _, fraction = repr(float(bound)).partition(".")
    digits = (whole + fraction).rstrip("0")
    exponent = len(whole) - 1
    mantissa = digits[0] + (f".{digits[1:]}" if len(digits) > 1 else "")
    return f"{mantissa}e+{exponent:02d}"


def escape_label_value(value: str) -> str:
    """A label value between its quotes."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def escape_help(text: str, *, is_openmetrics: bool) -> str:
    """A help text; OpenMetrics also escapes quotes there."""
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if is_openmetrics else escaped


def as_bytes(text: str) -> bytes:
    """UTF-8.  Lone surrogates (undecodable file names and such) become `?`: they have no encoding."""
    return text.encode("utf-8", "replace")


def label_text(names: tuple[str, ...], values: tuple[str, ...], *more: str) -> str:
    """`{a="x",b="y"}`, or nothing when there are no labels.  `more` are pairs that are already text."""
    pairs = [f'{name}="{escape_label_value(value)}"' for name, value in zip(names, values, strict=True)]
    pairs.extend(more)
    return f"{{{','.join(pairs)}}}" if pairs else ""


def type_text(spec: FamilySpec) -> str:
    """The word after `# TYPE name`."""
    if isinstance(spec, CounterSpec):
        return "counter"
    if isinstance(spec, HistogramSpec):
        return "histogram"
    assert isinstance(spec, GaugeSpec), spec
    return "gauge"


def base_name(spec: FamilySpec) -> str:
    """The family's name in OpenMetrics: a counter's without `_total`."""
    return spec.name.removesuffix("_total") if isinstance(spec, CounterSpec) else spec.name


def sample_names(spec: FamilySpec) -> tuple[str, ...]:
    """Every name that stands for the family: its own, and those on its sample lines."""
    if isinstance(spec, HistogramSpec):
        return (spec.name, *(f"{spec.name}_{part}" for part in ("bucket", "count", "sum", "created")))
    if isinstance(spec, CounterSpec):
        return (spec.name, base_name(spec), f"{base_name(spec)}_created")
    return (spec.name,)


def header(spec: FamilySpec, *, is_openmetrics: bool) -> bytes:
    """The HELP and TYPE lines."""
    name = base_name(spec) if is_openmetrics else spec.name
    words = escape_help(spec.help, is_openmetrics=is_openmetrics)
    return as_bytes(f"# HELP {name} {words}\n# TYPE {name} {type_text(spec)}\n")


def line_prefixes(spec: FamilySpec, labels: tuple[str, ...]) -> tuple[bytes, ...]:
    """What stands before each number of one series: one prefix, or for a histogram
    one per bucket, then `_count`, then `_sum`.
    """
    plain = label_text(spec.labels, labels)
    if not isinstance(spec, HistogramSpec):
        return (as_bytes(f"{spec.name}{plain} "),)
    bounds = [f'le="{bound_text(bound)}"' for bound in (*spec.bounds, math.inf)]
    lines = [f"{spec.name}_bucket{label_text(spec.labels, labels, bound)} " for bound in bounds]
    return tuple(map(as_bytes, (*lines, f"{spec.name}_count{plain} ", f"{spec.name}_sum{plain} ")))


def created_line(spec: FamilySpec, labels: tuple[str, ...], created_unix_s: float) -> bytes:
    """The `_created` line of one series; nothing for gauges, which have none."""
    if isinstance(spec, GaugeSpec):
        return b""
    number = number_text(created_unix_s)
    return as_bytes(f"{base_name(spec)}_created{label_text(spec.labels, labels)} {number}\n")
