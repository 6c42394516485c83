"""One worker as a process: how it is started, waited for and ended, and what it inherits."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Sequence

import attrs
import trio

from leanmesh.errors import LocalError
from leanmesh.metrics.cells import make_memfd
from leanmesh.metrics.sampling import shared_environment
from leanmesh.service.process_figures import read_figures
from leanmesh.service.worker_messages import Channel

# linux/prctl.h
PR_SET_PDEATHSIG = 1
# A killed process is gone at once, unless a device holds it.
DEATH_TIMEOUT_S = 5.0


@attrs.define(eq=False)
class WorkerProcess:
    """A child process, its control channel and its memory for cells.  `aclose` leaves nothing of it."""

    channel: Channel
    cells_descriptor: int
    _popen: subprocess.Popen[bytes]
    _pid_descriptor: int
    _cpu_s: float = attrs.field(default=0.0, init=False)

    @classmethod
    def start(cls, command: Sequence[str]) -> "WorkerProcess":
        """Start a worker: `command` and where to find what it inherits.  LocalError when that cannot be.

        Called in the main thread, and not by way of a thread as Trio does it: the
        worker is killed when the thread that started it ends.
        """
        with contextlib.ExitStack() as undo:
            try:
                cells_descriptor = make_memfd()
                undo.callback(os.close, cells_descriptor)
                ours, theirs = socket.socketpair()
                undo.callback(ours.close)
                with theirs:
                    popen = _spawn(command, (theirs.fileno(), cells_descriptor))
                undo.callback(_kill, popen)
                pid_descriptor = os.pidfd_open(popen.pid)
            except OSError as error:
                raise LocalError(f"a worker cannot be started with {command[0]}: {error.strerror}") from error
            undo.pop_all()
        channel = Channel(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
        return cls(channel, cells_descriptor, popen, pid_descriptor)

    @property
    def pid(self) -> int:
        """Its process id: nobody else's before `aclose`."""
        return self._popen.pid

    @property
    def has_ended(self) -> bool:
        """Whether its end is certain."""
        return self._poll() is not None

    @property
    def cpu_s(self) -> float:
        """CPU time that it has used, user and system; all of it once `wait` has returned."""
        self._look()
        return self._cpu_s

    async def wait(self) -> int:
        """Wait for its end; the exit code, or minus the number of the signal that ended it."""
        while (code := self._poll()) is None:
            await trio.lowlevel.wait_readable(self._pid_descriptor)
        return code

    def terminate(self) -> None:
        """Ask it to stop cleanly.  Nothing happens when it has ended."""
        if not self.has_ended:
            self._popen.terminate()

    def kill(self) -> None:
        """End it at once."""
        if not self.has_ended:
            self._popen.kill()

    def _poll(self) -> int | None:
        """Its exit code, if it has ended; then the kernel forgets it, so it is looked at a last time."""
        self._look()
        return self._popen.poll()

    def _look(self) -> None:
        if self._popen.returncode is None and (figures := read_figures(self.pid)) is not None:
            self._cpu_s = max(self._cpu_s, figures.cpu_s)

    async def aclose(self) -> None:
        """Make sure that it has ended, and give back what belonged to it."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + DEATH_TIMEOUT_S):
            if not self.has_ended:
                self.kill()
                await self.wait()
            await trio.aclose_forcefully(self.channel.stream)
        os.close(self._pid_descriptor)
        os.close(self.cells_descriptor)


def _spawn(command: Sequence[str], inherited: Sequence[int]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*command, *map(str, inherited), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        pass_fds=inherited,
        # All workers look at the same messages where only a sample is looked at.
        env={**os.environ, **shared_environment()},
        # Ctrl-C and the end of a terminal are the supervisor's to answer.
        start_new_session=True,
    )


def _kill(popen: "subprocess.Popen[bytes]") -> None:
    popen.kill()
    popen.wait()


def end_text(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its supervisor ends, however stuck it may be then.

    LocalError when that has happened already.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # It may have ended before the call; then we have another parent by now.
    if os.getppid() != parent_pid:
        raise LocalError(f"the supervisor, process {parent_pid}, has ended")


def inherited_channel(descriptor: int) -> Channel:
    """The worker's end of its control channel.  LocalError when the descriptor is no socket."""
    try:
        stdlib_socket = socket.socket(fileno=descriptor)
    except OSError as error:
        raise LocalError(f"descriptor {descriptor} is no control channel: {error.strerror}") from error
    stdlib_socket.set_inheritable(False)
    return Channel(trio.SocketStream(trio.socket.from_stdlib_socket(stdlib_socket)))
