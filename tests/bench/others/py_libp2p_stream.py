"""The transport benchmark's two processes on py-libp2p; runs on the interpreter of the interop peer.

listen                            prints an address; answers each stream with the CPU seconds it took
send ADDRESS WRITE_BYTES TOTAL    one transfer to warm up, then REPEATS; prints JSON, one list of figures each
"""

import json
import resource
import sys
import time
from typing import Any

import multiaddr
import trio
from libp2p import new_host
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.peerinfo import info_from_p2p_addr

SINK = TProtocol("/leanmesh/bench/sink")
REPEATS = 3
READ_BYTES = 65536


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def sink(stream: Any) -> None:
    started_s = cpu_s()
    while await read_some(stream):
        pass
    await stream.write(f"{cpu_s() - started_s}".encode())
    await stream.close_write()


async def read_some(stream: Any) -> bytes:
    try:
        return await stream.read(READ_BYTES)
    except StreamEOF:
        return b""


async def listen() -> None:
    address = multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")
    host = new_host(listen_addrs=[address], muxer_preference="YAMUX")
    host.set_stream_handler(SINK, sink)
    async with host.run([address]):
        print(host.get_addrs()[0], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


async def send(address: str, write_bytes: int, total_bytes: int) -> None:
    host = new_host(listen_addrs=[multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")], muxer_preference="YAMUX")
    async with host.run([]):
        info = info_from_p2p_addr(multiaddr.Multiaddr(address))
        await host.connect(info)
        for repeat in range(REPEATS + 1):
            stream = await host.new_stream(info.peer_id, [SINK])
            write = b"x" * write_bytes
            wall_s, own_s = time.perf_counter(), cpu_s()
            for _ in range(total_bytes // write_bytes):
                await stream.write(write)
            await stream.close_write()
            told = await read_some(stream)
            figures = [time.perf_counter() - wall_s, cpu_s() - own_s, float(told)]
            await stream.close()
            if repeat:
                print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "listen":
        trio.run(listen)
    else:
        trio.run(send, sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
