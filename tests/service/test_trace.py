"""The trace: one JSON line for each event, as Hermes lays it out, and a disk that never slows anything."""

import json
import os
import resource
import threading
from pathlib import Path

import pytest
import trio
from leanmesh.errors import LocalError
from leanmesh.gossip.observer import (
    GraftReason,
    IgnoreReason,
    PruneReason,
    RejectReason,
    ThrottleReason,
)
from leanmesh.identity.peer_id import PeerId
from leanmesh.metrics.catalog_trace import TRACE_LINES
from leanmesh.metrics.cells import Cells
from leanmesh.service.params import TraceParams
from leanmesh.service.trace import Trace
from leanmesh.service.trace_file import TraceFile

US = PeerId(b"\x00\x24" + bytes(36))
A = PeerId(b"\x00\x24" + b"\x01" * 36)
B = PeerId(b"\x00\x24" + b"\x02" * 36)
NOW_S = 1_700_000_000.25


class Lines:
    """A trace, and its lines as what they say."""

    def __init__(self, sample_rate: int = 1) -> None:
        self.raw: list[bytes] = []
        self.trace = Trace(US, self.raw.append, sample_rate, wall_clock=lambda: NOW_S)

    @property
    def events(self) -> list[tuple[str, object]]:
        lines = [json.loads(line) for line in self.raw]
        assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in self.raw)
        for line in lines:
            assert list(line) == ["Type", "PeerID", "Timestamp", "Data"]
            assert (line["PeerID"], line["Timestamp"]) == (str(US), "2023-11-14T22:13:20.250000Z")
        return [(line["Type"], line["Data"]) for line in lines]


def message(peer: PeerId, **more: object) -> dict[str, object]:
    return {"PeerID": str(peer), "Topic": "news", "MsgID": "0a0b", "Local": False, "MsgSize": 7, **more}


def test_peers_topics_and_the_mesh():
    lines = Lines()
    trace = lines.trace
    trace.joined('a "topic"\n', 1.0)
    trace.peer_added(A, "/meshsub/1.2.0", 1.0)
    trace.grafted(A, "news", GraftReason.RANDOM, 1.0)
    trace.pruned(A, "news", PruneReason.EXCESS, 2.0)
    trace.peer_removed(A, "/meshsub/1.2.0", 2.0)
    trace.left("news", 2.0)
    assert lines.events == [
        ("JOIN", {"Topic": 'a "topic"\n'}),
        ("ADD_PEER", {"PeerID": str(A), "Protocol": "/meshsub/1.2.0"}),
        ("GRAFT", {"PeerID": str(A), "Topic": "news", "Reason": "random"}),
        ("PRUNE", {"PeerID": str(A), "Topic": "news", "Reason": "excess"}),
        ("REMOVE_PEER", {"PeerID": str(A)}),
        ("LEAVE", {"Topic": "news"}),
    ]


def test_messages_and_why_they_were_refused():
    lines = Lines()
    trace = lines.trace
    about = ("news", b"\x0a\x0b", 7)
    trace.published("news", b"\x0a\x0b", 7, [A, B], 1.0)
    trace.accepted(A, *about, 1.0)
    trace.duplicate(B, *about, 1.0)
    trace.rejected(A, *about, RejectReason.VERDICT, 1.0)
    trace.rejected(A, *about, RejectReason.SIGNATURE, 1.0)
    trace.rejected(A, "news", None, 7, RejectReason.DECODE, 1.0)
    trace.ignored(A, *about, IgnoreReason.TIMEOUT, 1.0)
    trace.ignored(A, *about, IgnoreReason.OWN, 1.0)
    trace.throttled(A, *about, ThrottleReason.GLOBAL, 1.0)
    trace.throttled(A, *about, ThrottleReason.PEER, 1.0)
    assert lines.events == [
        ("PUBLISH_MESSAGE", {"MsgID": "0a0b", "Topic": "news"}),
        ("DELIVER_MESSAGE", message(A)),
        ("DUPLICATE_MESSAGE", message(B)),
        ("REJECT_MESSAGE", message(A, Reason="validation failed", Cause="verdict")),
        ("REJECT_MESSAGE", message(A, Reason="invalid signature", Cause="signature")),
        ("REJECT_MESSAGE", message(A, MsgID="", Reason="validation failed", Cause="decode")),
        ("REJECT_MESSAGE", message(A, Reason="validation ignored", Cause="timeout")),
        ("REJECT_MESSAGE", message(A, Reason="self originated message", Cause="own")),
        ("REJECT_MESSAGE", message(A, Reason="validation queue full", Cause="global")),
        ("REJECT_MESSAGE", message(A, Reason="validation throttled", Cause="peer")),
    ]


def test_gossip_is_told_with_its_ids():
    lines = Lines()
    trace = lines.trace
    trace.ihave_received(A, "news", [b"\x01", b"\x02"], 1.0)
    trace.iwant_sent(A, [b"\x01"], 1.0)
    trace.ihave_sent(A, "news", [b"\x03"], 1.0)
    trace.iwant_received(A, [b"\x03"], 1.0)
    trace.idontwant_sent([A, B], "news", b"\x04", 1.0)
    trace.idontwant_received(B, [b"\x05"], 1.0)

    def rpc(peer: PeerId, **control: object) -> dict[str, object]:
        return {"PeerID": str(peer), "Control": {key: [value] for key, value in control.items()}}

    assert lines.events == [
        ("RECV_RPC", rpc(A, IHave={"TopicID": "news", "MsgIDs": ["01", "02"]})),
        ("SEND_RPC", rpc(A, IWant={"MsgIDs": ["01"]})),
        ("SEND_RPC", rpc(A, IHave={"TopicID": "news", "MsgIDs": ["03"]})),
        ("RECV_RPC", rpc(A, IWant={"MsgIDs": ["03"]})),
        ("SEND_RPC", rpc(A, Idontwant={"MsgIDs": ["04"]})),
        ("SEND_RPC", rpc(B, Idontwant={"MsgIDs": ["04"]})),
        ("RECV_RPC", rpc(B, Idontwant={"MsgIDs": ["05"]})),
    ]


def test_a_sampled_message_has_all_its_lines_and_another_none_and_peers_always_theirs():
    lines = Lines(sample_rate=8)
    trace = lines.trace
    ids = [b"message %d" % number for number in range(400)]
    for message_id in ids:
        trace.published("news", message_id, 7, [A], 1.0)
        trace.accepted(A, "news", message_id, 7, 1.0)
        trace.duplicate(B, "news", message_id, 7, 1.0)
        trace.rejected(B, "news", message_id, 7, RejectReason.POLICY, 1.0)
        trace.iwant_sent(B, [message_id], 1.0)
        trace.grafted(A, "news", GraftReason.RANDOM, 1.0)
    trace.ihave_received(B, "news", ids, 1.0)
    seen: dict[str, list[str]] = {}
    for event, data in lines.events:
        assert isinstance(data, dict)
        if event == "SEND_RPC":
            seen.setdefault(event, []).extend(data["Control"]["IWant"][0]["MsgIDs"])
        elif event == "RECV_RPC":
            seen.setdefault(event, []).extend(data["Control"]["IHave"][0]["MsgIDs"])
        else:
            seen.setdefault(event, []).append(data.get("MsgID", ""))
    assert len(seen.pop("GRAFT")) == 400
    sampled = seen["DELIVER_MESSAGE"]
    assert 0 < len(sampled) < 200
    assert len(seen) == 6
    assert all(ids == sampled for ids in seen.values())


# The file.


def outcomes(cells: Cells) -> dict[str, int]:
    return {outcome: cells.words[cells.counter(TRACE_LINES, outcome)] for (outcome,) in labels()}


def labels() -> list[tuple[str]]:
    return [(outcome,) for outcome in dict(TRACE_LINES.fixed)["outcome"]]


def line(number: int) -> bytes:
    return b'{"number": "%08d"}\n' % number


async def test_lines_are_appended_in_order_and_closing_writes_the_last(tmp_path: Path, nursery: trio.Nursery):
    path, cells = tmp_path / "trace", Cells.anonymous()
    path.write_bytes(b"from before\n")
    trace = TraceFile(path, TraceParams(), cells)
    await nursery.start(trace.run)
    for number in range(1000):
        trace.put(line(number))
        if number % 300 == 0:
            await trio.sleep(0.06)
    await trace.aclose()
    assert path.read_bytes() == b"from before\n" + b"".join(map(line, range(1000)))
    assert outcomes(cells) == {"written": 1000, "queue_full": 0, "file_full": 0, "failed": 0}


async def test_cancellation_does_not_lose_what_was_put(tmp_path: Path):
    path = tmp_path / "trace"
    trace = TraceFile(path, TraceParams(), Cells.anonymous())
    async with trio.open_nursery() as nursery:
        await nursery.start(trace.run)
        nursery.cancel_scope.cancel()
        trace.put(line(1))
        with trio.CancelScope(shield=True):
            await trace.aclose()
    assert path.read_bytes() == line(1)


async def test_the_file_ends_at_its_limit_and_what_it_lost_is_counted(tmp_path: Path, nursery: trio.Nursery):
    path, cells = tmp_path / "trace", Cells.anonymous()
    limit_bytes = 10 * len(line(0)) + 3
    trace = TraceFile(path, TraceParams(limit_bytes=limit_bytes), cells)
    await nursery.start(trace.run)
    for number in range(25):
        trace.put(line(number))
    await trace.aclose()
    assert path.read_bytes() == b"".join(map(line, range(10)))
    assert outcomes(cells) == {"written": 10, "queue_full": 0, "file_full": 15, "failed": 0}


async def test_a_disk_that_hangs_holds_nobody_up_and_the_loss_is_in_the_file(
    tmp_path: Path, nursery: trio.Nursery
):
    # A pipe that nobody reads is a disk that hangs.
    path, cells = tmp_path / "trace", Cells.anonymous()
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    trace = TraceFile(path, TraceParams(queue_limit_bytes=400_000), cells)
    await nursery.start(trace.run)
    for number in range(40_000):
        trace.put(line(number))
    put = 40_000
    await trio.sleep(0.2)
    counts = outcomes(cells)
    assert counts["written"] == counts["failed"] == 0
    assert counts["queue_full"] == put - 400_000 // len(line(0))
    received = bytearray()
    has_ended = threading.Event()

    def read() -> None:
        os.set_blocking(reader, True)
        while not has_ended.is_set():
            received.extend(os.read(reader, 65536))

    thread = threading.Thread(target=read)
    thread.start()
    with trio.fail_after(10):
        while not outcomes(cells)["written"]:
            await trio.sleep(0.01)
        trace.put(b'{"last": true}\n')
        await trace.aclose()
        while not received.endswith(b'{"last": true}\n'):
            await trio.sleep(0.01)
    has_ended.set()
    with path.open("wb") as waker:
        waker.write(b"\n")
    thread.join()
    os.close(reader)
    lines = [json.loads(each) for each in bytes(received).split(b"\n") if each]
    assert lines[-2:] == [
        {"Type": "DROPPED_LINES", "Data": {"Count": counts["queue_full"]}},
        {"last": True},
    ]
    assert outcomes(cells)["written"] + counts["queue_full"] == put + 1


async def test_a_disk_that_refuses_is_told_once_and_counted(
    tmp_path: Path, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
):
    cells = Cells.anonymous()
    trace = TraceFile(Path("/dev/full"), TraceParams(), cells)
    await nursery.start(trace.run)
    with caplog.at_level("INFO", logger="leanmesh.events"):
        for number in range(5):
            trace.put(line(number))
            await trio.sleep(0.1)
        await trace.aclose()
    assert outcomes(cells) == {"written": 0, "queue_full": 0, "file_full": 0, "failed": 5}
    assert [record.message for record in caplog.records] == [
        "the trace /dev/full loses lines: No space left on device"
    ]


async def test_a_line_that_was_torn_stays_alone(tmp_path: Path, nursery: trio.Nursery):
    path, cells = tmp_path / "trace", Cells.anonymous()
    trace = TraceFile(path, TraceParams(), cells)
    await nursery.start(trace.run)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(line(0)) * 5 // 2, before[1]))
    try:
        for number in range(4):
            trace.put(line(number))
        with trio.fail_after(10):
            while not outcomes(cells)["failed"]:
                await trio.sleep(0.01)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    trace.put(line(4))
    await trace.aclose()
    assert path.read_bytes().splitlines(keepends=True) == [
        line(0),
        line(1),
        line(2)[: len(line(0)) // 2] + b"\n",
        b'{"Type": "DROPPED_LINES", "Data": {"Count": 2}}\n',
        line(4),
    ]
    assert outcomes(cells) == {"written": 3, "queue_full": 0, "file_full": 0, "failed": 2}


async def test_a_loss_is_told_once_and_what_comes_too_late_is_counted(tmp_path: Path, nursery: trio.Nursery):
    path, cells = tmp_path / "trace", Cells.anonymous()
    trace = TraceFile(path, TraceParams(queue_limit_bytes=200), cells)
    await nursery.start(trace.run)
    for number in range(12):
        trace.put(line(number))
    with trio.fail_after(10):
        while not outcomes(cells)["written"]:
            await trio.sleep(0.01)
    trace.put(line(20))
    trace.put(line(21))
    await trace.aclose()
    trace.put(line(22))
    fitting = 200 // len(line(0))
    assert path.read_bytes() == b"".join(
        (
            *map(line, range(fitting)),
            b'{"Type": "DROPPED_LINES", "Data": {"Count": %d}}\n' % (12 - fitting),
            line(20),
            line(21),
        )
    )
    assert outcomes(cells) == {
        "written": fitting + 2,
        "queue_full": 12 - fitting + 1,
        "file_full": 0,
        "failed": 0,
    }


def test_a_file_that_cannot_be_opened_is_said_at_start(tmp_path: Path):
    with pytest.raises(LocalError, match=f"the trace cannot be written to {tmp_path}: Is a directory"):
        TraceFile(tmp_path, TraceParams(), Cells.anonymous())


@pytest.mark.parametrize("rate", [0, 3])
def test_a_sample_rate_is_a_power_of_two(rate: int):
    with pytest.raises(LocalError, match="power of two"):
        TraceParams(sample_rate=rate)
