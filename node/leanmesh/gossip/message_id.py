"""How a message gets its id: a function per topic, the application's to choose.

All peers of a topic must use the same function, or IHAVE, IWANT and IDONTWANT name nothing.
"""

import hashlib
import struct
from collections.abc import Callable

import attrs

from leanmesh.errors import LocalError
from leanmesh.gossip.rpc import Message


class NoMessageId(LocalError):
    """A message-id function cannot answer.  Our own fault, whatever the message is: nobody is charged."""


MessageIdFunction = Callable[[Message, bytes | None], bytes]
"""Computes the id of a message, out of its topic, data, author and sequence number alone.

The second argument is what the topic's transform made of the data: the data itself when there is no
transform, None when the transform refused it.

It is asked about whatever peers send.  A copy for which it raises `NoMessageId` is ignored; anything else
it raises comes out of the router.  So a shell that takes functions from its users contains what they raise,
counts it, and raises this in its place.
"""


def author_and_seqno(message: Message, content: bytes | None) -> bytes:
    """The default of libp2p: author followed by sequence number.  Fit for StrictSign alone."""
    return (message.source or b"") + (message.seqno or b"")


def sha256_of_data(message: Message, content: bytes | None) -> bytes:
    """SHA-256 of the data as it travels: the preset for StrictNoSign."""
    return hashlib.sha256(message.data).digest()


@attrs.frozen(kw_only=True)
class DomainSeparatedHash:
    """SHA-256 over domain, topic length, topic and data, cut to `size_bytes`.

    The domain tells whether the data could be transformed, so that nobody can make a message whose
    transformed form has the id of another's raw form.
    """

    valid_domain: bytes
    """Put before a message whose transform succeeded."""
    invalid_domain: bytes
    """Put before one whose transform failed; the raw data is hashed then."""
    topic_length_format: str = "<Q"
    """`struct` format of the topic's length in bytes."""
    is_over_content: bool = True
    """True to hash what the transform made, False to hash the data as it travels."""
    size_bytes: int = 20

    def __call__(self, message: Message, content: bytes | None, /) -> bytes:
        """The id of a message."""
        topic = message.topic.encode()
        domain = self.invalid_domain if content is None else self.valid_domain
        hashed = content if self.is_over_content and content is not None else message.data
        prefix = domain + struct.pack(self.topic_length_format, len(topic)) + topic
        return hashlib.sha256(prefix + hashed).digest()[: self.size_bytes]
