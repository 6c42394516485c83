"""Two yamux sessions and a fake wire between them; and frames as a peer without manners writes them."""

import struct

import attrs
from leanmesh.wire.yamux import YamuxSession
from leanmesh.wire.yamux_params import YamuxParams

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
WINDOW = 256 * 1024


def frame(
    kind: int, flags: int, stream_id: int, length: int, payload: bytes = b"", version: int = 0
) -> bytes:
    return struct.pack(">BBHII", version, kind, flags, stream_id, length) + payload


def data_frame(stream_id: int, payload: bytes, flags: int = 0) -> bytes:
    return frame(DATA, flags, stream_id, len(payload), payload)


def frames(data: bytes) -> list[tuple[int, int, int, int, bytes]]:
    """What a session has sent: kind, flags, stream id, length, payload of each frame."""
    found = []
    while data:
        _, kind, flags, stream_id, length = struct.unpack_from(">BBHII", data)
        end = 12 + (length if kind == DATA else 0)
        found.append((kind, flags, stream_id, length, data[12:end]))
        data = data[end:]
    return found


def take_output(session: YamuxSession) -> bytes:
    output = bytes(session.outgoing)
    session.outgoing.clear()
    return output


def server(**limits: float) -> YamuxSession:
    return YamuxSession(is_client=False, params=YamuxParams(**limits))


@attrs.define
class Pair:
    """A client and a server; `exchange` carries everything that waits, until nothing does."""

    client: YamuxSession
    server: YamuxSession
    now_s: float = 0.0

    def exchange(self) -> None:
        while self.client.outgoing or self.server.outgoing:
            self.server.receive(take_output(self.client), self.now_s)
            self.client.receive(take_output(self.server), self.now_s)

    def open(self):
        """A stream that both sides have."""
        ours = self.client.open_stream(self.now_s)
        self.exchange()
        (theirs,) = self.server.take_opened()
        return ours, theirs


def make_pair(**limits: float) -> Pair:
    params = YamuxParams(**limits)
    return Pair(YamuxSession(is_client=True, params=params), YamuxSession(is_client=False, params=params))
