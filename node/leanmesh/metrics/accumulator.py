"""Work as values: how often something was done and for how long, by source, topic class and operation.

An accumulator is filled by one producer.  A batch is what it hands over: a
copy that nobody can change any more, so that whatever the producer does
afterwards, nothing is counted twice and nothing changes behind our back.
"""

from collections.abc import Iterator
from typing import NamedTuple

import attrs


class WorkKey(NamedTuple):
    """What a figure is about: the labels of one series."""

    source: str
    topic_class: str
    op: str


@attrs.frozen
class Work:
    """How often, and for how long in all."""

    count: int = 0
    duration_ns: int = 0

    def __add__(self, more: "Work") -> "Work":
        return Work(self.count + more.count, self.duration_ns + more.duration_ns)

    def __sub__(self, less: "Work") -> "Work":
        return Work(self.count - less.count, self.duration_ns - less.duration_ns)


Figures = dict[WorkKey, Work]
"""Work by series."""


@attrs.frozen(eq=False)
class Batch:
    """What one accumulator held when it was handed over.  Two batches are never the same."""

    count: int
    work: tuple[tuple[WorkKey, Work], ...]

    def add_to(self, figures: Figures) -> None:
        """Add all of it to these figures."""
        for key, work in self.work:
            held = figures.get(key)
            figures[key] = work if held is None else held + work


@attrs.define(eq=False)
class Accumulator:
    """Adds up the work of one source until it is handed over."""

    source: str
    count: int = attrs.field(default=0, init=False)
    """Things done that it holds."""
    # (topic class, op) -> [count, nanoseconds]; added to for every chunk, so plain numbers in a list.
    _work: dict[tuple[str, str], list[int]] = attrs.field(
        factory=dict[tuple[str, str], list[int]], init=False
    )

    def __bool__(self) -> bool:
        return bool(self._work)

    def add(self, topic_class: str, op: str, count: int, duration_ns: int) -> None:
        """So many things were done, in this time together."""
        held = self._work.get((topic_class, op))
        if held is None:
            self._work[topic_class, op] = [count, duration_ns]
        else:
            held[0] += count
            held[1] += duration_ns
        self.count += count

    def batch(self) -> Batch:
        """What it holds now, as a copy."""
        return Batch(self.count, tuple(self._items()))

    def clear(self) -> None:
        """Begin anew: what it held has another owner."""
        self._work = {}
        self.count = 0

    def _items(self) -> Iterator[tuple[WorkKey, Work]]:
        for (topic_class, op), (count, duration_ns) in self._work.items():
            yield WorkKey(self.source, topic_class, op), Work(count, duration_ns)
