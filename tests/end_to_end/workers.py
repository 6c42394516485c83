"""Looking into worker processes from outside."""

from contextlib import suppress
from pathlib import Path


def cells_of(pid: int) -> Path:
    """The memory that a worker inherited for its cells."""
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if "leanmesh-cells" in str(path.readlink()):
                return path
    raise AssertionError(f"process {pid} has no cells")
