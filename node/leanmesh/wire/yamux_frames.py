"""yamux frames: the 12-byte header and its numbers.  Source: the yamux specification (hashicorp, libp2p)."""

import struct
from enum import IntEnum

from leanmesh.errors import LocalError, RemoteError

PROTOCOL = "/yamux/1.0.0"

# Version (8 bits), type (8), flags (16), stream id (32), length (32), all big-endian.
HEADER = struct.Struct(">BBHII")
HEADER_BYTES = HEADER.size

VERSION = 0
DATA = 0
WINDOW_UPDATE = 1
PING = 2
GO_AWAY = 3

SYN = 1
ACK = 2
FIN = 4
RST = 8

# Every stream starts with this window in each direction; the specification fixes it.
INITIAL_WINDOW_BYTES = 256 * 1024
# Credit adds up to at most this; a peer that grants more is clamped.
SEND_WINDOW_CEILING_BYTES = (1 << 32) - 1
LAST_STREAM_ID = (1 << 32) - 1
# Data frames of ours are cut here: some peers refuse larger ones, and streams shall take turns.
DATA_FRAME_LIMIT_BYTES = 65536


class GoAwayCode(IntEnum):
    """What a go-away frame says about the end of the session."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


class YamuxViolation(RemoteError):
    """The peer broke yamux.  The session is over."""


class StreamNotAvailable(LocalError):
    """No stream can be opened now: the peer has gone away, is behind with its answers, or ids are used up."""


def encode_header(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    """One frame without payload."""
    return HEADER.pack(VERSION, kind, flags, stream_id, length)
