"""Peer records: a peer's addresses, signed by that peer.  Source: libp2p RFC 0003, with the names in use."""

from typing import Self

import attrs
from google.protobuf.message import DecodeError

from leanmesh.identity import records_pb2
from leanmesh.identity.envelope import InvalidEnvelope, SignedEnvelope
from leanmesh.identity.keys import PrivateKey
from leanmesh.identity.peer_id import InvalidPeerId, PeerId

DOMAIN = "libp2p-peer-record"
# The multicodec libp2p-peer-record, 0x0301, as a big-endian number.
PAYLOAD_TYPE = b"\x03\x01"
# Addresses kept of one record.
ADDRESSES_LIMIT = 64


@attrs.frozen
class PeerRecord:
    """A peer's addresses (multiaddrs in binary).  Of two records the higher sequence number is the newer."""

    peer: PeerId
    sequence_number: int
    addresses: tuple[bytes, ...]

    @classmethod
    def open(cls, envelope: bytes) -> Self:
        """Check an envelope from anywhere and take the record out of it."""
        opened = SignedEnvelope.decode(envelope, DOMAIN)
        if opened.payload_type != PAYLOAD_TYPE:
            raise InvalidEnvelope(
                f"payload type {opened.payload_type[:16].hex()} where {PAYLOAD_TYPE.hex()} was due"
            )
        try:
            message = records_pb2.PeerRecord.FromString(opened.payload)
            peer = PeerId.from_bytes(message.peer_id)
        except DecodeError:
            raise InvalidEnvelope("the peer record cannot be decoded") from None
        except InvalidPeerId as error:
            raise InvalidEnvelope(f"the peer record: {error}") from None
        if peer != opened.public_key.peer_id:
            raise InvalidEnvelope(f"the record of {peer} is signed by {opened.public_key.peer_id}")
        addresses = tuple(address.multiaddr for address in message.addresses[:ADDRESSES_LIMIT])
        return cls(peer, message.sequence_number, addresses)

    def seal(self, key: PrivateKey) -> bytes:
        """The signed envelope, ready to be sent.  The key has to be that of `peer`."""
        assert key.peer_id == self.peer, "a peer record is signed by the peer it is about"
        message = records_pb2.PeerRecord(
            peer_id=self.peer,
            sequence_number=self.sequence_number,
            addresses=[records_pb2.PeerRecord.Address(multiaddr=address) for address in self.addresses],
        )
        return SignedEnvelope.seal(key, DOMAIN, PAYLOAD_TYPE, message.SerializeToString()).encode()
