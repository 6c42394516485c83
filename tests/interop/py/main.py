"""A gossipsub peer on py-libp2p: see tests/interop/README.md for its command line and its JSON lines."""

import os
import signal
import sys
from argparse import Namespace
from importlib.metadata import version
from typing import Any

import libp2p.host.basic_host
import multiaddr
import trio
from events import emit
from gossip import make_pubsub, make_router, run_gossip
from libp2p import new_host
from libp2p.abc import INotifee
from libp2p.crypto import ed25519, secp256k1
from libp2p.exceptions import BaseLibp2pError
from libp2p.host.ping import PingService, handle_ping
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.tools.anyio_service import background_trio_service
from options import parse
from transfer import STEP_TIMEOUT_S, download, serve_transfers, upload

PING = "/ipfs/ping/1.0.0"
# What a peer's doing can cause; anything else ends the program, and its trace is in the test's report.
FAILURES = (BaseLibp2pError, OSError, ValueError, trio.TooSlowError, trio.BrokenResourceError)


class ConnectionWatch(INotifee):
    """Tells of a connection once the library's own identify has told who is there.

    The library keeps no agent and has no event for this, and js answers one identify at a time only: so
    that the library's update of its peer store is where this listens.
    """

    def __init__(self, host: Any) -> None:
        self.host = host
        self.told: set[str] = set()
        self.update = libp2p.host.basic_host.update_peerstore_from_identify
        libp2p.host.basic_host.update_peerstore_from_identify = self.identified

    async def identified(self, peerstore: Any, peer_id: Any, answer: Any) -> None:
        await self.update(peerstore, peer_id, answer)
        connections = self.host.get_network().get_connections(peer_id)
        if not connections or str(peer_id) in self.told:
            return
        self.told.add(str(peer_id))
        emit(
            "connected",
            peer=str(peer_id),
            direction=connections[0].direction.name.lower(),
            agent=answer.agent_version,
            protocols=list(answer.protocols),
        )

    async def disconnected(self, network: Any, conn: Any) -> None:
        peer_id = conn.muxed_conn.peer_id
        if not [one for one in self.host.get_network().get_connections(peer_id) if one is not conn]:
            self.told.discard(str(peer_id))
            emit("disconnected", peer=str(peer_id))

    async def connected(self, network: Any, conn: Any) -> None: ...

    async def opened_stream(self, network: Any, stream: Any) -> None: ...

    async def closed_stream(self, network: Any, stream: Any) -> None: ...

    async def listen(self, network: Any, multiaddr: Any) -> None: ...

    async def listen_close(self, network: Any, multiaddr: Any) -> None: ...


async def reach(host: Any, options: Namespace, address: str) -> None:
    """Dial one peer and do with it what the options ask for."""
    step = "dial"
    try:
        info = info_from_p2p_addr(multiaddr.Multiaddr(address))
        with trio.fail_after(STEP_TIMEOUT_S):
            await host.connect(info)
        if options.ping:
            step = "ping"
            with trio.fail_after(STEP_TIMEOUT_S):
                (rtt_ms,) = await PingService(host).ping(info.peer_id)
            emit("ping", peer=str(info.peer_id), rtt_ms=rtt_ms)
        if options.upload:
            step = "upload"
            await upload(host, info.peer_id, options.upload)
        if options.download:
            step = "download"
            await download(host, info.peer_id, options.download)
    except FAILURES as error:
        emit("error", step=step, address=address, reason=repr(error))


async def obey(host: Any, options: Namespace, start: trio.Event) -> None:
    """Follow the commands on standard input until it ends, which a dead parent causes too."""
    rest = b""
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as commands, trio.open_nursery() as nursery:
        async for chunk in commands:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                match line.decode().split():
                    case ["publish"]:
                        start.set()
                    case ["dial", address]:
                        nursery.start_soon(reach, host, options, address)
                    case _:
                        emit("error", step="command", reason=f"unknown: {line.decode()}")
        nursery.cancel_scope.cancel()


async def run(options: Namespace) -> None:
    """Be a peer until standard input ends or a signal comes."""
    make_key = (
        secp256k1.create_new_key_pair if options.key_type == "secp256k1" else ed25519.create_new_key_pair
    )
    listen = [multiaddr.Multiaddr(address) for address in options.listen]
    host = new_host(
        key_pair=make_key(),
        listen_addrs=listen,
        muxer_preference="YAMUX",
        enable_quic=options.transport == "quic",
    )
    router = make_router(options)
    pubsub = make_pubsub(host, router, options)
    host.set_stream_handler(PING, handle_ping)
    if options.echo:
        serve_transfers(host)
    start = trio.Event()
    if not options.hold:
        start.set()
    async with (
        host.run(listen),
        trio.open_nursery() as nursery,
        background_trio_service(pubsub),
        background_trio_service(router),
    ):
        nursery.start_soon(end_on_signal)
        host.get_network().register_notifee(ConnectionWatch(host))
        await pubsub.wait_until_ready()
        nursery.start_soon(run_gossip, pubsub, router, options, start)
        emit(
            "listening",
            peer_id=str(host.get_id()),
            addresses=[with_peer_id(address, host) for address in host.get_addrs()],
            implementation=f"py-libp2p {version('libp2p')}, python {sys.version.split()[0]}",
        )
        for address in options.peer:
            nursery.start_soon(reach, host, options, address)
        await obey(host, options, start)
        leave()


async def end_on_signal() -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            leave()


def leave() -> None:
    """End here and now: the library's own way out may wait for peers that do not answer."""
    sys.stdout.flush()
    os._exit(0)


def with_peer_id(address: Any, host: Any) -> str:
    """The address with /p2p/ once."""
    text = str(address)
    return text if "/p2p/" in text else f"{text}/p2p/{host.get_id()}"


trio.run(run, parse())
