"""Builds the C core, leanmesh.metrics._cells, with cffi in API mode; setup.py names this file.

Each header is the whole contract of its source and is read here as it stands.
To add a source, add its name to SOURCES: NAME.h is declared and NAME.c compiled.
"""

from pathlib import Path

from cffi import FFI

# Relative on purpose: builds run from the project root, and setuptools refuses absolute sources.
HERE = Path(__file__).parent

SOURCES = ("cells", "page", "gather")

ffibuilder = FFI()
for name in SOURCES:
    ffibuilder.cdef((HERE / f"{name}.h").read_text())
ffibuilder.set_source(
    "leanmesh.metrics._cells",
    "\n".join(["#include <stdint.h>", *(f'#include "{name}.h"' for name in SOURCES)]),
    sources=[str(HERE / f"{name}.c") for name in SOURCES],
    include_dirs=[str(HERE)],
    depends=[str(HERE / f"{name}.h") for name in SOURCES],
    # Asserts stay in: they guard memory that other processes read.
    extra_compile_args=["-std=c11", "-Wall", "-Wextra", "-UNDEBUG"],
)
