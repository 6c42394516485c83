"""From a raw pipe to a secured one: negotiate security, shake hands, negotiate the muxer.

Each step that fails is named in the error, with the address and the reason.
"""

from typing import Protocol

import attrs
import trio

from leanmesh.errors import RemoteError
from leanmesh.identity.keys import PrivateKey
from leanmesh.identity.peer_id import PeerId
from leanmesh.transport.errors import ConnectError, FailureKind, Step
from leanmesh.transport.negotiation import negotiate
from leanmesh.transport.outlet import Cipher
from leanmesh.transport.pipe import Pipe
from leanmesh.wire import noise, yamux_frames
from leanmesh.wire.multistream import MultistreamDialer, MultistreamListener
from leanmesh.wire.noise import NoiseCredentials, NoiseHandshake


@attrs.define(eq=False)
class HandshakeChannel:
    """A pipe with waiting, for the few messages before a connection exists.

    `step` is what is being done, for the error that may come.
    """

    pipe: Pipe
    cipher: Cipher | None = None
    step: Step = Step.NEGOTIATE_SECURITY
    received_bytes: int = 0
    sent_bytes: int = 0
    _unread: bytes = b""

    async def receive_some(self, max_bytes: int = 4096) -> bytes:
        """At least one byte, or b"" at the end."""
        if self._unread:
            await trio.lowlevel.checkpoint()
            data, self._unread = self._unread, b""
            return data
        while True:
            await self.pipe.wait_readable()
            try:
                chunk = self.pipe.receive_nowait(max_bytes)
            except BlockingIOError:
                continue
            self.received_bytes += len(chunk)
            if self.cipher is None or not chunk:
                return chunk
            if data := self.cipher.decrypt(chunk):
                return data

    async def send_all(self, data: bytes) -> None:
        """Send everything."""
        rest = memoryview(data if self.cipher is None else self.cipher.encrypt(data))
        while rest:
            try:
                sent = self.pipe.send_nowait(rest)
                rest = rest[sent:]
                self.sent_bytes += sent
            except BlockingIOError:
                await self.pipe.wait_writable()
        await trio.lowlevel.checkpoint()

    def unread(self, data: bytes) -> None:
        """Put back what was read too far."""
        self._unread = data + self._unread

    def take_unread(self) -> bytes:
        """What was read too far, for whoever comes next."""
        data, self._unread = self._unread, b""
        return data


@attrs.frozen
class Secured:
    """A pipe whose other end has proved who it is."""

    cipher: Cipher
    remote_peer: PeerId
    # Plaintext behind the handshake that was read with it.
    early: bytes = b""


class Security(Protocol):
    """How a pipe is secured."""

    async def secure(
        self, channel: HandshakeChannel, *, is_outbound: bool, expected_peer: PeerId | None
    ) -> Secured:
        """Run the handshake; raises RemoteError or OSError, with `channel.step` at the step that failed."""
        ...


class NoiseSecurity:
    """Noise XX and yamux, as every libp2p node speaks them."""

    def __init__(self, identity: PrivateKey) -> None:
        self._credentials = NoiseCredentials.of(identity, stream_muxers=(yamux_frames.PROTOCOL,))

    async def secure(
        self, channel: HandshakeChannel, *, is_outbound: bool, expected_peer: PeerId | None
    ) -> Secured:
        """Negotiate /noise, shake hands, and negotiate yamux unless the handshake has done that."""
        await self._agree(channel, noise.PROTOCOL_ID, is_outbound=is_outbound)
        channel.step = Step.HANDSHAKE
        handshake = NoiseHandshake(self._credentials, is_initiator=is_outbound, expected_peer=expected_peer)
        await channel.send_all(handshake.start())
        while handshake.session is None:
            chunk = await channel.receive_some()
            if not chunk:
                raise RemoteError("the peer closed the connection in the middle of the handshake")
            await channel.send_all(handshake.receive(chunk))
        session = handshake.session
        channel.cipher = session
        channel.unread(session.decrypt(b""))
        channel.step = Step.NEGOTIATE_MUXER
        if session.stream_muxer is None:
            await self._agree(channel, yamux_frames.PROTOCOL, is_outbound=is_outbound)
        return Secured(session, session.remote_peer, channel.take_unread())

    async def _agree(self, channel: HandshakeChannel, protocol: str, *, is_outbound: bool) -> None:
        side = MultistreamDialer((protocol,)) if is_outbound else MultistreamListener((protocol,))
        await negotiate(channel, side)
        channel.unread(side.rest)


async def upgrade(
    channel: HandshakeChannel,
    security: Security,
    *,
    local_peer: PeerId,
    expected_peer: PeerId | None,
    is_outbound: bool,
    timeout_s: float,
) -> Secured:
    """Secure a channel's connected pipe within the timeout; it is closed when that fails.

    Raises ConnectError, which names the address, the step and the reason.
    """
    pipe = channel.pipe
    secured = None

    def failed(reason: str, kind: FailureKind = FailureKind.ERROR) -> ConnectError:
        return ConnectError(pipe.remote_address, channel.step, reason, kind)

    try:
        with trio.fail_after(timeout_s):
            secured = await security.secure(channel, is_outbound=is_outbound, expected_peer=expected_peer)
        if secured.remote_peer == local_peer:
            secured = None
            channel.step = Step.HANDSHAKE
            raise failed("the other end is this node itself", FailureKind.REFUSED)
        return secured
    except trio.TooSlowError:
        raise failed(f"the peer took longer than {timeout_s:g} s", FailureKind.TIMEOUT) from None
    except ConnectError:
        raise
    except RemoteError as error:
        raise failed(str(error)) from error
    except OSError as error:
        raise failed(f"the connection broke: {error.strerror or error}") from error
    finally:
        if secured is None:
            pipe.close(is_abrupt=True)
