"""One block of memory that holds cells: where it lives, who writes it, and whether that process still lives.

ffi/cells.h states the layout.  A block lives in anonymous memory, in a memfd
(handed to another process by descriptor) or in a file (found by name).
"""

import contextlib
import errno
import fcntl
import mmap
import os
import secrets
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from leanmesh.errors import LocalError
from leanmesh.metrics._cells import ffi, lib

if TYPE_CHECKING:
    from leanmesh.metrics._cells import Head

# 512 KiB: some 60,000 counters, or 4,000 histograms of 12 bounds.
CAPACITY = 65_536
# A record that names a label set takes about 60 to 130 bytes.  What is not written takes no memory.
NAMES_BYTES_PER_WORD = 128

FILE_SUFFIX = ".cells"
TEMPORARY_SUFFIX = f"{FILE_SUFFIX}.tmp"
# A crash loop must not fill the memory that /dev/shm is.
DEAD_BLOCKS_KEPT = 4


class CellsUnreadable(LocalError):
    """What should be a block of cells is none, is broken, or has another layout."""


class CellsOfOtherLayout(CellsUnreadable):
    """A block of cells of a layout (ABI) that this program cannot read."""


@attrs.define(eq=False)
class Block:
    """A mapped block.  `head` keeps the mapping alive for as long as anyone holds it."""

    memory: mmap.mmap
    head: "Head"
    capacity: int
    names_area_bytes: int
    # None for anonymous memory.
    descriptor: int | None
    path: Path | None

    @classmethod
    def anonymous(cls, capacity: int) -> "Block":
        """Make a block that only this process sees.  LocalError when the capacity is out of range."""
        memory = mmap.mmap(-1, _block_bytes(capacity))
        return cls._format(memory, capacity, descriptor=None, path=None)

    @classmethod
    def in_descriptor(cls, descriptor: int, capacity: int) -> "Block":
        """Make a block in an empty memfd or file that is open for writing.

        The descriptor is duplicated; the caller keeps its own.  LocalError
        when it already holds something: every life of a writer has a block of its own.
        """
        if os.fstat(descriptor).st_size:
            raise LocalError(f"descriptor {descriptor} is not empty: a block needs a fresh memfd or file")
        return cls._fill(os.dup(descriptor), capacity, path=None)

    @classmethod
    def in_file(cls, directory: Path, name: str, capacity: int) -> "Block":
        """Make a block in the file DIRECTORY/NAME.cells, readable by this user only.

        The file appears under its name when it is complete.  One that a dead
        writer left behind is replaced; LocalError when its writer lives.
        """
        if not name or "/" in name or name.startswith("."):
            raise LocalError(f"{name!r} cannot name a file of cells")
        path = directory / f"{name}{FILE_SUFFIX}"
        _refuse_living_writer(path)
        remove_old_blocks(directory)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=TEMPORARY_SUFFIX, dir=directory)
        try:
            block = cls._fill(descriptor, capacity, path=path)
            Path(temporary).rename(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return block

    @classmethod
    def _fill(cls, descriptor: int, capacity: int, *, path: Path | None) -> "Block":
        """Size and map a file.  Owns the descriptor, also when it fails."""
        try:
            total_bytes = _block_bytes(capacity)
            os.ftruncate(descriptor, total_bytes)
            try:
                # A store into a hole of a full tmpfs would be SIGBUS; better an error now.
                os.posix_fallocate(descriptor, 0, lib.cells_words_offset() + 8 * capacity)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise LocalError(f"no room for a block of {capacity} cells: {error}") from error
            with contextlib.suppress(OSError):
                # A memfd that nobody can cut short cannot kill its readers; others have no seals.
                fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            memory = mmap.mmap(descriptor, total_bytes)
            return cls._format(memory, capacity, descriptor=descriptor, path=path)
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def _format(
        cls, memory: mmap.mmap, capacity: int, *, descriptor: int | None, path: Path | None
    ) -> "Block":
        head = ffi.from_buffer("cells *", memory, require_writable=True)
        names_area_bytes = capacity * NAMES_BYTES_PER_WORD
        pid = os.getpid()
        # Before the magic number: who maps the block as soon as it is one reads no heartbeat of 0.
        lib.cells_set_heartbeat(head, time.monotonic_ns())
        error = lib.cells_format(
            head,
            len(memory),
            capacity,
            names_area_bytes,
            secrets.randbits(64),
            pid,
            process_started_ticks(pid) or 0,
            time.time_ns(),
        )
        assert error == lib.CELLS_OK, error
        return cls(memory, head, capacity, names_area_bytes, descriptor, path)

    @classmethod
    def open(cls, source: Path | int) -> "Block":
        """Map a block that another process writes, for reading only.

        `source` is a path, or a descriptor that is duplicated.  Raises
        CellsUnreadable, which says what is wrong with it.
        """
        name = f"descriptor {source}" if isinstance(source, int) else str(source)
        try:
            descriptor = (
                os.dup(source) if isinstance(source, int) else os.open(source, os.O_RDONLY | os.O_NONBLOCK)
            )
        except OSError as error:
            raise CellsUnreadable(f"{name} cannot be opened: {error.strerror}") from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise CellsUnreadable(f"{name} is not a regular file")
            if os.fstat(descriptor).st_size < lib.cells_words_offset():
                raise CellsUnreadable(f"{name} is too short for a block of cells")
            memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        head = ffi.from_buffer("cells *", memory)
        _check(head, len(memory), name)
        return cls(
            memory,
            head,
            capacity=head.capacity,
            names_area_bytes=head.names_area_bytes,
            descriptor=None,
            path=None if isinstance(source, int) else source,
        )

    def words(self) -> memoryview:
        """The words, one unsigned 64-bit integer each, in place."""
        start = lib.cells_words_offset()
        return memoryview(self.memory)[start : start + 8 * self.capacity].cast("Q")

    def write_names(self, generation: int, start: int, data: bytes) -> None:
        """Put bytes into a names area, without committing them.  OSError when there is no memory."""
        offset = lib.cells_names_offset(self.head, generation) + start
        if self.descriptor is None:
            self.memory[offset : offset + len(data)] = data
            return
        # By a call, not through the mapping: a full tmpfs is an error here, not SIGBUS.
        while data:
            written = os.pwrite(self.descriptor, data, offset)
            offset += written
            data = data[written:]

    def read_names(self, generation: int, start: int, stop: int) -> bytes:
        """Bytes of a names area, committed or not."""
        offset = lib.cells_names_offset(self.head, generation)
        return self.memory[offset + start : offset + stop]

    def writer_is_alive(self) -> bool:
        """Whether the process that made this block still runs: same pid, same start, no zombie."""
        return process_is_alive(self.head.pid, self.head.pid_started_ticks)

    def heartbeat_age_s(self) -> float:
        """Seconds since the writer's last heartbeat, by this machine's monotonic clock."""
        return (time.monotonic_ns() - lib.cells_heartbeat(self.head)) / 1e9

    def close(self) -> None:
        """Say that the writer ended, and remove its file.  The memory stays for whoever still writes."""
        lib.cells_set_ended(self.head)
        if self.descriptor is None:
            return
        if self.path is not None:
            try:
                is_ours = os.path.samestat(self.path.stat(), os.fstat(self.descriptor))
            except FileNotFoundError:
                is_ours = False
            if is_ours:
                self.path.unlink(missing_ok=True)
        os.close(self.descriptor)
        self.descriptor = None


def remove_old_blocks(directory: Path) -> None:
    """Remove what killed writers left in a directory, except the last DEAD_BLOCKS_KEPT: they tell why."""
    dead: list[tuple[int, Path]] = []
    for path in [*directory.glob(f"*{FILE_SUFFIX}"), *directory.glob(f".*{TEMPORARY_SUFFIX}")]:
        try:
            block = Block.open(path)
        except CellsUnreadable:
            # Others' files, or a block that is just being made.
            continue
        if not block.writer_is_alive():
            dead.append((block.head.started_unix_ns, path))
    for _, path in sorted(dead)[:-DEAD_BLOCKS_KEPT]:
        path.unlink(missing_ok=True)


def make_memfd(name: str = "leanmesh-cells") -> int:
    """An empty memory file, to hand down to the process that will write cells in it."""
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def runtime_directory() -> Path:
    """The directory for this user's blocks: in memory when the machine offers that, closed to others.

    LocalError when it belongs to somebody else or is open to others.
    """
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session and Path(session).is_dir():
        directory = Path(session) / "leanmesh"
    else:
        shared_memory = Path("/dev/shm")
        base = shared_memory if shared_memory.is_dir() else Path(tempfile.gettempdir())
        directory = base / f"leanmesh-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    facts = directory.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise LocalError(f"{directory} must be a directory of user {os.getuid()} with mode 0700")
    return directory


def process_started_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none, or nothing says."""
    fields = _process_fields(pid)
    return None if fields is None else int(fields[19])


def process_is_alive(pid: int, started_ticks: int) -> bool:
    """Whether the very process runs that had this pid at that start (0: not known)."""
    fields = _process_fields(pid)
    if fields is not None:
        return fields[0] not in (b"Z", b"X") and started_ticks in (0, int(fields[19]))
    if Path("/proc/self/stat").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _process_fields(pid: int) -> list[bytes] | None:
    """State and what follows it in /proc/PID/stat: after the name, which may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return None


def _block_bytes(capacity: int) -> int:
    total_bytes = (
        lib.cells_block_bytes(capacity, capacity * NAMES_BYTES_PER_WORD)
        if 0 < capacity <= lib.CELLS_MAX_CAPACITY
        else 0
    )
    if not total_bytes:
        raise LocalError(f"a block of {capacity} cells: it must have 1 to {lib.CELLS_MAX_CAPACITY}")
    return total_bytes


def _check(head: "Head", mapped_bytes: int, name: str) -> None:
    error = lib.cells_check(head, mapped_bytes)
    if error == lib.CELLS_FOREIGN:
        raise CellsUnreadable(f"{name} is no block of cells: it does not begin like one")
    if error == lib.CELLS_ABI:
        raise CellsOfOtherLayout(
            f"{name} has cells of layout {head.abi_version}; "
            f"this program reads layout {lib.CELLS_ABI_VERSION}"
        )
    if error == lib.CELLS_SIZE:
        raise CellsUnreadable(
            f"{name} is truncated: {mapped_bytes} bytes are too few for {head.capacity} cells and their names"
        )


def _refuse_living_writer(path: Path) -> None:
    try:
        block = Block.open(path)
    except CellsUnreadable:
        return
    if block.writer_is_alive() and not block.head.ended:
        raise LocalError(f"{path} is being written by process {block.head.pid}; choose another name")
