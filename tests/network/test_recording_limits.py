"""Recordings that end before their networks do: at their limit, by a slow disk, for want of a folder."""

import logging
import os
import threading
from pathlib import Path

import pytest
import trio
from leanmesh.errors import LocalError
from leanmesh.service import line_file
from leanmesh.service.replay import replay_file
from network.recordings import TOPIC, break_at, fails, files, recording


async def test_at_its_limit_a_recording_ends_and_says_so_and_is_good_up_to_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    break_at(monkeypatch, b"bad")
    with caplog.at_level(logging.INFO, logger="leanmesh.events"):
        async with recording(tmp_path, 2, limit_bytes=50_000) as node:
            for number in range(20):
                await node.publish(TOPIC, b"%d" % number + bytes(2000))
                await trio.sleep(0.02)
            await fails(node, 0, b"bad")
            await node.refresh_metrics()
            assert node.metric("leanmesh_record_lines_total", "file_full") == 2
    for number in range(2):
        path = files(tmp_path, number)[0]
        assert 40_000 < path.stat().st_size <= 50_000
        assert path.read_text().splitlines()[-1] == '["ended","file_full"]'
        replayed = replay_file(path)
        assert replayed.end == "the recording was ended before its network, at its limit_bytes"
        assert replayed.events > 10
        assert (
            f"the recording {path} ends before its network: it has its limit_bytes; it is good up to there"
            in [record.message for record in caplog.records]
        )
    assert (
        f"its recording {files(tmp_path)[0]} had ended before: it has its limit_bytes; it is started again"
        in caplog.text
    )


async def test_a_disk_that_hangs_ends_the_recording_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    hangs = threading.Event()
    append = line_file._append

    def slow(*arguments, **options) -> object:
        hangs.wait(10)
        return append(*arguments, **options)

    with caplog.at_level(logging.INFO, logger="leanmesh.events"):
        async with recording(tmp_path, 2, queue_limit_bytes=60_000) as node:
            await trio.sleep(0.2)
            monkeypatch.setattr(line_file, "_append", slow)
            async with node.subscribe(TOPIC, network_id=1) as messages:
                for number in range(40):
                    await node.publish(TOPIC, b"%d" % number + bytes(2000))
                    with trio.fail_after(1):
                        assert (await anext(messages)).data.startswith(b"%d" % number)
            await node.refresh_metrics()
            assert node.metric("leanmesh_record_lines_total", "queue_full") == 2
            hangs.set()
            await trio.sleep(0.2)
    for number in range(2):
        path = files(tmp_path, number)[0]
        assert f"the recording {path} ends before its network: the disk is too slow" in caplog.text
        replayed = replay_file(path)
        assert replayed.end == "the recording was ended before its network, because the disk was too slow"
        assert replayed.events > 10


async def test_a_disk_that_refuses_ends_the_recording_without_a_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    write = os.write
    refusals = [True]

    def refuse(descriptor: int, data: bytes) -> int:
        if refusals and len(data) > 3000:
            # Half a line is on the disk; what comes later would fit again.
            refusals.clear()
            return write(descriptor, data[:1500])
        if len(data) > 1500 and not refusals:
            refusals.append(True)
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    with caplog.at_level(logging.INFO, logger="leanmesh.events"):
        async with recording(tmp_path, 1 + 1) as node:
            await trio.sleep(0.2)
            monkeypatch.setattr(line_file.os, "write", refuse)
            for number in range(10):
                await node.publish(TOPIC, b"%d" % number + bytes(3000))
                await trio.sleep(0.03)
            monkeypatch.undo()
            await trio.sleep(0.1)
    assert "ends before its network: No space left on device; it is good up to there" in caplog.text
    for number in range(2):
        replay_file(files(tmp_path, number)[0])


async def test_the_folder_holds_so_many_files_of_a_network_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    break_at(monkeypatch, b"bad")
    (tmp_path / "network-10-x.record").touch()
    with caplog.at_level(logging.INFO):
        async with recording(tmp_path, 2, files_limit=2) as node:
            for _ in range(3):
                await fails(node, 0, b"bad")
                await node.connect(node.network(0).listen_addresses[0], network_id=1)
                await node.wait_for_mesh(TOPIC, 1, 10, 1)
    assert len(files(tmp_path)) == 2
    assert len(files(tmp_path, 1)) == 1
    said = [record.message for record in caplog.records]
    assert said.count(f"network 0 is not recorded: {tmp_path} holds 2 of its recordings already") == 2
    assert [each for each in said if "this life of it was not recorded; it is started again" in each]


async def test_a_folder_that_cannot_be_stops_the_start_and_later_only_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match=r"nothing can be recorded in .*/file: File exists"):
        async with recording(tmp_path / "file", 2):
            pass
    folder = tmp_path / "gone"
    break_at(monkeypatch, b"bad")
    with caplog.at_level(logging.INFO):
        async with recording(folder, 2) as node:
            folder.rename(tmp_path / "elsewhere")
            await fails(node, 0, b"bad")
    assert any(
        record.message.startswith("network 0 is not recorded:") and "No such file" in record.message
        for record in caplog.records
    )
