"""What the application decides about the messages of a topic: their ids and their transform."""

import hashlib

import attrs

from leanmesh.gossip.message_id import MessageIdFunction, author_and_seqno
from leanmesh.gossip.oldest import make_room
from leanmesh.gossip.rpc import Message
from leanmesh.gossip.transform import Transform


@attrs.frozen(kw_only=True)
class TopicRules:
    """How messages of a topic are named, and what their data is.

    `transform` None: what travels is what the application sees.
    """

    message_id: MessageIdFunction = author_and_seqno
    transform: Transform | None = None
    is_validated: bool = False
    """True: each message waits for a verdict, and is neither forwarded nor advertised before it."""
    is_replay_checked: bool = False
    """True: a message whose sequence number does not exceed its author's last is ignored."""


@attrs.define
class KnownCopies:
    """Ids of messages by a hash of what travelled, so that a duplicate is not transformed again."""

    limit: int
    ids: dict[bytes, bytes] = attrs.field(factory=dict[bytes, bytes])

    def key(self, message: Message) -> bytes:
        """What two copies of one message have in common on the wire: all that an id is made of."""
        topic, source, seqno = message.topic.encode(), message.source or b"", message.seqno or b""
        digest = hashlib.sha256(b"%d:%d:%d:" % (len(topic), len(source), len(seqno)))
        for part in (topic, source, seqno, message.data):
            digest.update(part)
        return digest.digest()

    def add(self, key: bytes, message_id: bytes) -> None:
        """Remember the id of what was just transformed; the oldest makes room."""
        make_room(self.ids, self.limit)
        self.ids[key] = message_id
