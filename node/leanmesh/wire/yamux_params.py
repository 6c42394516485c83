"""The limits of a yamux session: numbers, each with its reason."""

import attrs

from leanmesh.wire.yamux_frames import INITIAL_WINDOW_BYTES, SEND_WINDOW_CEILING_BYTES


@attrs.frozen(kw_only=True)
class YamuxParams:
    """The limits of one session."""

    # More open streams from the peer than this are answered with a reset.
    inbound_streams_limit: int = 256
    # The specification's bound on streams that were opened and not yet acknowledged.
    ack_backlog_limit: int = 256
    # Windows start at 256 KiB and grow up to this when they are what limits a fast sender.
    window_limit_bytes: int = 1024 * 1024
    # Received and not yet read, over all streams.  A stream that would exceed it is reset.
    receive_limit_bytes: int = 8 * 1024 * 1024
    # Streams that the peer may open at once, however short they are: four times those that may be open.
    inbound_streams_burst: int = 1000
    # Streams per second after that.  Opened and ended at once, one costs us 40 us: 2 % of a core in all.
    inbound_streams_per_s: float = 500.0
    # Frames without effect (no data, no credit, no first end or answer), pings, streams reset or refused.
    idle_frames_burst: int = 1000
    idle_frames_per_s: float = 100.0

    def __attrs_post_init__(self) -> None:
        if self.inbound_streams_limit < 1 or self.ack_backlog_limit < 1:
            raise ValueError(f"stream limits start at 1: {self}")
        if not INITIAL_WINDOW_BYTES <= self.window_limit_bytes <= SEND_WINDOW_CEILING_BYTES:
            raise ValueError(f"{INITIAL_WINDOW_BYTES} <= window_limit_bytes <= 2^32 - 1 fails: {self}")
        if self.receive_limit_bytes < INITIAL_WINDOW_BYTES:
            raise ValueError(f"receive_limit_bytes must hold one window of {INITIAL_WINDOW_BYTES}: {self}")
        if self.inbound_streams_burst < 1 or self.inbound_streams_per_s <= 0:
            raise ValueError(f"inbound streams need a burst of at least 1 and a rate above 0: {self}")
        if self.idle_frames_burst < 1 or self.idle_frames_per_s <= 0:
            raise ValueError(f"idle frames need a burst of at least 1 and a rate above 0: {self}")
