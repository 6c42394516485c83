"""Pipes in memory: latency, bandwidth and back-pressure in virtual time, and every way to break.

All times come from Trio's clock and nothing is left to chance.
"""

import math
from collections import deque

import attrs
import trio

from leanmesh.transport.interface import Buffer
from leanmesh.transport.wakeup import Wakeup
from leanmesh.wire.multiaddr import Multiaddr

# What is under way in one direction, as a socket's buffers hold it.
CAPACITY_BYTES = 256 * 1024


@attrs.frozen(kw_only=True)
class Link:
    """How bytes travel from one host to another."""

    latency_s: float = 0.0
    bandwidth_bytes_per_s: float = math.inf
    capacity_bytes: int = CAPACITY_BYTES


@attrs.define(eq=False)
class Direction:
    """Bytes under way one way: each part with the time at which it arrives."""

    link: Link
    parts: deque[tuple[float, bytes]] = attrs.field(factory=deque[tuple[float, bytes]])
    waiting_bytes: int = 0
    # When the link has transmitted all that was put on it.
    free_at_s: float = 0.0
    ends_at_s: float = math.inf
    is_reset: bool = False
    # A silent cut: what is sent vanishes, and nobody is told.
    is_cut: bool = False
    # A partition: what is sent waits for it to heal, as TCP sends it again until it arrives.
    is_frozen: bool = False
    readable: Wakeup = attrs.field(factory=Wakeup)
    writable: Wakeup = attrs.field(factory=Wakeup)

    def room_bytes(self) -> int:
        """How much more it takes."""
        return self.link.capacity_bytes - self.waiting_bytes

    def put(self, data: Buffer) -> int:
        """Put on the link what it takes, and say how much that was."""
        part = bytes(memoryview(data)[: self.room_bytes()])
        now_s = trio.current_time()
        self.waiting_bytes += len(part)
        if not self.is_cut:
            self.free_at_s = max(self.free_at_s, now_s) + len(part) / self.link.bandwidth_bytes_per_s
            self.parts.append((self.free_at_s + self.link.latency_s, part))
            self.readable.wake()
        return len(part)

    def take(self, max_bytes: int) -> bytes:
        """Take what has arrived; nothing when nothing has."""
        if self.is_frozen:
            return b""
        now_s = trio.current_time()
        taken: list[bytes] = []
        size = 0
        while self.parts and self.parts[0][0] <= now_s and size < max_bytes:
            arrived_at_s, part = self.parts.popleft()
            if size + len(part) > max_bytes:
                self.parts.appendleft((arrived_at_s, part[max_bytes - size :]))
                part = part[: max_bytes - size]
            taken.append(part)
            size += len(part)
        if size:
            self.waiting_bytes -= size
            self.writable.wake()
        return b"".join(taken)

    def next_arrival_s(self) -> float:
        """When the next part, or else the end, arrives."""
        if self.is_frozen:
            return math.inf
        return self.parts[0][0] if self.parts else self.ends_at_s

    def has_ended(self) -> bool:
        """Whether the reader has seen everything, and that nothing more comes."""
        return not self.parts and not self.is_frozen and self.ends_at_s <= trio.current_time()

    def freeze(self, is_frozen: bool) -> None:
        """Hold back what is under way, or let it go on."""
        self.is_frozen = is_frozen
        self.readable.wake()

    def end(self) -> None:
        """Nothing more will be sent; the reader learns it after all that is under way."""
        if not self.is_cut:
            self.ends_at_s = max(self.free_at_s, trio.current_time()) + self.link.latency_s
            self.readable.wake()

    def reset(self) -> None:
        """Break it: both ends learn it at once."""
        self.is_reset = True
        self.parts.clear()
        self.readable.wake()
        self.writable.wake()

    def cut(self) -> None:
        """Break it silently: neither end learns it."""
        self.is_cut = True
        self.parts.clear()
        self.ends_at_s = math.inf


class MemoryPipe:
    """One end of a connection between two hosts.  Behaves as a non-blocking socket does."""

    def __init__(
        self, local_address: Multiaddr, remote_address: Multiaddr, outward: Direction, inward: Direction
    ) -> None:
        self.local_address = local_address
        self.remote_address = remote_address
        self._outward = outward
        self._inward = inward
        self.is_closed = False

    def receive_nowait(self, max_bytes: int) -> bytes:
        """What has arrived; b"" at the end."""
        if self._inward.is_reset:
            raise ConnectionResetError("the connection was reset")
        data = self._inward.take(max_bytes)
        if not data and not self._inward.has_ended():
            raise BlockingIOError
        return data

    def send_nowait(self, data: Buffer) -> int:
        """Put bytes on the link, as many as it takes."""
        if self._outward.is_reset:
            raise BrokenPipeError("the connection was reset")
        taken = self._outward.put(data)
        if not taken:
            raise BlockingIOError
        return taken

    async def wait_readable(self) -> None:
        """Wait until something has arrived."""
        await trio.lowlevel.checkpoint()
        inward = self._inward
        while not self.is_closed and not inward.is_reset:
            wait_s = inward.next_arrival_s() - trio.current_time()
            if wait_s <= 0:
                return
            # An earlier arrival cannot come, but a reset or a cut can.
            with trio.move_on_after(wait_s):
                await inward.readable.wait()
        self._check_open()

    async def wait_writable(self) -> None:
        """Wait until the link takes something."""
        await trio.lowlevel.checkpoint()
        while not self.is_closed and not self._outward.is_reset and self._outward.room_bytes() <= 0:
            await self._outward.writable.wait()
        self._check_open()

    def close(self, *, is_abrupt: bool = False) -> None:
        """Close both directions."""
        if self.is_closed:
            return
        self.is_closed = True
        if is_abrupt and not self._outward.is_cut:
            self._outward.reset()
        else:
            self._outward.end()
        # Who still sends to a closed end learns that by a reset.
        if not self._inward.is_cut:
            self._inward.is_reset = True
            self._inward.writable.wake()
        self._inward.readable.wake()
        self._outward.writable.wake()

    def _check_open(self) -> None:
        if self.is_closed:
            raise trio.ClosedResourceError("this end was closed")
