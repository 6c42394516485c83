"""What two gossip peers say to each other, as values.

No bytes are read or written here (`wire` does that) and nothing is decided.  The values are `define`, not
`frozen`: they are made per message.  Nobody changes one after it was made.
"""

import attrs


@attrs.define
class Message:
    """One published message, and the bytes it travels in.

    The four optional fields keep what was on the wire: None is absent, b"" is present and empty.  The
    difference counts: StrictNoSign demands absence.
    """

    topic: str
    data: bytes
    source: bytes | None
    """The author's peer id (field `from`), not the peer it came through."""
    seqno: bytes | None
    signature: bytes | None
    key: bytes | None
    field: bytes
    """The whole publish entry of an RPC (tag, length, body), ready to be appended to any RPC."""

    @property
    def is_plain(self) -> bool:
        """True when author, sequence number, signature and key are all absent."""
        return self.source is None and self.seqno is None and self.signature is None and self.key is None


@attrs.define
class Subscription:
    """Our peer takes a topic, or no longer does."""

    subscribe: bool
    topic: str


@attrs.define
class IHave:
    """Messages of one topic that the peer could send."""

    topic: str
    message_ids: list[bytes]


@attrs.define
class PeerInfo:
    """A peer that a PRUNE recommends instead; nothing in it has been checked."""

    peer_id: bytes
    signed_peer_record: bytes | None = None


@attrs.define
class Prune:
    """The peer leaves our mesh for a topic."""

    topic: str
    backoff_s: int | None = None
    """As it was on the wire, up to 2**64 - 1; whoever uses it clamps it first.  None: not said."""
    peers: list[PeerInfo] = attrs.Factory(list[PeerInfo])


@attrs.define
class Control:
    """The control part of an RPC, in the order of the wire."""

    ihave: list[IHave] = attrs.Factory(list[IHave])
    iwant: list[bytes] = attrs.Factory(list[bytes])
    """Ids of all IWANT entries, joined: entries carry no meaning of their own."""
    graft: list[str] = attrs.Factory(list[str])
    prune: list[Prune] = attrs.Factory(list[Prune])
    idontwant: list[bytes] = attrs.Factory(list[bytes])
    """Ids of all IDONTWANT entries, joined."""


@attrs.define
class Rpc:
    """One frame of a gossip stream."""

    subscriptions: list[Subscription] = attrs.Factory(list[Subscription])
    publish: list[Message] = attrs.Factory(list[Message])
    control: Control | None = None
