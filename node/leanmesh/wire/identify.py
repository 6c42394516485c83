"""Identify and identify push: what a peer says of itself.

The message travels in one or more frames that are merged; deployed Go peers
put the signed record into a second one.  What it says is hearsay until it is
checked against the connection's peer: `decode` does that for the key.
Source: libp2p identify.
"""

from collections.abc import Iterable
from typing import Self

import attrs
from google.protobuf.message import DecodeError

from leanmesh.errors import RemoteError
from leanmesh.identity.keys import InvalidKey, PublicKey
from leanmesh.identity.peer_id import PeerId
from leanmesh.wire import identify_pb2
from leanmesh.wire.frames import FrameSplitter, encode_frame
from leanmesh.wire.multiaddr import MalformedAddress, Multiaddr

PROTOCOL_ID = "/ipfs/id/1.0.0"
PUSH_PROTOCOL_ID = "/ipfs/id/push/1.0.0"

# Go and js peers read frames of up to 8 KiB; Go sends up to ten.
FRAME_LIMIT_BYTES = 8192
FRAMES_LIMIT = 10
# All frames together.  An honest message has 1 to 3 KiB.
MESSAGE_LIMIT_BYTES = 32 * 1024
# Up to here the signed record stays in the first frame: older peers read 2 KiB, and one frame.
SINGLE_FRAME_BYTES = 2048
# What is kept of a message; the rest of it is counted and forgotten.
ADDRESSES_LIMIT = 64
PROTOCOLS_LIMIT = 256
VERSION_LIMIT_CHARS = 128


class IdentifyError(RemoteError):
    """A peer whose account of itself cannot be read, or is not its own."""


@attrs.frozen(kw_only=True)
class Identify:
    """What a peer says of itself.  What it did not say is empty or None."""

    protocol_version: str = ""
    agent_version: str = ""
    public_key: PublicKey | None = None
    listen_addresses: tuple[Multiaddr, ...] = ()
    # The address that the peer sees us at.
    observed_address: Multiaddr | None = None
    protocols: tuple[str, ...] = ()
    # An envelope, not opened.
    signed_peer_record: bytes = b""
    # Addresses of forms that we do not know or beyond the limit, protocols beyond the limit.
    skipped_addresses: int = 0
    skipped_protocols: int = 0

    @classmethod
    def decode(cls, message: bytes, remote_peer: PeerId) -> Self:
        """Decode the merged message of the peer at the other end of the connection."""
        if len(message) > MESSAGE_LIMIT_BYTES:
            raise IdentifyError(f"identify message of {len(message)} bytes exceeds {MESSAGE_LIMIT_BYTES}")
        try:
            fields = identify_pb2.Identify.FromString(message)
            protocols = tuple(protocol.decode() for protocol in fields.protocols[:PROTOCOLS_LIMIT])
        except (DecodeError, UnicodeDecodeError):
            raise IdentifyError("the identify message cannot be decoded") from None
        addresses = _decode_addresses(fields.listen_addresses[:ADDRESSES_LIMIT])
        return cls(
            protocol_version=_decode_version(fields.protocol_version),
            agent_version=_decode_version(fields.agent_version),
            public_key=_decode_key(fields.public_key, remote_peer),
            listen_addresses=addresses,
            observed_address=next(iter(_decode_addresses([fields.observed_address])), None),
            protocols=protocols,
            signed_peer_record=fields.signed_peer_record,
            skipped_addresses=len(fields.listen_addresses) - len(addresses),
            skipped_protocols=len(fields.protocols) - len(protocols),
        )

    def encode(self) -> bytes:
        """The frames to send, one behind the other."""
        message = identify_pb2.Identify(
            listen_addresses=[address.to_bytes() for address in self.listen_addresses],
            protocols=[protocol.encode() for protocol in self.protocols],
        )
        if self.protocol_version:
            message.protocol_version = self.protocol_version.encode()
        if self.agent_version:
            message.agent_version = self.agent_version.encode()
        if self.public_key is not None:
            message.public_key = self.public_key.encode()
        if self.observed_address is not None:
            message.observed_address = self.observed_address.to_bytes()
        first = message.SerializeToString()
        if not self.signed_peer_record:
            return encode_frame(first)
        record = identify_pb2.Identify(signed_peer_record=self.signed_peer_record).SerializeToString()
        if len(first) + len(record) <= SINGLE_FRAME_BYTES:
            return encode_frame(first + record)
        return encode_frame(first) + encode_frame(record)

    def updated_by(self, push: Self) -> Self:
        """What is known after a push, which says only what has changed."""
        changes = {
            name: value
            for name, value in attrs.asdict(push, recurse=False).items()
            if value and not name.startswith("skipped_")
        }
        return attrs.evolve(self, **changes)


class IdentifyReader:
    """Collects the frames of one identify stream."""

    def __init__(self) -> None:
        self._splitter = FrameSplitter(limit_bytes=FRAME_LIMIT_BYTES)
        self._frames: list[bytes] = []

    def receive(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
        self._frames += self._splitter.split(chunk)
        if len(self._frames) > FRAMES_LIMIT:
            raise IdentifyError(f"identify in more than {FRAMES_LIMIT} frames")

    def finish(self, remote_peer: PeerId) -> Identify:
        """What the peer said, now that its stream has ended.

        No frame at all says as much as an empty one: nothing.  Every field of the
        message is optional, so neither breaks the protocol.
        """
        if self._splitter.is_inside_frame:
            raise IdentifyError("the identify stream ended before its message")
        # Serialized messages that stand behind each other are one merged message.
        return Identify.decode(b"".join(self._frames), remote_peer)


def _decode_addresses(encoded: Iterable[bytes]) -> tuple[Multiaddr, ...]:
    """Those that we know the form of: peers listen on transports that we have never heard of."""
    addresses: list[Multiaddr] = []
    for data in encoded:
        try:
            addresses.append(Multiaddr.from_bytes(data))
        except MalformedAddress:
            continue
    return tuple(addresses)


def _decode_version(data: bytes) -> str:
    """Free text of a peer, made fit for a log line or a label."""
    text = data[: 4 * VERSION_LIMIT_CHARS].decode(errors="replace")[:VERSION_LIMIT_CHARS]
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _decode_key(encoded: bytes, remote_peer: PeerId) -> PublicKey | None:
    if not encoded:
        return None
    try:
        key = PublicKey.decode(encoded)
    except InvalidKey as error:
        raise IdentifyError(f"the key in the identify message: {error}") from None
    if key.peer_id != remote_peer:
        raise IdentifyError(f"{remote_peer} identifies with the key of {key.peer_id}")
    return key
