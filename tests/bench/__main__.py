"""Runs benchmarks by name, or all of them: `just bench [NAME...]`.  Exit code 1 when an aim is missed."""

import importlib
import sys
from pathlib import Path

import harness

HERE = Path(__file__).parent
NOT_BENCHMARKS = {"__main__", "harness", "contestants", "observing", "worker_restarts"}


def main(names: list[str]) -> int:
    stems = {path.stem for path in HERE.glob("*.py") if not path.stem.startswith("test_")}
    known = sorted(stems - NOT_BENCHMARKS)
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    is_everything_met = True
    for name in names or known:
        results = list(importlib.import_module(name).run())
        print(harness.table(name, results), end="\n\n", flush=True)
        harness.write_json(name, results)
        is_everything_met &= all(result.holds for result in results)
    return 0 if is_everything_met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
