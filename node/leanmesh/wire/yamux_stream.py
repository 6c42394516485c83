"""One yamux stream as a value: its windows, what it has buffered, and which ends are closed."""

import attrs

from leanmesh.wire.yamux_frames import INITIAL_WINDOW_BYTES


@attrs.define(eq=False)
class YamuxStream:
    """The state of one stream.  Only its session changes it; everyone may read it.

    Invariant while the peer may still send: receive_window_bytes + len(buffer)
    + unreturned_bytes == window_bytes.  So a slow reader closes its window,
    and what one stream keeps in memory never exceeds window_bytes.
    """

    stream_id: int
    is_outbound: bool
    opened_at_s: float
    is_acknowledged: bool = False
    is_send_finished: bool = False
    is_remote_finished: bool = False
    is_receive_closed: bool = False
    is_reset: bool = False
    is_open: bool = True
    # What the peer lets us send, in bytes.
    send_window_bytes: int = INITIAL_WINDOW_BYTES
    # What we still let the peer send, and the size this window has when nothing waits.
    receive_window_bytes: int = INITIAL_WINDOW_BYTES
    window_bytes: int = INITIAL_WINDOW_BYTES
    # Read by us, not yet given back to the peer as credit.
    unreturned_bytes: int = 0
    credited_at_s: float = 0.0
    buffer: bytearray = attrs.field(factory=bytearray)
