"""Signature policies: what a message must carry, what it must not, and how own messages get it.

Whatever a peer sends, the answer is a word and never an exception: a malformed key is an invalid message.
"""

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Final, Protocol

import attrs

from leanmesh.gossip import entries, rpc_pb2
from leanmesh.gossip.rpc import Message
from leanmesh.identity.keys import InvalidKey, PublicKey
from leanmesh.identity.peer_id import InvalidPeerId, PeerId

SIGNATURE_DOMAIN: Final = b"libp2p-pubsub:"
SEQNO_BYTES: Final = 8

# Signed networks have few authors; the entry of one costs about 1 KiB, with the longest key 3 KiB.
_KEY_CACHE_SIZE = 1024


class SignaturePolicy(StrEnum):
    """What a network demands of every message.  The lax policies of old are not supported."""

    STRICT_SIGN = "strict_sign"
    """Author, sequence number and a right signature."""
    STRICT_NO_SIGN = "strict_no_sign"
    """None of author, sequence number, signature and key."""


class Invalid(StrEnum):
    """Why a message is invalid before anyone looks at its content."""

    NOT_PLAIN = "not_plain"
    """A field is there that StrictNoSign forbids."""
    NO_AUTHOR = "no_author"
    AUTHOR_MALFORMED = "author_malformed"
    SEQNO_MALFORMED = "seqno_malformed"
    NO_SIGNATURE = "no_signature"
    NO_KEY = "no_key"
    """The author's id is a hash and the message does not carry the key."""
    KEY_MALFORMED = "key_malformed"
    KEY_OF_ANOTHER = "key_of_another"
    SIGNATURE_WRONG = "signature_wrong"


Verifier = Callable[[PublicKey, bytes, bytes], bool]
"""Decides whether a signature (second) over some bytes (third) is right.  Raises for none of them."""


def verify(key: PublicKey, signature: bytes, signed: bytes) -> bool:
    """The verifier that computes it, here and now."""
    return key.is_signed(signature, signed)


@attrs.define
class Claim:
    """What a well-formed signed message claims: that this key made this signature over these bytes."""

    key: PublicKey
    signature: bytes
    signed: bytes


def check(message: Message, policy: SignaturePolicy, verifier: Verifier = verify) -> Invalid | None:
    """Judge a message by the policy; None when it is accepted."""
    if policy is SignaturePolicy.STRICT_NO_SIGN:
        return None if message.is_plain else Invalid.NOT_PLAIN
    claim = claim_of(message)
    if isinstance(claim, Invalid):
        return claim
    return None if verifier(claim.key, claim.signature, claim.signed) else Invalid.SIGNATURE_WRONG


def claim_of(message: Message) -> Claim | Invalid:
    """All of StrictSign but the computation itself, which may be done elsewhere."""
    if not message.source:
        return Invalid.NO_AUTHOR
    if message.seqno is None or len(message.seqno) != SEQNO_BYTES:
        return Invalid.SEQNO_MALFORMED
    if not message.signature:
        return Invalid.NO_SIGNATURE
    key = _key_of(message.source, message.key)
    if isinstance(key, Invalid):
        return key
    return Claim(key, message.signature, _signed_bytes(message))


class SigningKey(Protocol):
    """What of a private key signing needs."""

    @property
    def peer_id(self) -> PeerId:
        """Who signs."""
        ...

    @property
    def public_key(self) -> PublicKey:
        """What the signatures are checked with."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature over some bytes."""
        ...


class Signer:
    """Makes own messages under StrictSign."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self._source = bytes(key.peer_id)
        # An id that is a hash tells nobody the key.
        is_inlined = key.peer_id.inlined_public_key is not None
        self._public_key = None if is_inlined else key.public_key.encode()

    def message(self, topic: str, data: bytes, seqno: int) -> Message:
        """A signed message; `seqno` grows with each one of this author and never comes again."""
        topic_field = topic.encode()
        seqno_field = seqno.to_bytes(SEQNO_BYTES, "big")
        signed = entries.message_body(topic_field, data, self._source, seqno_field)
        signature = self._key.sign(SIGNATURE_DOMAIN + signed)
        field = entries.message(topic_field, data, self._source, seqno_field, signature, self._public_key)
        return Message(topic, data, self._source, seqno_field, signature, self._public_key, field)


def plain_message(topic: str, data: bytes) -> Message:
    """An own message under StrictNoSign."""
    return Message(topic, data, None, None, None, None, entries.plain_message(topic.encode(), data))


def _signed_bytes(message: Message) -> bytes:
    data = message.data
    # Absent data and empty data are signed differently; only the field still knows.
    has_data = bool(data) or rpc_pb2.RPC.FromString(message.field).publish[0].HasField("data")
    body = entries.message_body(
        message.topic.encode(), data if has_data else None, message.source, message.seqno
    )
    return SIGNATURE_DOMAIN + body


def _key_of(source: bytes, carried_key: bytes | None) -> PublicKey | Invalid:
    """The author's key, bound to the author: inlined in the id, or hashed by it."""
    try:
        author = PeerId.from_bytes(source)
    except InvalidPeerId:
        return Invalid.AUTHOR_MALFORMED
    encoded = carried_key or author.inlined_public_key
    if encoded is None:
        return Invalid.NO_KEY
    try:
        key = _decoded(encoded)
    except InvalidKey:
        return Invalid.KEY_MALFORMED
    # A key that was decoded is encoded as it came, so that its id can be made of that.
    return key if not carried_key or PeerId.from_public_key(encoded) == author else Invalid.KEY_OF_ANOTHER


@lru_cache(maxsize=_KEY_CACHE_SIZE)
def _decoded(encoded: bytes) -> PublicKey:
    """The key.  What raises is not kept: only keys are, and no key exceeds ENCODED_LIMIT_BYTES."""
    return PublicKey.decode(encoded)
