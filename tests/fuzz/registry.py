"""The fuzz targets: one file each in tests/fuzz/targets, found by being there.

A target file defines

    SEEDS: Sequence[bytes]              honest inputs, made with our own encoders
    def target(data: bytes) -> None     decodes hostile bytes; may raise RemoteError and nothing else

and states with asserts what must hold when the bytes are taken.  Inputs that
once broke a target lie in tests/fuzz/found/NAME and are tried again for ever.
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
from leanmesh.errors import RemoteError

HERE = Path(__file__).parent


@attrs.frozen
class FuzzTarget:
    """One target, with its honest inputs and those that once broke it."""

    name: str
    seeds: Sequence[bytes]
    found: dict[str, bytes]
    _target: Callable[[bytes], None] = attrs.field(repr=False)

    def try_input(self, data: bytes) -> bool:
        """Feed one input; gives whether it was taken.  Whatever is not a RemoteError comes out of here."""
        try:
            self._target(data)
        except RemoteError as error:
            check_text(error)
            return False
        return True


def check_text(error: Exception) -> None:
    """An error's text is made of hostile values, so making it is part of the test."""
    assert str(error)


def target_names() -> list[str]:
    return sorted(path.stem for path in (HERE / "targets").glob("*.py"))


def load_target(name: str) -> FuzzTarget:
    spec = importlib.util.spec_from_file_location(f"fuzz_target_{name}", HERE / "targets" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = {path.name: path.read_bytes() for path in sorted((HERE / "found" / name).glob("*"))}
    return FuzzTarget(name, module.SEEDS, found, module.target)


def cut(data: bytes) -> list[bytes]:
    """Cut an input into the chunks that it arrives in: its first byte says how large they are."""
    if not data:
        return []
    step_bytes = data[0] or 1 << 16
    return [data[offset : offset + step_bytes] for offset in range(1, len(data), step_bytes)]
