"""What a client accepts, by RFC 9110: quality values, wildcards, and the most specific range wins."""

import attrs

# A header names a handful of types; the head's limit bounds the rest.
RANGES_LIMIT = 32


@attrs.frozen
class Range:
    """One item of an Accept or Accept-Encoding header."""

    value: str
    version: str | None
    quality: float

    def specificity(self, value: str, version: str | None) -> int:
        """How exactly this names `value`: 3 with its version, 2 without, 1 by type, 0 by */*, -1 not."""
        if self.value in {"*", "*/*"}:
            return 0
        if self.value.endswith("/*"):
            return 1 if value.startswith(self.value[:-1]) else -1
        if self.value != value or self.version not in {None, version}:
            return -1
        return 2 if self.version is None else 3


def parse_ranges(header: str) -> list[Range]:
    """The items of a header.  One whose quality cannot be read is as if it were not there."""
    ranges: list[Range] = []
    for item in header.split(",")[:RANGES_LIMIT]:
        value, *parameter_texts = (part.strip() for part in item.split(";"))
        parameters = {
            name.strip().lower(): text.strip().strip('"')
            for name, _, text in (parameter.partition("=") for parameter in parameter_texts)
        }
        quality = _quality(parameters.get("q", "1"))
        if value and quality is not None:
            ranges.append(Range(value.lower(), parameters.get("version"), quality))
    return ranges


def _quality(text: str) -> float | None:
    try:
        quality = float(text)
    except ValueError:
        return None
    return quality if 0.0 <= quality <= 1.0 else None


def rank(ranges: list[Range], value: str, version: str | None = None) -> tuple[float, int]:
    """Quality of the most specific range that takes `value`, and its specificity; (0, -1) when none does."""
    best = max(((item.specificity(value, version), item.quality) for item in ranges), default=(-1, 0.0))
    return (best[1], best[0]) if best[0] >= 0 else (0.0, -1)


def wants_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics 1.0 is wanted more than text 0.0.4.

    Undecided clients, and those that take neither, get the text format: a
    scraper that reads something beats a 406 that nobody looks at.
    """
    ranges = parse_ranges(accept)
    openmetrics = rank(ranges, "application/openmetrics-text", "1.0.0")
    return openmetrics > rank(ranges, "text/plain", "0.0.4") and openmetrics[0] > 0


def wants_gzip(accept_encoding: str) -> bool:
    """Whether gzip is accepted, and not less than no encoding at all."""
    ranges = parse_ranges(accept_encoding)
    identity = max((item.quality for item in ranges if item.value == "identity"), default=0.0)
    gzip_quality, _ = rank(ranges, "gzip")
    return gzip_quality > 0 and gzip_quality >= identity
