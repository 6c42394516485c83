"""Log lines for people: one line each, whatever peers call themselves."""

import io
import logging

import pytest
from leanmesh.cli.output import LogHandler, TextLines, printable_lines


@pytest.fixture
def logger() -> logging.Logger:
    logger = logging.Logger("test")
    handler = LogHandler(io.StringIO())
    handler.setFormatter(TextLines("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    return logger


def text_of(logger: logging.Logger) -> str:
    return logger.handlers[0].stream.getvalue()


def test_a_name_of_a_peer_neither_steers_the_terminal_nor_makes_a_line_of_its_own(logger: logging.Logger):
    logger.warning("connected to %s", "x\x1b[2J\n2026-03-01 ERROR all is lost")
    assert text_of(logger) == "WARNING connected to x\ufffd[2J\ufffd2026-03-01 ERROR all is lost\n"


def test_a_trace_keeps_its_lines_and_loses_the_escapes_in_them(logger: logging.Logger):
    logger.error("it broke", exc_info=ValueError("of a peer: \x1b[2J\nof two lines"))
    first, second, last = text_of(logger).splitlines()
    assert (first, second) == ("ERROR it broke", "ValueError: of a peer: \ufffd[2J")
    assert last == "of two lines"


def test_mistakes_stay_one_line_each():
    assert printable_lines("first\nsec\x1bond") == "first\nsec\ufffdond"
