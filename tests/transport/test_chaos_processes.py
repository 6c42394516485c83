"""Peers that are processes are killed and stopped in the middle of transfers: what is left of them here."""

import gc
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import trio
from leanmesh.errors import NodeError
from leanmesh.identity.keys import PrivateKey
from leanmesh.transport.assembly import tcp_switch
from leanmesh.transport.errors import CloseReason, ConnectionClosed, DialFailed
from leanmesh.transport.switch import Switch
from leanmesh.wire.multiaddr import Multiaddr
from transport.nodes import Recorder, address_of, params, until

PROGRAM = Path(__file__).with_name("chaos_process.py")
# Long enough for a peer that lives on a busy machine, short enough to wait for.
PATIENCE_S = 3.0
PARAMS = params(
    connection={
        "keepalive_interval_s": 0.5,
        "keepalive_timeout_s": PATIENCE_S,
        "write_timeout_s": PATIENCE_S,
    },
    sweep_interval_s=0.1,
    handshake_timeout_s=PATIENCE_S,
)
# By then both windows have been filled and opened again.
UNDER_WAY_BYTES = 1024 * 1024
KILLED = (
    "the peer closed it without go-away",
    "the connection broke: Connection reset by peer",
    "the connection broke: Broken pipe",
)
STOPPED = (
    f"the peer left a ping unanswered for {PATIENCE_S:g} s",
    f"the peer took no data for {PATIENCE_S:g} s",
)


@attrs.define(eq=False)
class Peer:
    """One process, what is transferred with it, and how that ended."""

    process: subprocess.Popen[str]
    address: Multiaddr
    fate: str
    is_dialer: bool
    we_send: bool
    moved_bytes: int = 0
    error: NodeError | None = None

    async def transfer(self, switch: Switch) -> None:
        """Send to it or receive from it until that fails."""
        if self.is_dialer:
            print(address_of(switch), file=self.process.stdin, flush=True)
            await until(lambda: switch.connection_to(self.address.peer))
        try:
            connection = await switch.dial(self.address)
            stream = await connection.open_stream(["/sink" if self.we_send else "/source"])
            while True:
                if self.we_send:
                    await stream.send_all(bytes(16384))
                    self.moved_bytes += 16384
                    await trio.sleep(0.002)
                else:
                    self.moved_bytes += len(await stream.receive_some())
        except NodeError as error:
            self.error = error

    def meet_its_fate(self) -> None:
        """Kill or stop it, for certain when this returns."""
        if self.fate == "killed":
            self.process.kill()
            self.process.wait()
        elif self.fate == "stopped":
            stop(self.process)


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


@contextmanager
def peers(*kinds: tuple[str, bool, bool]) -> Iterator[list[Peer]]:
    """A running process for each kind: its fate, whether it dials, whether it is sent to."""
    command = [sys.executable, str(PROGRAM)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in kinds
    ]
    try:
        yield [
            Peer(process, Multiaddr.from_text(process.stdout.readline().strip()), *kind)
            for process, kind in zip(processes, kinds, strict=True)
        ]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def held() -> tuple[int, list[str]]:
    """The tasks that live, and what each open descriptor is."""
    descriptors = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            descriptors.append(str(entry.readlink()))
        except FileNotFoundError:
            continue  # That of this very listing.
    return trio.lowlevel.current_statistics().tasks_living, sorted(descriptors)


@pytest.mark.slow
async def test_processes_killed_and_stopped_in_mid_transfer_leave_errors_that_say_so_and_nothing_else():
    fates = [
        (fate, is_dialer, we_send)
        for fate in ("killed", "stopped", "spared")
        for is_dialer in (False, True)
        for we_send in (False, True)
        if fate != "spared" or is_dialer == we_send
    ]
    recorder = Recorder()
    with peers(*fates) as processes:
        switch = tcp_switch(PrivateKey.generate(), PARAMS, random.Random(1), recorder)
        async with trio.open_nursery() as nursery:
            await nursery.start(switch.run)
            await switch.listen(Multiaddr.from_text("/ip4/127.0.0.1/tcp/0"))
            gc.collect()  # What earlier tests left to it is not ours.
            before = held()
            doomed = [peer for peer in processes if peer.fate != "spared"]
            spared = [peer for peer in processes if peer.fate == "spared"]
            async with trio.open_nursery() as transfers:
                for peer in processes:
                    transfers.start_soon(peer.transfer, switch)
                await until(lambda: all(peer.moved_bytes > UNDER_WAY_BYTES for peer in processes))
                for peer in doomed:
                    peer.meet_its_fate()
                await until(lambda: all(peer.error is not None for peer in doomed))
                # Whoever was left alone has not noticed any of this.
                moved_bytes = [peer.moved_bytes for peer in spared]
                await until(
                    lambda: all(
                        peer.moved_bytes > moved + UNDER_WAY_BYTES
                        for peer, moved in zip(spared, moved_bytes, strict=True)
                    )
                )
                assert {connection.remote_peer for connection in switch.connections} == {
                    peer.address.peer for peer in spared
                }
                for connection in switch.connections:
                    await connection.aclose("enough")
            with trio.move_on_after(5):
                await until(lambda: held() == before)
            assert held() == before
            nursery.cancel_scope.cancel()

    for peer in processes:
        error = peer.error
        assert isinstance(error, ConnectionClosed), peer.fate
        assert str(error).startswith(f"connection to {peer.address.peer} is closed ({error.reason}): ")
        if peer.fate == "killed":
            assert error.reason == CloseReason.REMOTE_CLOSE
            assert error.detail in KILLED
        elif peer.fate == "stopped":
            assert error.reason == CloseReason.TIMEOUT
            assert error.detail in STOPPED
        else:
            assert (error.reason, error.detail) == (CloseReason.LOCAL_CLOSE, "enough")
    assert sum(event.startswith("opened: ") for event in recorder.events) == len(processes)
    assert sum(event.startswith("closed: ") for event in recorder.events) == len(processes)


async def test_a_dial_to_a_process_that_is_stopped_or_dead_says_how_far_it_got_and_leaves_nothing():
    with peers(("stopped", False, True), ("killed", False, True)) as (stopped, killed):
        switch = tcp_switch(PrivateKey.generate(), PARAMS, random.Random(1), Recorder())
        async with trio.open_nursery() as nursery:
            await nursery.start(switch.run)
            gc.collect()  # What earlier tests left to it is not ours.
            before = held()
            stopped.meet_its_fate()
            killed.meet_its_fate()
            # The kernel accepts for a process that is stopped; it is the process that does not answer.
            with pytest.raises(DialFailed) as stopped_error:
                await switch.dial(stopped.address)
            with pytest.raises(DialFailed) as killed_error:
                await switch.dial(killed.address)
            assert held() == before

            stopped.process.send_signal(signal.SIGCONT)
            connection = await switch.dial(stopped.address, ignore_backoff=True)
            await connection.open_stream(["/sink"])
            nursery.cancel_scope.cancel()

    assert (
        str(stopped_error.value)
        == f"{stopped.address.without_peer()}: negotiate security failed: the peer took longer than 3 s"
    )
    assert str(killed_error.value) == f"{killed.address}: connect failed: Connection refused"
