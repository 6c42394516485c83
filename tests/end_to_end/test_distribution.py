"""What is shipped: an sdist from which a wheel can be built, and a wheel that has all it needs."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SOURCES = ("ffi", "node", "tests", "docs")
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE", "justfile")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both.  Built from a copy, so that nothing is left in the checkout."""
    source = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("*.so", "*.o", "__pycache__", "*.egg-info", "_cells.c")
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, source)
    # Without --sdist and --wheel: the wheel is built from the sdist.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", source / "dist", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return source / "dist"


@pytest.mark.slow
def test_the_sdist_has_the_c_core_the_tests_and_the_pages(built: Path):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {"ffi/cells.h", "ffi/cells.c", "ffi/build.py", "node/leanmesh/py.typed", "setup.py"}
    expected |= {
        "tests/test_layers.py",
        "tests/vectors.py",
        "docs/tour.md",
        "README.md",
        "LICENSE",
        "justfile",
    }
    assert expected <= names


@pytest.mark.slow
def test_the_wheel_holds_for_every_python_from_3_11_on(built: Path):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    assert "-cp311-abi3-" in path.name
    assert {"leanmesh/metrics/_cells.abi3.so", "leanmesh/py.typed", "leanmesh/metrics/catalog.py"} <= names
    assert [
        name
        for name in names
        if name.split("/")[0] not in {"leanmesh", f"{path.name.split('-cp')[0]}.dist-info"}
    ] == []


@pytest.mark.slow
def test_the_wheel_runs_where_there_is_no_checkout(built: Path, tmp_path: Path):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    script = (
        "import leanmesh, leanmesh.metrics.cells as cells\n"
        "held = cells.Cells.anonymous()\n"
        "print(leanmesh.__file__, len(held.words) > 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (f"{tmp_path / 'leanmesh' / '__init__.py'} True\n", "")
