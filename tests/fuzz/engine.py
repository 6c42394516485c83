"""A small fuzzer that is led by coverage, for where atheris is not installed.

An input that reaches a line of ours that none before it reached joins the
corpus, and new inputs are mutations of the corpus.
"""

import random
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path

import attrs
import leanmesh
from fuzz.registry import FuzzTarget

INPUT_LIMIT_BYTES = 4096
# CPU time: other work on the machine does not count.  Honest inputs take well under 0.1 s.
INPUT_LIMIT_S = 2.0

_PACKAGE = str(Path(leanmesh.__file__).parent)
_INTERESTING = [
    b"\x00",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\x00\x00",
    b"\xff\xff",
    b"\x80\x80\x01",
    b"\xff" * 9 + b"\x01",
]


class SlowInput(AssertionError):
    """An input that takes far more time than its size deserves."""


@attrs.define
class Lines:
    """The lines of our package that were reached so far."""

    seen: set[tuple[types.CodeType, int]] = attrs.field(factory=set)
    has_grown: bool = False

    def trace(self, frame: types.FrameType, event: str, argument: object) -> object:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        return self._trace_line

    def _trace_line(self, frame: types.FrameType, event: str, argument: object) -> object:
        line = (frame.f_code, frame.f_lineno)
        if line not in self.seen:
            self.seen.add(line)
            self.has_grown = True
        return self._trace_line


def mutate(generator: random.Random, corpus: Sequence[bytes]) -> bytes:
    """A new input: one of the corpus with one to four changes."""
    data = bytearray(generator.choice(corpus))
    for _ in range(generator.randint(1, 4)):
        at = generator.randint(0, len(data))
        to = generator.randint(at, min(len(data), at + 32))
        match generator.randrange(9):
            case 0 if at < len(data):
                data[at] ^= 1 << generator.randrange(8)
            case 1 if at < len(data):
                data[at] = generator.randrange(256)
            case 2:
                del data[at:to]
            case 3:
                data[at:at] = generator.randbytes(generator.randint(1, 8))
            case 4:
                data[at:at] = data[at:to] * generator.choice((1, 1, 2, 16))
            case 5:
                piece = generator.choice(_INTERESTING)
                data[at : at + generator.choice((0, len(piece)))] = piece
            case 6:
                other = generator.choice(corpus)
                start = generator.randint(0, len(other))
                data[at:to] = other[start : start + generator.randint(1, 64)]
            case 7 if at < len(data) and data[at] < 0x80:
                # A varint that is longer than it needs to be: parsers differ in how far they follow it.
                data[at : at + 1] = bytes((data[at] | 0x80, *b"\x80" * generator.randrange(10), 0))
            case _:
                del data[at:]
    return bytes(data[:INPUT_LIMIT_BYTES])


def try_timed(target: FuzzTarget, data: bytes) -> None:
    """Feed one input and hold it to its time."""
    start_s = time.process_time()
    target.try_input(data)
    spent_s = time.process_time() - start_s
    if spent_s > INPUT_LIMIT_S:
        raise SlowInput(f"{len(data)} bytes took {spent_s:.1f} s")


@attrs.define
class Failure(Exception):
    """An input that broke a target."""

    data: bytes
    cause: BaseException


def fuzz(
    target: FuzzTarget, *, seed: int, duration_s: float = float("inf"), runs: float = float("inf")
) -> str:
    """Try inputs until the time or the number is used up; gives a line about it.  Raises Failure."""
    generator = random.Random(seed)
    corpus = [b"", *target.seeds, *target.found.values()]
    lines = Lines()
    end_s = time.monotonic() + duration_s
    tried = 0
    while time.monotonic() < end_s and tried < runs:
        data = corpus[tried] if tried < len(corpus) else mutate(generator, corpus)
        previous = sys.gettrace()
        sys.settrace(lines.trace)
        try:
            try_timed(target, data)
        except Exception as error:
            raise Failure(data, error) from error
        finally:
            sys.settrace(previous)
        tried += 1
        if lines.has_grown:
            lines.has_grown = False
            corpus.append(data)
    return f"{tried} inputs, {len(corpus)} in the corpus, {len(lines.seen)} lines reached"
