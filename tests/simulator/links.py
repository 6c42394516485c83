"""The fake wire: what a link does to the frames on it."""

import attrs


@attrs.define(kw_only=True)
class Link:
    """One direction between two nodes.  Frames stay in order: it stands for one stream."""

    latency_s: float = 0.02
    # The share of RPCs that vanish.  A stream loses nothing; a peer that drops what it reads does.
    loss: float = 0.0
    # What the wire, or a reader that is slow to read, takes per second; None: no limit.
    bytes_per_s: float | None = None
    # Nothing passes, and neither side knows yet.
    is_cut: bool = False
    busy_until_s: float = 0.0
    arrives_last_s: float = 0.0
    is_writer_waiting: bool = False

    def arrival_s(self, now_s: float) -> float:
        """When what is written now arrives, not before what was written earlier."""
        self.arrives_last_s = max(self.arrives_last_s, max(now_s, self.busy_until_s) + self.latency_s)
        return self.arrives_last_s

    def occupy(self, size_bytes: int, now_s: float) -> None:
        """The link carries these bytes for as long as its bandwidth says."""
        if self.bytes_per_s is not None:
            self.busy_until_s = max(now_s, self.busy_until_s) + size_bytes / self.bytes_per_s
