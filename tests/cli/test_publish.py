"""What `leanmesh publish` makes of what it reads."""

from collections.abc import Iterator

import pytest
from leanmesh.cli.publish import lines, whole
from leanmesh.errors import LocalError


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_are_the_same_however_they_come(size: int):
    data = b"one\n\ntwo\n\nwithout an end"
    chunks = (data[start : start + size] for start in range(0, len(data), size))
    assert list(lines(chunks, 100)) == [b"one", b"", b"two", b"", b"without an end"]


def test_nothing_is_no_line_and_an_empty_message():
    assert list(lines(iter(()), 100)) == []
    assert list(whole(iter(()), 100)) == [b""]


def test_a_line_may_be_as_long_as_a_message():
    messages = lines(iter((b"123\n45", b"6\n", b"7890\n")), 3)
    assert [next(messages), next(messages)] == [b"123", b"456"]
    with pytest.raises(LocalError, match="a message exceeds 3 bytes"):
        next(messages)


@pytest.mark.parametrize("form", [lines, whole])
def test_what_has_no_end_is_read_no_further_than_the_limit(form):
    taken = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(1000)
            yield bytes(1000)

    with pytest.raises(LocalError, match="exceeds 2000 bytes"):
        next(form(endless(), 2000))
    assert len(taken) == 3
