"""One life of one worker, as its supervisor reads it: from attach() to retire()."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from leanmesh.metrics.block import CellsOfOtherLayout, CellsUnreadable
from leanmesh.metrics.catalog_workers import SKIPPED_REASONS, TORN_REASONS
from leanmesh.metrics.cells_reader import CellsReader
from leanmesh.metrics.worker_block import WorkerBlock


@attrs.define(eq=False)
class Tally:
    """What could not be read as it should, by reason."""

    torn: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(TORN_REASONS, 0))
    skipped: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(SKIPPED_REASONS, 0))


@attrs.define(eq=False)
class WorkerHandle:
    """One life of one worker.  Its block may come later than the handle, or never.

    `is_known` says whether the counts of an incarnation are in the totals
    already.  Only WorkerCells calls follow() and end().
    """

    name: str
    block: WorkerBlock
    tally: Tally
    is_known: Callable[[int], bool]
    # Where the block will be; None once it has been opened, or will never be.
    source: Path | int | None = None
    reader: CellsReader | None = None
    incarnation: int | None = attrs.field(default=None, init=False)
    """The random number of this life; None until its block could be read."""
    _attached_ns: int = attrs.field(factory=time.monotonic_ns, init=False)
    # Its names are broken: what was read so far has been folded.
    _is_broken: bool = attrs.field(default=False, init=False)

    @property
    def pid(self) -> int | None:
        """The process that writes; None while its block cannot be read."""
        return None if self.reader is None else self.reader.pid

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since its loop last went round; since attach() while its block cannot be read."""
        if self.reader is None:
            return (time.monotonic_ns() - self._attached_ns) / 1e9
        return self.reader.heartbeat_age_s

    def follow(self, *, is_writer_dead: bool = False) -> None:
        """Bring the block up to date, as far as it can be read."""
        if self.source is not None:
            self._open(self.source)
        if self.reader is None or self._is_broken:
            return
        try:
            copy = self.reader.copy(is_writer_dead=is_writer_dead)
        except CellsUnreadable:
            # What was exported must not be missing from now on.
            self.tally.skipped["unreadable"] += 1
            self.block.fold()
            self._is_broken = True
            return
        self.tally.torn["killed" if is_writer_dead else "busy"] += len(copy.torn)
        self.block.take(copy)

    def end(self) -> None:
        """The writer is dead: fold what it counted."""
        self.follow(is_writer_dead=True)
        if self.source is not None:
            reason = self._why_unread(self.source)
            if reason is not None:
                self.tally.skipped[reason] += 1
            self._close()
        self.block.fold()
        # And with it the mapping.
        self.reader = None

    def _open(self, source: Path | int) -> None:
        try:
            reader = CellsReader.open(source)
        except CellsOfOtherLayout:
            self.tally.skipped["abi"] += 1
            self._close()
            return
        except CellsUnreadable:
            # Not there yet, or not finished.
            return
        if not self.is_known(reader.incarnation):
            self.reader, self.incarnation = reader, reader.incarnation
            self._close()

    def _why_unread(self, source: Path | int) -> str | None:
        """Why no block was taken from `source`; None when nobody ever wrote there."""
        try:
            CellsReader.open(source)
        except CellsUnreadable:
            return "unreadable" if _holds_something(source) else None
        return "repeated"

    def _close(self) -> None:
        if isinstance(self.source, int):
            os.close(self.source)
        self.source = None


def _holds_something(source: Path | int) -> bool:
    try:
        facts = os.fstat(source) if isinstance(source, int) else source.stat()
    except OSError:
        return False
    return facts.st_size > 0
