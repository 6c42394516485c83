"""What commands print: sentences for people on a terminal, JSON lines for programs."""

import contextlib
import json
import logging
import sys
from typing import Any, TextIO

import click


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
    """Lines on a stream, dropped when nobody reads it any more: a node does not end with its log's reader."""

    is_read = True

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Say once that nobody reads; what else goes wrong is a bug of ours and shown as such."""
        if not isinstance(sys.exception(), BrokenPipeError):
            super().handleError(record)
        elif self.is_read:
            self.is_read = False
            with contextlib.suppress(BrokenPipeError):
                say("nobody reads the log any more; its lines are dropped from here on")


def log_to_output(log_format: str, *, has_events: bool = True) -> None:
    """Warnings, and events if wanted, go to the output: text to stderr, JSON lines to stdout."""
    is_json = log_format == "json"
    handler = LogHandler(sys.stdout if is_json else sys.stderr)
    handler.setFormatter(
        JsonLines() if is_json else logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("leanmesh.events").setLevel(logging.INFO if has_events else logging.WARNING)


def say(sentence: str) -> None:
    """A sentence for the person who waits; programs that read standard output do not see it."""
    click.echo(sentence, err=True)


def emit(**facts: object) -> None:
    """One JSON object on standard output, at once."""
    click.echo(json.dumps(facts))
    sys.stdout.flush()
