"""The last sequence number of each author: what does not exceed it is a replay.

It holds longer than an id is remembered as seen, which is the point.  Only for
topics that ask for it, since messages of one author may overtake each other.
"""

import attrs

from leanmesh.gossip.oldest import make_room


@attrs.define
class Authors:
    """Last sequence numbers by author, the author heard least recently first; bounded in number."""

    limit: int
    last_seqno: dict[bytes, int] = attrs.field(factory=dict[bytes, int])
    evicted: int = 0

    def is_replay(self, author: bytes, seqno: bytes) -> bool:
        """Whether this author has sent a number as high before."""
        last = self.last_seqno.get(author)
        return last is not None and int.from_bytes(seqno, "big") <= last

    def advance(self, author: bytes, seqno: bytes) -> None:
        """A valid message of an author was accepted."""
        number = int.from_bytes(seqno, "big")
        last = self.last_seqno.pop(author, None)
        if last is None:
            self.evicted += make_room(self.last_seqno, self.limit)
        self.last_seqno[author] = number if last is None else max(last, number)
