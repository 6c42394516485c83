"""Which words of a block are free, and when a freed one may be used again.

Cells are taken from the front, groups from the back.
"""

from collections import deque

import attrs

from leanmesh.metrics._cells import lib
from leanmesh.metrics.block import Block

# The first word belongs to nobody: who was turned away stores there.
SINK = 0
# A freed cell is handed out again when this many copies have been taken since: its label set
# has left the page, and a writer that was slow to hear of it has had a refresh to finish.
QUARANTINE_COPIES = 2


@attrs.define(eq=False)
class Places:
    """The free words of one block."""

    block: Block
    words: memoryview
    # Cells that somebody wrote after they were freed.  They are never handed out again.
    late_writes: int = 0
    _front: int = SINK + 1
    _back: int = attrs.field(init=False)
    _copies: int = 0
    # (index, copies taken when it was freed), oldest first.
    _freed: deque[tuple[int, int]] = attrs.field(factory=deque[tuple[int, int]])
    # Words of a group -> indices of freed groups of that size.
    _freed_groups: dict[int, list[int]] = attrs.field(factory=dict[int, list[int]])

    def __attrs_post_init__(self) -> None:
        self._back = self.block.capacity

    def copied(self) -> None:
        """A copy has been taken."""
        self._copies += 1

    def take(self) -> int | None:
        """One zero word, or None when the block is full."""
        index = self._take_freed()
        return self.take_row(1) if index is None else index

    def take_row(self, count: int) -> int | None:
        """The first of `count` zero words in a row that nobody had before, or None."""
        if self._front + count > self._back:
            return None
        index = self._front
        self._front += count
        return index

    def _take_freed(self) -> int | None:
        while self._freed and self._freed[0][1] + QUARANTINE_COPIES <= self._copies:
            index, _ = self._freed.popleft()
            if self.words[index] == 0:
                return index
            self.late_writes += 1
        return None

    def free(self, index: int) -> None:
        """Give one cell back.  Its writer must have stopped."""
        self.words[index] = 0
        self._freed.append((index, self._copies))

    def put_back(self, index: int) -> None:
        """Give back a cell that nobody has heard of: it needs no quarantine."""
        self._freed.appendleft((index, -QUARANTINE_COPIES))

    def take_group(self, count: int) -> int | None:
        """A place for a group of `count` words, or None when the block is full."""
        freed = self._freed_groups.get(count)
        if freed:
            return freed.pop()
        if self._back - count < self._front:
            return None
        self._back -= count
        return self._back

    def free_group(self, index: int, count: int) -> bool:
        """Give a group back; its writers may be late, their observations go nowhere.

        False when a writer never left it: then nobody gets it again.
        """
        if lib.cells_group_end(self.block.head, index) != lib.CELLS_OK:
            return False
        self._freed_groups.setdefault(count, []).append(index)
        return True
