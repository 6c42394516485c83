"""What commands print: sentences for people on a terminal, JSON lines for programs."""

import contextlib
import json
import logging
import sys
from typing import Any, TextIO

import click


def printable(text: str) -> str:
    """The text as one line that a terminal only shows: what would steer it is replaced.

    Names of agents and topics are as peers wrote them: with escapes, line breaks, marks of direction.
    """
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def printable_lines(text: str) -> str:
    """The same for a text whose lines are our own, as of a trace or of a list of mistakes."""
    return "\n".join(map(printable, text.split("\n")))


class TextLines(logging.Formatter):
    """Each record as one line of text, and its trace below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """One line, also where a peer has a name of two."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The trace; an error may name what a peer sent."""
        return printable_lines(super().formatException(ei))


class JsonLines(logging.Formatter):
    """Each record as one JSON object: its event and fields, or its level and message."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        event = getattr(record, "event", None)
        facts: dict[str, Any] = {"event": event or "log", "time": round(record.created, 6)}
        if event is None:
            facts |= {
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.getMessage(),
            }
            if record.exc_info:
                facts["trace"] = self.formatException(record.exc_info)
        else:
            facts |= getattr(record, "fields", {})
        return json.dumps(facts, default=str)


class LogHandler(logging.StreamHandler[TextIO]):
    """Lines on a stream, dropped when nobody takes them any more: no node ends with its log's reader."""

    is_taken = True

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Say once that lines are lost; what else goes wrong is a bug of ours and shown as such."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif self.is_taken:
            self.is_taken = False
            with contextlib.suppress(OSError):
                if isinstance(error, BrokenPipeError):
                    say("nobody reads the log any more; its lines are dropped from here on")
                else:
                    say(f"the log cannot be written: {error.strerror}; lines that cannot be are dropped")


def log_to_output(log_format: str, *, has_events: bool = True) -> None:
    """Warnings, and events if wanted, go to the output: text to stderr, JSON lines to stdout."""
    is_json = log_format == "json"
    handler = LogHandler(sys.stdout if is_json else sys.stderr)
    handler.setFormatter(JsonLines() if is_json else TextLines("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("leanmesh.events").setLevel(logging.INFO if has_events else logging.WARNING)


def say(sentence: str) -> None:
    """A sentence for the person who waits; programs that read standard output do not see it."""
    click.echo(printable(sentence), err=True)


def emit(**facts: object) -> None:
    """One JSON object on standard output, at once."""
    click.echo(json.dumps(facts))
    sys.stdout.flush()
