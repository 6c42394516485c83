"""Recordings: what enters the router of each network, in a file per life that `leanmesh replay` repeats.

A recording is whole or it ends: the first line that finds no room, in the file or in
the queue before a slow disk, is the end of it.  It is said, counted, and stands in the file.
"""

import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import attrs
import trio

from leanmesh.errors import LocalError
from leanmesh.gossip.intake import Deliver
from leanmesh.gossip.observer import Observer
from leanmesh.gossip.trace import RecordedKey, Recorder, Tape
from leanmesh.identity.keys import PrivateKey
from leanmesh.metrics.catalog_trace import RECORD_LINES
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.prime import prime
from leanmesh.service.events import tell
from leanmesh.service.line_file import LineFile, Written
from leanmesh.service.params import RecordParams
from leanmesh.service.record_format import RecordHead, last_line
from leanmesh.service.router_facts import RouterFacts
from leanmesh.service.validators import Validators

# Kept free in the file for its last line.
LAST_LINE_BYTES = 64
SEED_BITS = 128

REASONS = {
    "queue_full": "the disk is too slow",
    "file_full": "it has its limit_bytes",
}


@attrs.define(eq=False)
class Recording:
    """The file of one life of a network."""

    path: Path
    params: RecordParams
    cells: Cells
    ended_by: str | None = None
    """Why it ended before the network did."""
    _file: LineFile = attrs.field(init=False)
    _size_bytes: int = attrs.field(default=0, init=False)
    _is_closed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        # All that was said is in it, also on topics that are not for everyone.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        params = self.params
        self._file = LineFile(params.limit_bytes, params.queue_limit_bytes, descriptor, self._on_written)

    @asynccontextmanager
    async def written(self) -> AsyncGenerator[None]:
        """Have what is put written; when left, it is."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._file.run)
            try:
                yield
            finally:
                # Whoever still holds the router of a life that is over is not recorded.
                self._is_closed = True
                if not await self._file.aclose():
                    self._end("queue_full")

    def put(self, line: str) -> bool:
        """Have one line written; False when it ends the recording, or came after its end."""
        data = line.encode() + b"\n"
        if self.ended_by is not None or self._is_closed:
            return False
        if self._size_bytes + len(data) + LAST_LINE_BYTES > self.params.limit_bytes:
            self._lose(1, "file_full")
        elif not self._file.put(data):
            self._lose(1, "queue_full")
        self._size_bytes += len(data)
        return self.ended_by is None

    def _lose(self, lines: int, outcome: str) -> None:
        self._count(lines, outcome)
        self._end(outcome)

    def _end(self, outcome: str, reason: str | None = None) -> None:
        if self.ended_by is not None:
            return
        self.ended_by = reason or REASONS[outcome]
        if outcome != "failed":
            self._file.put(last_line(outcome).encode() + b"\n", is_last=True)
        tell(
            "record",
            f"the recording {self.path} ends before its network: {self.ended_by}; it is good up to there",
            path=str(self.path),
            reason=self.ended_by,
        )

    def _on_raised(self) -> None:
        tell(
            "record",
            f"a bug of the router ends the recording {self.path}, which leanmesh replay repeats",
            level=logging.WARNING,
            path=str(self.path),
            reason="raised",
        )

    def _count(self, lines: int, outcome: str) -> None:
        self.cells.add(self.cells.counter(RECORD_LINES, outcome), lines)

    def _on_written(self, written: Written) -> None:
        self._count(written.lines, "written")
        if written.lost:
            # What waits must not be written either, behind a hole.
            self._count(written.lost + self._file.discard(), written.outcome)
            self._end(written.outcome, None if written.error is None else str(written.error.strerror))

    def router(
        self,
        facts: RouterFacts,
        network_id: int,
        key: PrivateKey,
        generator: Random,
        validators: Validators,
        deliver: Deliver,
        observer: Observer,
    ) -> Recorder:
        """A router whose events are written here.  It chooses by a seed that is drawn from `generator`."""
        head = RecordHead(
            facts=facts,
            network_id=network_id,
            recorded_at=datetime.now(UTC).isoformat(),
            public_key=key.public_key,
            seed=generator.getrandbits(SEED_BITS),
            validated=tuple(validators.topics),
        )
        tape = Tape(self.put, facts.started_s, on_raised=self._on_raised)
        self.put(head.line())
        router = facts.router(
            RecordedKey(key, tape), Random(head.seed), validators.__contains__, deliver, observer
        )
        return Recorder(router, tape)


@attrs.define(eq=False)
class Recordings:
    """The folder of the recordings of one process."""

    folder: Path
    params: RecordParams
    cells: Cells

    @classmethod
    def build(cls, params: RecordParams, cells: Cells) -> "Recordings | None":
        """What the settings ask for; None when they ask for none.  LocalError when there can be no folder."""
        if params.folder is None:
            return None
        folder = Path(params.folder).expanduser()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LocalError(f"nothing can be recorded in {folder}: {error.strerror}") from error
        prime(cells, RECORD_LINES)
        return cls(folder, params, cells)

    def begin(self, network_id: int, *, is_first: bool) -> Recording | None:
        """A new file for one life of a network; None when there is no room for it, which is said.

        What keeps the first one from being made is a LocalError; later the network has to go on.
        """
        name = f"network-{network_id}-"
        number = sum(path.name.startswith(name) for path in self.folder.glob("*.record"))
        if number >= self.params.files_limit:
            _tell_unrecorded(network_id, f"{self.folder} holds {number} of its recordings already")
            return None
        path = self.folder / f"{name}{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}.record"
        try:
            return Recording(path, self.params, self.cells)
        except OSError as error:
            if is_first:
                raise LocalError(f"nothing can be recorded in {self.folder}: {error.strerror}") from error
            _tell_unrecorded(network_id, f"{path}: {error.strerror}")
            return None


def _tell_unrecorded(network_id: int, reason: str) -> None:
    sentence = f"network {network_id} is not recorded: {reason}"
    tell("record", sentence, network_id=network_id, reason=reason)


@asynccontextmanager
async def recorded(begin: Callable[[], Recording | None] | None) -> AsyncGenerator[Recording | None]:
    """One life of a network, recorded when `begin` gives it a file."""
    recording = None if begin is None else begin()
    if recording is None:
        yield None
    else:
        async with recording.written():
            yield recording
