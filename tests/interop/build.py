"""Builds the interop peers into a cache outside the checkout, and tells where a built one is.

    python tests/interop/build.py [go] [js] [py]

One folder per language and content: `<cache>/<language>-<hash>`, where the hash covers everything the build
reads. A folder with a `built` file in it is complete; one without is wiped and built again. A file lock per
language lets several builds start at once. Standard library only: it also runs before anything is installed.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
COMPLETE = "built"
STEP_TIMEOUT_S = 900
SHOWN_CHARACTERS = 4000


class BuildFailedError(Exception):
    """A toolchain is missing, or one of its steps failed; the message names both."""


@dataclass(frozen=True)
class Language:
    """How the peer of one language is built, and how it is started once it is."""

    name: str
    toolchain: tuple[str, ...]
    inputs: tuple[str, ...]
    # What to look at first when a step fails.
    hint: str

    @property
    def sources(self) -> list[Path]:
        """The files that decide what a build contains, in a fixed order."""
        return sorted(path for pattern in self.inputs for path in (HERE / self.name).glob(pattern))

    @property
    def folder(self) -> Path:
        """Where this content is, or will be, built."""
        digest = hashlib.sha256(sys.version.encode() if self.name == "py" else b"")
        for path in self.sources:
            content = path.read_bytes()
            digest.update(f"{path.name}\n{len(content)}\n".encode() + content)
        return cache_root() / f"{self.name}-{digest.hexdigest()[:16]}"

    @property
    def is_built(self) -> bool:
        """Whether the peer can be started as it stands."""
        return (self.folder / COMPLETE).exists()

    @property
    def command(self) -> list[str]:
        """The words that start the peer; its options follow."""
        folder = self.folder
        return {
            "go": [str(folder / "peer")],
            "js": ["node", str(folder / "main.mjs")],
            "py": [str(folder / "venv/bin/python"), str(HERE / "py/main.py")],
        }[self.name]

    def missing_tools(self) -> list[str]:
        """The programs a build needs and this machine lacks."""
        return [tool for tool in self.toolchain if shutil.which(tool) is None]

    def steps(self) -> list[tuple[str, list[str], Path]]:
        """What a build does: a line for the reader, a command and the folder it runs in."""
        folder = self.folder
        if self.name == "go":
            # Read-only modules: what go.sum does not vouch for is not built.
            build = ["go", "build", "-mod=readonly", "-trimpath", "-o", str(folder / "peer"), "."]
            return [("compiling", build, HERE / "go")]
        if self.name == "js":
            # Not `npm ci`: it refuses a lock file that leaves out the native parts for other machines.
            # Versions and digests come from the lock file all the same.
            return [("installing packages", ["npm", "install", "--no-audit", "--no-fund"], folder)]
        python = str(folder / "venv/bin/python")
        requirements = str(HERE / "py/requirements.txt")
        install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "-r", requirements]
        return [
            ("making a virtual environment", [sys.executable, "-m", "venv", str(folder / "venv")], folder),
            ("installing packages", install, folder),
        ]


LANGUAGES = {
    language.name: language
    for language in (
        Language("go", ("go",), ("*.go", "go.mod", "go.sum"), "it needs Go 1.26 or later"),
        Language(
            "js",
            ("node", "npm"),
            ("*.mjs", "package.json", "package-lock.json", ".npmrc"),
            "it needs Node 20 or later",
        ),
        # The program itself runs from the checkout: nothing of it is built.
        Language(
            "py", ("cc",), ("requirements.txt",), "it compiles against GMP: on Debian, package libgmp-dev"
        ),
    )
}


def cache_root() -> Path:
    """`leanmesh-interop` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "leanmesh-interop"


def build(language: Language) -> None:
    """Build the peer if it is not there yet; BuildFailedError says what stood in the way."""
    with locked(language):
        if language.is_built:
            print(f"{language.name}: already built in {language.folder}", flush=True)
            return
        if missing := language.missing_tools():
            raise BuildFailedError(f"{language.name}: {', '.join(missing)} not found on PATH")
        folder = language.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if language.name == "js":
            # Node looks for packages beside the file that imports them.
            for path in language.sources:
                shutil.copy(path, folder)
        for title, command, where in language.steps():
            run_step(language, title, command, where)
        (folder / COMPLETE).touch()


def run_step(language: Language, title: str, command: list[str], folder: Path) -> None:
    """Run one step with a line before and after; its output is shown only when it fails."""
    print(f"{language.name}: {title} ...", flush=True)
    began_s = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=STEP_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        message = f"{language.name}: {title} took over {STEP_TIMEOUT_S} s: {' '.join(command)}"
        raise BuildFailedError(message) from error
    if done.returncode:
        raise BuildFailedError(
            f"{language.name}: {title} failed with code {done.returncode}: {' '.join(command)}\n"
            f"{done.stdout[-SHOWN_CHARACTERS:]}{done.stderr[-SHOWN_CHARACTERS:]}\n{language.hint}"
        )
    print(f"{language.name}: {title} took {time.monotonic() - began_s:.0f} s", flush=True)


@contextmanager
def locked(language: Language) -> Iterator[None]:
    """Hold the one lock under which this language is built."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / f"{language.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(names: list[str]) -> int:
    """Build the named languages, or all; 1 when one of them could not be built."""
    if unknown := sorted(set(names) - set(LANGUAGES)):
        print(f"unknown: {', '.join(unknown)}; known are {', '.join(LANGUAGES)}", file=sys.stderr)
        return 2
    failures = 0
    for name in names or LANGUAGES:
        try:
            build(LANGUAGES[name])
        except BuildFailedError as error:
            print(error, file=sys.stderr, flush=True)
            failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
