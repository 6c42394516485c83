"""The bounds of a file of lines; what it writes is tested where it is used: the trace, the recordings."""

import os
from pathlib import Path

import trio
from leanmesh.service.line_file import LineFile, Written


async def test_last_words_need_no_room_and_what_is_discarded_is_not_written(
    tmp_path: Path, nursery: trio.Nursery
):
    path = tmp_path / "lines"
    told: list[Written] = []
    file = LineFile(1000, 10, os.open(path, os.O_WRONLY | os.O_CREAT), told.append)
    assert file.put(b"123456789\n")
    assert not file.put(b"\n")
    assert file.discard() == 1
    assert file.put(b"abcdefghi\n")
    assert not file.put(b"\n")
    assert file.put(b"the end\n", is_last=True)
    await nursery.start(file.run)
    assert await file.aclose()
    assert path.read_bytes() == b"abcdefghi\nthe end\n"
    assert [(each.lines, each.lost) for each in told] == [(2, 0)]
    assert not file.put(b"\n", is_last=True)
