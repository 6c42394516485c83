"""The sending half of a connection: what waits, what is encrypted, and whether the network takes it."""

from collections.abc import Callable
from typing import Protocol

import attrs
import trio

from leanmesh.transport.interface import Buffer
from leanmesh.transport.pipe import Pipe

# Encrypted ahead of the network: four full Noise frames, about what one send takes.
SEAL_BYTES = 4 * 65519


class Cipher(Protocol):
    """What protects the bytes of a connection."""

    def encrypt(self, data: Buffer) -> bytes:
        """Protect bytes, framed and ready to be sent."""
        ...

    def decrypt(self, chunk: bytes) -> bytes:
        """The content of every frame that this chunk completes."""
        ...


@attrs.define(eq=False)
class Outlet:
    """Takes bytes from `queued`, encrypts them into full frames, and sends them without waiting.

    `flush` is synchronous: nothing can cancel it halfway, and whoever has
    something to send calls it.  Only while the pipe is full does a task wait
    for it, `write_blocked`, started through `on_blocked`.
    """

    pipe: Pipe
    cipher: Cipher
    # Filled by the yamux session; emptied here.
    queued: bytearray
    on_sent: Callable[[int], None]
    on_blocked: Callable[[], None]
    on_broken: Callable[[OSError], None]
    # While the reader works through its chunks, what they cause is collected for one write.
    is_held: bool = False
    is_blocked: bool = False
    is_closed: bool = False
    # When the network last took something, or stopped taking.
    sent_at_s: float = 0.0
    _sealed: memoryview = attrs.field(init=False, default=memoryview(b""))
    _has_writer: bool = attrs.field(init=False, default=False)
    _drained: trio.Event | None = attrs.field(init=False, default=None)

    @property
    def waiting_bytes(self) -> int:
        """Queued or encrypted, and not yet taken by the network."""
        return len(self.queued) + len(self._sealed)

    def flush(self) -> None:
        """Offer the network all that waits."""
        if self.is_held or self.is_blocked or self.is_closed or not (self.queued or self._sealed):
            return
        sent = 0
        broken = None
        try:
            while self._sealed or self._seal():
                taken = self.pipe.send_nowait(self._sealed)
                sent += taken
                self._sealed = self._sealed[taken:]
        except BlockingIOError:
            self.is_blocked = True
        except OSError as error:
            broken = error
        if sent:
            self.on_sent(sent)
        if broken is not None:
            self.on_broken(broken)
            return
        if sent or self.is_blocked:
            self.sent_at_s = trio.current_time()
        if self.is_blocked:
            if not self._has_writer:
                self.on_blocked()
        elif self._drained is not None:
            self._drained.set()

    async def write_blocked(self) -> None:
        """Go on when the pipe has room again, until nothing waits."""
        self._has_writer = True
        try:
            while self.is_blocked:
                await self.pipe.wait_writable()
                self.is_blocked = False
                self.flush()
        except trio.ClosedResourceError:
            pass
        finally:
            self._has_writer = False

    async def drain(self) -> None:
        """Wait until the network has taken all that waits now."""
        self.flush()
        if self.waiting_bytes and not self.is_closed:
            self._drained = trio.Event()
            await self._drained.wait()
            self._drained = None

    def close(self) -> None:
        """Forget what waits, and let go whoever waits for it."""
        self.is_closed = True
        self.queued.clear()
        self._sealed = memoryview(b"")
        if self._drained is not None:
            self._drained.set()

    def _seal(self) -> bool:
        """Encrypt the next bytes; False when there are none."""
        queued = self.queued
        if not queued:
            return False
        if len(queued) <= SEAL_BYTES:
            self._sealed = memoryview(self.cipher.encrypt(queued))
            queued.clear()
        else:
            with memoryview(queued) as view, view[:SEAL_BYTES] as head:
                self._sealed = memoryview(self.cipher.encrypt(head))
            del queued[:SEAL_BYTES]
        return True
