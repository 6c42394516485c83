"""What every benchmark needs: interleaved repeats, medians, a table, and results as JSON.

A benchmark is a module of this folder with `run() -> Iterator[Result]`; its
name is the module's.  Machines differ and neighbours disturb, so figures that
are compared are measured in turns within one run, and aims are ratios of those.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import attrs

RESULTS_VARIABLE = "LEANMESH_BENCH_JSON"


@attrs.frozen
class Result:
    """One figure.  Without an aim it is for information; `is_upper`: the aim is the most it may be."""

    metric: str
    value: float
    unit: str
    aim: float | None = None
    is_upper: bool = False
    # What it was measured against, or under which conditions.
    against: str = ""

    @property
    def holds(self) -> bool:
        """Whether the aim is met."""
        if self.aim is None:
            return True
        return self.value <= self.aim if self.is_upper else self.value >= self.aim


def at_least(metric: str, value: float, unit: str, aim: float, against: str = "") -> Result:
    """A figure that should be `aim` or more."""
    return Result(metric, value, unit, aim, is_upper=False, against=against)


def at_most(metric: str, value: float, unit: str, aim: float, against: str = "") -> Result:
    """A figure that should be `aim` or less."""
    return Result(metric, value, unit, aim, is_upper=True, against=against)


def note(metric: str, value: float, unit: str, against: str = "") -> Result:
    """A figure without an aim."""
    return Result(metric, value, unit, against=against)


def interleaved(
    works: Mapping[str, Callable[[], object]],
    repeats: int = 9,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each repeat of each work, taken in turns so that what disturbs one disturbs all."""
    for work in works.values():
        work()  # Caches and lazy imports are not what is measured.
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            started = clock()
            work()
            seconds[name].append(clock() - started)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each work."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def ratio(seconds: Mapping[str, Sequence[float]], slow: str, fast: str) -> float:
    """How many times faster `fast` is: the median of the ratios of the turns."""
    return statistics.median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(name: str, results: Iterable[Result]) -> str:
    """The results as lines of text."""
    rows = [("metric", "value", "aim", "", "against")]
    for result in results:
        aim = "" if result.aim is None else f"{'<=' if result.is_upper else '>='} {result.aim:g}"
        verdict = "" if result.aim is None else "holds" if result.holds else "MISSED"
        rows.append(
            (f"{name}.{result.metric}", f"{result.value:,.4g} {result.unit}", aim, verdict, result.against)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def write_json(name: str, results: Iterable[Result]) -> None:
    """Add the results to the file that LEANMESH_BENCH_JSON names, if it names one."""
    target = os.environ.get(RESULTS_VARIABLE)
    if not target:
        return
    path = Path(target)
    figures = json.loads(path.read_text()) if path.exists() and path.stat().st_size else {}
    for result in results:
        figures[f"{name}.{result.metric}"] = {
            "value": result.value,
            "unit": result.unit,
            "aim": result.aim,
            "holds": result.holds,
            "against": result.against,
        }
    path.write_text(json.dumps(figures, indent=2) + "\n")
