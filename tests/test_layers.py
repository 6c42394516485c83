"""The import table of the house: who may import whom, and what the pure rooms may not touch."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "node" / "leanmesh"
LINE_LIMIT = 500

# A room, and what it may import besides itself.  "x.y" names one module of a room;
# "*.params" the settings classes of every room.
ALLOWED = {
    "__init__": {"run", "settings", "errors", "service"},
    "__main__": {"cli"},
    "errors": set(),
    "contain": set(),
    "settings": {"*.params"},
    "settings_doc": {"settings"},
    "run": {"*"},
    "workers": {"*"},
    "devnet": {"run", "settings", "service", "transport"},
    "cli": {"run", "workers", "devnet", "settings", "identity", "metrics.cells", "service.replay"},
    "service": {"transport", "wire", "identity", "gossip", "metrics", "lean"},
    "bridge": {"service"},
    "web": {"metrics", "service"},
    "transport": {"wire", "identity"},
    "lean": {"gossip", "wire", "identity"},
    "metrics": {"gossip.observer"},
    "wire": {"identity"},
    "gossip": {"identity", "wire.varint"},
    # Signed envelopes are length-prefixed: the number coding stands below both rooms.
    "identity": {"wire.varint"},
}
EVERYWHERE = {"errors", "contain"}
PURE_ROOMS = ("gossip", "wire")
IMPURE_MODULES = {"trio", "asyncio", "socket", "time", "random", "threading"}
# Types only: annotations may name a generator that is handed in.
TYPES_ONLY = {"random"}


def module_files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if not path.stem.endswith("_pb2"))


def module_name(path: Path) -> str:
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts)


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(path: Path, *, with_types: bool) -> Iterator[str]:
    """Absolute dotted names that a file imports, anywhere in it."""
    tree = ast.parse(path.read_text())
    hidden: set[int] = set()
    if not with_types:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and is_type_checking(node):
                hidden.update(id(inner) for statement in node.body for inner in ast.walk(statement))
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the edge they make"
            assert node.module is not None
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def own_target(name: str) -> str | None:
    """The module of ours that a dotted name lies in ("gossip.mesh"), or None for others' modules."""
    if name != "leanmesh" and not name.startswith("leanmesh."):
        return None
    parts = name.split(".")[1:]
    while parts:
        path = PACKAGE.joinpath(*parts)
        if path.with_suffix(".py").exists() or (path / "__init__.py").exists():
            return ".".join(parts)
        if (
            path.with_name(path.name + "_pb2.py").exists()
            or parts[-1].endswith("_pb2")
            or parts[-1] == "_cells"
        ):
            return ".".join(parts)
        parts.pop()
    return "__init__"


def is_allowed(room: str, target: str) -> bool:
    target_room = target.split(".")[0]
    if target_room == room or target_room in EVERYWHERE:
        return True
    allowed = ALLOWED[room]
    if "*" in allowed or target_room in allowed or target in allowed:
        return True
    return "*.params" in allowed and target.endswith(".params")


@pytest.mark.parametrize("path", module_files(), ids=module_name)
def test_imports_follow_the_table(path: Path):
    room = module_name(path).split(".")[0]
    assert room in ALLOWED, f"{room} is a room the plan does not know"
    wrong = {
        target
        for name in imports(path, with_types=True)
        if (target := own_target(name)) is not None and not is_allowed(room, target)
    }
    assert wrong == set()


@pytest.mark.parametrize(
    "path",
    [path for path in module_files() if module_name(path).split(".")[0] in PURE_ROOMS],
    ids=module_name,
)
def test_pure_rooms_have_no_clock_dice_sockets_or_tasks(path: Path):
    at_run_time = {name.split(".")[0] for name in imports(path, with_types=False)} & IMPURE_MODULES
    for_types = {name.split(".")[0] for name in imports(path, with_types=True)} & IMPURE_MODULES
    assert at_run_time == set()
    assert for_types <= TYPES_ONLY


def test_no_import_cycle():
    graph = {
        module_name(path): {
            target
            for name in imports(path, with_types=False)
            if (target := own_target(name)) is not None and target != module_name(path)
        }
        for path in module_files()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_no_file_holds_two_ideas():
    long = {
        module_name(path): lines
        for path in module_files()
        if (lines := len(path.read_text().splitlines())) > LINE_LIMIT
    }
    assert long == {}
