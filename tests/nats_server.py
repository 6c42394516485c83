"""A real nats-server for tests: started, killed and started again over one store, on a port of its own."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import attrs
import trio
from ports import free_port

COMMAND = shutil.which("nats-server", path=f"{Path('/usr/sbin')}:{Path('/usr/local/bin')}:/usr/bin") or (
    shutil.which("nats-server")
)
START_TIMEOUT_S = 20.0
# A test that is cut off by its timeout ends nothing: what it started must not stay.
DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


@attrs.define(eq=False)
class NatsServer:
    """One server.  `config` is more of its configuration file."""

    folder: Path
    config: str = ""
    has_jetstream: bool = True
    port: int = attrs.field(factory=free_port)
    process: subprocess.Popen | None = attrs.field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        assert COMMAND is not None
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "server.conf"
        store = f'jetstream {{ store_dir: "{self.folder / "store"}" }}\n' if self.has_jetstream else ""
        path.write_text(f'listen: "127.0.0.1:{self.port}"\n{store}{self.config}\n')
        with (self.folder / "log").open("a") as log:
            command = [*DIES_WITH_US, COMMAND, "-c", str(path)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        with trio.fail_after(START_TIMEOUT_S):
            while not await self._is_ready():
                assert self.process.poll() is None, (self.folder / "log").read_text()
                await trio.sleep(0.02)

    async def _is_ready(self) -> bool:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        except OSError:
            return False
        async with stream:
            return (await stream.receive_some()).startswith(b"INFO")

    async def kill(self) -> None:
        """End it as a crash would."""
        await self.end(signal.SIGKILL)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            await trio.to_thread.run_sync(self.process.wait)
            self.process = None

    def pause(self) -> None:
        """Let it hold its connections and do nothing.  It does when all its threads have stopped."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)
