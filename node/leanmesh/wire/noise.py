"""The Noise XX handshake of libp2p: three messages, after which both sides know whom they talk to.

    -> e
    <- e, ee, s, es    with the listener's identity
    -> s, se           with the dialer's identity

Bytes in, bytes out: send what `start` and `receive` give, feed what arrives
to `receive`, until `session` is there.  Source: libp2p noise, revision 4.
"""

from typing import Self

import attrs
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from google.protobuf.message import DecodeError

from leanmesh.identity.keys import InvalidKey, PrivateKey, PublicKey
from leanmesh.identity.peer_id import PeerId
from leanmesh.wire import noise_pb2
from leanmesh.wire.noise_session import NoiseError, NoiseSession
from leanmesh.wire.noise_state import HandshakeState

PROTOCOL_ID = "/noise"
# The longest honest message holds an RSA key of 8192 bits and its signature, 2.3 KiB.
HANDSHAKE_LIMIT_BYTES = 8192
# Muxers a peer may name; three are known in all.
STREAM_MUXERS_LIMIT = 16

_SIGNATURE_PREFIX = b"noise-libp2p-static-key:"


@attrs.define
class WrongPeer(NoiseError):
    """Another peer answered than the one that was dialed."""

    expected: PeerId
    actual: PeerId

    def __str__(self) -> str:
        return f"{self.actual} answered where {self.expected} was dialed"


@attrs.frozen
class NoiseCredentials:
    """What a node proves itself with in every handshake: made once, used for all connections."""

    stream_muxers: tuple[str, ...]
    static_key: X25519PrivateKey = attrs.field(eq=False, repr=False)
    payload: bytes

    @classmethod
    def of(
        cls,
        identity: PrivateKey,
        *,
        stream_muxers: tuple[str, ...] = (),
        static_key: X25519PrivateKey | None = None,
    ) -> Self:
        """Sign a static key with the node's identity.

        With `stream_muxers`, most preferred first, the muxer is agreed on
        inside the handshake where the peer can do that too, which saves a
        round trip.  Tests may bring a `static_key`; nodes get a new one.
        """
        static_key = static_key or X25519PrivateKey.generate()
        message = noise_pb2.NoisePayload(
            identity_key=identity.public_key.encode(),
            identity_signature=identity.sign(_SIGNATURE_PREFIX + static_key.public_key().public_bytes_raw()),
        )
        if stream_muxers:
            message.extensions.stream_muxers.extend(muxer.encode() for muxer in stream_muxers)
        return cls(stream_muxers, static_key, message.SerializeToString())


class NoiseHandshake:
    """One side of one handshake.

    A dialer that expects a certain peer learns who answered before it says
    who it is.  After an error the handshake is over.
    """

    def __init__(
        self,
        credentials: NoiseCredentials,
        *,
        is_initiator: bool,
        expected_peer: PeerId | None = None,
        ephemeral_key: X25519PrivateKey | None = None,
    ) -> None:
        self.session: NoiseSession | None = None
        self._credentials = credentials
        self._is_initiator = is_initiator
        self._expected_peer = expected_peer
        self._pending = bytearray()
        self._state = HandshakeState(
            is_initiator=is_initiator,
            static_key=credentials.static_key,
            ephemeral_key=ephemeral_key or X25519PrivateKey.generate(),
        )

    def start(self) -> bytes:
        """What to send first: the initiator's first message, nothing for the responder."""
        return _frame(self._state.write(b"")) if self._is_initiator else b""

    def receive(self, chunk: bytes) -> bytes:
        """Take the next bytes of the connection; gives what is to be sent now.

        When `session` has appeared the handshake is over, and bytes behind
        its last message wait in the session: ask `session.decrypt(b"")`.
        """
        assert self.session is None, "the handshake is over: bytes belong to the session"
        self._pending += chunk
        out = b""
        while self.session is None:
            number = self._state.messages + 1
            try:
                message = self._next_message()
                if message is None:
                    break
                out += self._read(message)
            except WrongPeer:
                raise
            except NoiseError as error:
                raise NoiseError(f"noise message {number}: {error}") from None
        return out

    def _next_message(self) -> bytes | None:
        """Cut the next complete message off the pending bytes."""
        pending = self._pending
        if len(pending) < 2:
            return None
        size = pending[0] << 8 | pending[1]
        if size > HANDSHAKE_LIMIT_BYTES:
            raise NoiseError(f"{size} bytes exceed the {HANDSHAKE_LIMIT_BYTES} of a handshake message")
        if len(pending) < 2 + size:
            return None
        message = bytes(pending[2 : 2 + size])
        del pending[: 2 + size]
        return message

    def _read(self, message: bytes) -> bytes:
        """Take one message of the peer; gives ours that follows it."""
        state = self._state
        payload = state.read(message)
        if state.messages == 1:
            # The first message is not encrypted: nothing in it is secret, proven or of use.
            return _frame(state.write(self._credentials.payload))
        remote = _read_payload(payload, state.remote_static)
        if self._expected_peer is not None and remote.key.peer_id != self._expected_peer:
            raise WrongPeer(self._expected_peer, remote.key.peer_id)
        own_muxers = self._credentials.stream_muxers
        if not self._is_initiator:
            self._open_session(remote.key, _choose_muxer(remote.stream_muxers, own_muxers))
            return b""
        muxer = _choose_muxer(own_muxers, remote.stream_muxers)
        out = _frame(state.write(self._credentials.payload))
        self._open_session(remote.key, muxer)
        return out

    def _open_session(self, remote_key: PublicKey, stream_muxer: str | None) -> None:
        forth, back = self._state.symmetric.split()
        self.session = NoiseSession(
            remote_key=remote_key,
            remote_peer=remote_key.peer_id,
            stream_muxer=stream_muxer,
            handshake_hash=self._state.symmetric.transcript_hash,
            sending=forth if self._is_initiator else back,
            receiving=back if self._is_initiator else forth,
            early=bytes(self._pending),
        )


@attrs.frozen
class _Remote:
    """What the peer's payload says, once it is proven."""

    key: PublicKey
    stream_muxers: tuple[str, ...]


def _read_payload(payload: bytes, static: bytes) -> _Remote:
    """Decode a payload and check that the identity in it signed the static key of this handshake."""
    try:
        message = noise_pb2.NoisePayload.FromString(payload)
        key = PublicKey.decode(message.identity_key)
        muxers = message.extensions.stream_muxers
        if len(muxers) > STREAM_MUXERS_LIMIT:
            raise NoiseError(f"{len(muxers)} stream muxers exceed {STREAM_MUXERS_LIMIT}")
        stream_muxers = tuple(muxer.decode() for muxer in muxers)
    except (DecodeError, UnicodeDecodeError):
        raise NoiseError("its payload is no handshake payload") from None
    except InvalidKey as error:
        raise NoiseError(f"its identity: {error}") from None
    if not key.is_signed(message.identity_signature, _SIGNATURE_PREFIX + static):
        raise NoiseError(f"its signature is not that of {key.peer_id}")
    return _Remote(key, stream_muxers)


def _choose_muxer(offered: tuple[str, ...], supported: tuple[str, ...]) -> str | None:
    """The initiator's first muxer that both have; None when one of them leaves it to multistream."""
    if not offered or not supported:
        return None
    for muxer in offered:
        if muxer in supported:
            return muxer
    raise NoiseError(f"no stream muxer in common: offered {offered}, supported {supported}")


def _frame(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message
