"""TCP with Noise and yamux between two processes: streams, messages, dials, in CPU time of each side.

Sender and receiver are processes of their own, so that the CPU of each is
known.  A run is: the listener starts, says where it listens, and answers each
stream with the CPU seconds that it took.
"""

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import attrs
import trio
from harness import Result, at_least, at_most, note
from leanmesh.identity.keys import PrivateKey
from leanmesh.transport.assembly import tcp_switch
from leanmesh.transport.interface import Connection, Stream
from leanmesh.transport.params import TransportParams
from leanmesh.transport.switch import Switch
from leanmesh.wire.frames import FrameSplitter, encode_frame
from leanmesh.wire.multiaddr import Multiaddr

HERE = Path(__file__).parent
# Behind this folder, whose modules come first: the interop peers and what builds them.
sys.path.append(str(HERE.parent))

from interop.build import LANGUAGES  # noqa: E402
from interop.peers import start_peer  # noqa: E402

SINK = "/leanmesh/bench/sink"
MESSAGES = "/leanmesh/bench/messages"
REPEATS = 5
STREAM_BYTES = {1024: 32 << 20, 65536: 256 << 20}
MESSAGE_COUNT = 64 * 4000
MESSAGES_PER_WRITE = 64
DIALS = 50
PY_STREAM_BYTES = {1024: 2 << 20, 65536: 32 << 20}
GO_STREAM_BYTES = 512 << 20


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@attrs.frozen
class Run:
    """What one transfer cost each side."""

    wall_s: float
    sender_s: float
    receiver_s: float


async def sink(stream: Stream) -> None:
    """Take everything; tell the CPU seconds that it took."""
    started_s = cpu_s()
    while await stream.receive_some():
        pass
    await stream.send_all(f"{cpu_s() - started_s}".encode())


async def count_messages(stream: Stream) -> None:
    """Split everything into messages; tell the CPU seconds that it took, and how many there were."""
    started_s = cpu_s()
    splitter = FrameSplitter(limit_bytes=1 << 20)
    count = 0
    while chunk := await stream.receive_some():
        count += len(splitter.split(chunk))
    assert count == MESSAGE_COUNT, count
    await stream.send_all(f"{cpu_s() - started_s}".encode())


def new_switch() -> Switch:
    return tcp_switch(PrivateKey.generate(), TransportParams(), random.Random(1))


async def listen() -> None:
    """The other process: serve until standard input ends."""
    switch = new_switch()
    switch.handlers.update({SINK: sink, MESSAGES: count_messages})
    async with trio.open_nursery() as nursery:
        await nursery.start(switch.run)
        await switch.listen(Multiaddr.from_text("/ip4/127.0.0.1/tcp/0"))
        print(switch.listen_addresses[0].with_peer(switch.local_peer), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            print(cpu_s() if line.strip() == "cpu" else "?", flush=True)
        nursery.cancel_scope.cancel()


async def transfer(connection: Connection, protocol: str, write: bytes | Sequence[bytes], times: int) -> Run:
    """Write the same thing many times, and hear what it cost the other side."""
    stream = await connection.open_stream([protocol])
    wall_s, own_s = time.perf_counter(), cpu_s()
    for _ in range(times):
        await stream.send_all(write)
    await stream.send_eof()
    told = await stream.receive_some()
    wall_s, own_s = time.perf_counter() - wall_s, cpu_s() - own_s
    await stream.aclose()
    return Run(wall_s, own_s, float(told))


async def dial_often(address: Multiaddr, ask_cpu: partial[float]) -> tuple[list[float], float]:
    """Seconds from dial to a negotiated stream, each time; and CPU seconds per dial, both sides together."""
    walls_s: list[float] = []
    switch = new_switch()
    async with trio.open_nursery() as nursery:
        await nursery.start(switch.run)
        theirs_s, ours_s = ask_cpu(), cpu_s()
        for _ in range(DIALS):
            started_s = time.perf_counter()
            connection = await switch.dial(address)
            await connection.open_stream([SINK])
            walls_s.append(time.perf_counter() - started_s)
            await connection.aclose()
        spent_s = ask_cpu() - theirs_s + cpu_s() - ours_s
        await switch.aclose()
    return walls_s, spent_s / DIALS


async def measure(
    address: Multiaddr, ask_cpu: partial[float]
) -> tuple[dict[str, list[Run]], list[float], float]:
    switch = new_switch()
    # As a node sends them: some messages joined to one write.
    write = [encode_frame(b"m" * 1024)] * MESSAGES_PER_WRITE
    runs: dict[str, list[Run]] = {"1024": [], "65536": [], "messages": []}
    async with trio.open_nursery() as nursery:
        await nursery.start(switch.run)
        connection = await switch.dial(address)
        for repeat in range(REPEATS + 1):
            for size, total in STREAM_BYTES.items():
                run = await transfer(connection, SINK, b"x" * size, total // size)
                runs[str(size)].append(run)
            run = await transfer(connection, MESSAGES, write, MESSAGE_COUNT // MESSAGES_PER_WRITE)
            runs["messages"].append(run)
            if repeat == 0:
                # Windows have to grow, and caches to fill.
                for kept in runs.values():
                    kept.clear()
        await switch.aclose()
    walls_s, per_dial_s = await dial_often(address, ask_cpu)
    return runs, walls_s, per_dial_s


def run() -> Iterator[Result]:
    """Measure against a listener in a process of its own."""
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as listener:
        assert listener.stdin is not None
        assert listener.stdout is not None
        address = Multiaddr.from_text(listener.stdout.readline().strip())
        runs, walls_s, per_dial_s = trio.run(measure, address, partial(_ask_cpu, listener))
        listener.stdin.close()
    for size, aim in (("65536", 300.0), ("1024", None)):
        megabytes = STREAM_BYTES[int(size)] / 1e6
        both = statistics.median(megabytes / (one.sender_s + one.receiver_s) for one in runs[size])
        name = f"stream_{int(size) // 1024}_kib_writes"
        yield Result(name, both, "MB per CPU-second", aim, against="sender and receiver together")
        if LANGUAGES["py"].is_built:
            theirs = py_libp2p(int(size))
            yield note(f"{name}.py_libp2p", theirs, "MB per CPU-second", "its sender and receiver together")
            times = 10.0 if size == "1024" else None
            yield Result(
                f"{name}.times", both / theirs, "x", times, against="py-libp2p, same machine and run"
            )
        yield note(f"{name}.wall", statistics.median(megabytes / one.wall_s for one in runs[size]), "MB/s")
        for side in ("sender", "receiver"):
            figure = statistics.median(megabytes / getattr(one, f"{side}_s") for one in runs[size])
            yield note(f"{name}.{side}", figure, "MB per CPU-second")
    if LANGUAGES["go"].is_built:
        ceiling = trio.run(go_libp2p)
        yield note(
            "stream_64_kib_writes.go", ceiling, "MB per CPU-second", "go-libp2p, with SHA-256 on both sides"
        )
    received = statistics.median(MESSAGE_COUNT / one.receiver_s for one in runs["messages"])
    yield at_least(
        "messages_1_kib", received, "messages per CPU-second", 250_000, "of the receiver, coalesced"
    )
    # Wall time suffers from neighbours: with more running tasks than cores it says little.
    yield note("load", os.getloadavg()[0], "running tasks", f"on {os.cpu_count()} cores")
    yield note(
        "dial.wall_best", min(walls_s) * 1e3, "ms", "the quickest: what neighbours add is the difference"
    )
    yield at_most("dial.wall", statistics.median(walls_s) * 1e3, "ms", 10.0, "dial to a negotiated stream")
    yield at_most("dial.cpu", per_dial_s * 1e3, "ms", 5.0, "both sides together")


def py_libp2p(write_bytes: int) -> float:
    """Megabytes per CPU-second of both sides between two processes of py-libp2p."""
    program = [LANGUAGES["py"].command[0], str(HERE / "others/py_libp2p_stream.py")]
    total = PY_STREAM_BYTES[write_bytes]
    with subprocess.Popen(
        [*program, "listen"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as listener:
        assert listener.stdin is not None
        assert listener.stdout is not None
        address = listener.stdout.readline().strip()
        command = [*program, "send", address, str(write_bytes), str(total)]
        sent = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        listener.stdin.close()
    runs = [Run(*json.loads(line)) for line in sent.stdout.splitlines()]
    return statistics.median(total / 1e6 / (one.sender_s + one.receiver_s) for one in runs)


async def go_libp2p() -> float:
    """Megabytes per CPU-second of both sides between two processes of go-libp2p, start-up included."""
    async with trio.open_nursery() as nursery:
        listener = await start_peer(nursery, "go", "--echo")
        sender = await start_peer(nursery, "go", "--peer", listener.address, "--upload", GO_STREAM_BYTES)
        await sender.expect("transfer", direction="upload", timeout_s=120.0)
        spent_s = sum(process_cpu_s(peer.pid) for peer in (listener, sender))
        nursery.cancel_scope.cancel()
    return GO_STREAM_BYTES / 1e6 / spent_s


def process_cpu_s(pid: int) -> float:
    """User and system time of a process; fields 14 and 15 behind its name in parentheses."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ask_cpu(listener: "subprocess.Popen[str]") -> float:
    assert listener.stdin is not None
    assert listener.stdout is not None
    print("cpu", file=listener.stdin, flush=True)
    return float(listener.stdout.readline())


if __name__ == "__main__":
    trio.run(listen)
