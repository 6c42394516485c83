"""Runs fuzz targets: `python tests/fuzz/run.py [NAME]...`, ten minutes for all of them together.

LEANMESH_FUZZ_S gives each target so many seconds instead, and
LEANMESH_FUZZ_SEED makes the inputs the same each time: a gate must not fail
for what another change brought in.  Each target runs in a process of its own
with bounded memory, under atheris when that is installed.  An input that
breaks a target is written to tests/fuzz/found.
"""

import argparse
import hashlib
import importlib.util
import os
import resource
import subprocess
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from fuzz.engine import Failure, fuzz, try_timed  # noqa: E402
from fuzz.registry import FuzzTarget, load_target, target_names  # noqa: E402

TOTAL_S = 600.0
MEMORY_LIMIT_BYTES = 2 << 30


def run_all(names: list[str]) -> int:
    """Run each target in a process of its own; gives how many failed."""
    unknown = sorted(set(names) - set(target_names()))
    if unknown:
        sys.exit(f"no such target: {', '.join(unknown)}; there are {', '.join(target_names())}")
    names = names or target_names()
    duration_s = float(os.environ.get("LEANMESH_FUZZ_S", TOTAL_S / len(names)))
    failed: list[str] = []
    for name in names:
        print(f"{name}: {duration_s:.0f} s", flush=True)
        command = [sys.executable, __file__, "--one", name, "--seconds", str(duration_s)]
        if subprocess.run(command, check=False).returncode != 0:
            failed.append(name)
    print(f"{len(names) - len(failed)} targets held", *(f"{name} FAILED" for name in failed), sep=", ")
    return len(failed)


def run_one(name: str, duration_s: float) -> int:
    """Run one target in this process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    if importlib.util.find_spec("atheris") is not None:
        return run_atheris(name, duration_s)
    target = load_target(name)
    seed = int(os.environ.get("LEANMESH_FUZZ_SEED", time.time_ns()))
    try:
        print(f"{name}: {fuzz(target, seed=seed, duration_s=duration_s)}, seed {seed}", flush=True)
    except Failure as failure:
        keep(target, failure.data, failure.cause)
        return 1
    return 0


def run_atheris(name: str, duration_s: float) -> int:
    """Run one target under atheris, which ends the process itself."""
    import atheris

    with atheris.instrument_imports(include=["leanmesh"]):
        target = load_target(name)

    def test_one_input(data: bytes) -> None:
        try:
            try_timed(target, data)
        except Exception as error:
            keep(target, data, error)
            raise

    corpus = HERE / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for data in (*target.seeds, *target.found.values()):
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    options = [f"-max_total_time={duration_s:.0f}", "-max_len=4096", "-verbosity=0", "-print_final_stats=1"]
    if seed := os.environ.get("LEANMESH_FUZZ_SEED"):
        options.append(f"-seed={seed}")
    atheris.Setup([sys.argv[0], *options, str(corpus)], test_one_input)
    atheris.Fuzz()
    return 0


def keep(target: FuzzTarget, data: bytes, cause: BaseException) -> None:
    """Write down an input that broke a target, so that test_targets.py tries it from now on."""
    folder = HERE / "found" / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    traceback.print_exception(cause)
    print(f"{target.name}: broken by {path.relative_to(HERE.parent.parent)}: {data.hex()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        sys.exit(run_one(arguments.one, arguments.seconds))
    sys.exit(1 if run_all(arguments.names) else 0)


if __name__ == "__main__":
    main()
