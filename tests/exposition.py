"""A strict reader of exposition pages: what promtool and the parsers let pass is an error here.

`read_page(body, is_openmetrics=...)` returns {family: {series: value}} or fails
with the line that is wrong.
"""

import math
import re

import attrs

SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.+)\})? ([^ ]+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,(?=[a-zA-Z_])|$)')
NUMBER = re.compile(
    r"-?(0|[1-9]\d*)(\.\d*[1-9])?"  # 0, 4242, -0.25
    r"|-?[1-9](\.\d*[1-9])?e(-\d{2,3}|\+\d{2,3})"  # 5e-05, 1e+16
    r"|[+-]Inf|NaN"
)
UNESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
SUFFIXES = {
    "counter": {"_total", "_created"},
    "gauge": {""},
    "histogram": {"_bucket", "_count", "_sum", "_created"},
}

Labels = tuple[tuple[str, str], ...]


@attrs.define
class Page:
    """What a page says.  Series are keyed by sample name and labels as text, as they stand on the page."""

    types: dict[str, str] = attrs.field(factory=dict)
    helps: dict[str, str] = attrs.field(factory=dict)
    families: dict[str, dict[tuple[str, Labels], float]] = attrs.field(factory=dict)

    def value(self, name: str, /, **labels: str) -> float:
        return self.series()[name, tuple(labels.items())]

    def series(self) -> dict[tuple[str, Labels], float]:
        return {key: value for family in self.families.values() for key, value in family.items()}


def read_page(body: bytes, *, is_openmetrics: bool) -> Page:
    text = body.decode("utf-8")
    assert text == "" or text.endswith("\n"), "the page does not end in a newline"
    lines = text.split("\n")[:-1]
    if is_openmetrics:
        assert lines, "an OpenMetrics page has at least its end"
        assert lines.pop() == "# EOF", "the page does not end in # EOF"
    page = Page()
    family = ""
    for line in lines:
        assert line, "a blank line"
        assert line != "# EOF", "# EOF inside a page, or in the text format"
        if line.startswith("#"):
            family = _read_header(page, line, family)
        else:
            _read_sample(page, line, family, is_openmetrics=is_openmetrics)
    for name, kind in page.types.items():
        _check_grouping(name, page.families[name])
        assert page.families[name], f"{name} has no series"
        if kind == "histogram":
            _check_histogram(name, page.families[name])
        if kind == "counter":
            assert all(value >= 0 for value in page.families[name].values()), f"{name} is negative"
    return page


def _read_header(page: Page, line: str, family: str) -> str:
    word, name, rest = re.fullmatch(r"# (HELP|TYPE) ([^ ]+) (.+)", line).groups()
    if word == "HELP":
        assert name not in page.helps, f"{name} begins twice: families must be contiguous"
        page.helps[name] = rest
    else:
        assert family == name, f"TYPE of {name} without its HELP before"
        assert name not in page.types, f"TYPE of {name} twice"
        page.types[name] = rest
        page.families[name] = {}
    return name


def _read_sample(page: Page, line: str, family: str, *, is_openmetrics: bool) -> None:
    match = SAMPLE.fullmatch(line)
    assert match, f"no sample: {line!r}"
    name, label_text, number = match.groups()
    kind = page.types[family]
    suffixes = SUFFIXES[kind] if is_openmetrics or kind != "counter" else {""}
    assert name.startswith(family), f"{line!r} does not belong to {family}"
    assert name.removeprefix(family) in suffixes, f"{line!r} does not belong to the {kind} {family}"
    assert NUMBER.fullmatch(number), f"{number} is not canonical in {line!r}"
    key = (name, read_labels(label_text or ""))
    assert key not in page.families[family], f"{line!r} is there twice"
    page.families[family][key] = float(number)


def read_labels(text: str) -> Labels:
    labels, end = [], 0
    while end < len(text):
        match = LABEL.match(text, end)
        assert match, f"wrong labels: {text!r}"
        labels.append((match[1], re.sub(r"\\.", lambda escape: UNESCAPED[escape[0]], match[2])))
        end = match.end()
    assert len({name for name, _ in labels}) == len(labels), f"a label twice: {text!r}"
    return tuple(labels)


def _check_grouping(family: str, samples: dict[tuple[str, Labels], float]) -> None:
    """The lines of one label set must stand together."""
    finished: set[Labels] = set()
    current: Labels | None = None
    for _, labels in samples:
        group = tuple(pair for pair in labels if pair[0] != "le")
        assert group not in finished, f"{family}: the lines of {group} are torn apart"
        if group != current and current is not None:
            finished.add(current)
        current = group


def _check_histogram(family: str, samples: dict[tuple[str, Labels], float]) -> None:
    buckets: dict[Labels, list[tuple[float, float]]] = {}
    for (name, labels), value in samples.items():
        if name.endswith("_bucket"):
            assert labels[-1][0] == "le", f"{family} has a bucket without le"
            buckets.setdefault(labels[:-1], []).append((float(labels[-1][1]), value))
    for suffix in ("_count", "_sum"):
        owners = {labels for name, labels in samples if name == family + suffix}
        assert owners == buckets.keys(), f"{family}: buckets and {suffix} have other label sets"
    for labels, pairs in buckets.items():
        bounds, counts = zip(*pairs, strict=True)
        assert list(bounds) == sorted(set(bounds)), f"{family}{labels}: the bounds do not rise: {bounds}"
        assert list(counts) == sorted(counts), f"{family}{labels}: the buckets fall: {counts}"
        assert bounds[-1] == math.inf, f"{family}{labels} has no +Inf"
        assert counts[-1] == samples[f"{family}_count", labels], f"{family}{labels}: +Inf is not the count"
