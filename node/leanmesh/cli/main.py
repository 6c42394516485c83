"""The `leanmesh` command: a group whose commands are imported only when they are called."""

import errno
import importlib
import io
import os
import sys

import click

from leanmesh.cli.output import printable_lines
from leanmesh.errors import LocalError, NodeError

# Command name -> "module:attribute".  A command's libraries are loaded when it runs, not before.
COMMANDS: dict[str, str] = {
    "cells": "leanmesh.cli.cells:cells",
    "check-config": "leanmesh.cli.check_config:check_config",
    "devnet": "leanmesh.cli.devnet:devnet",
    "id": "leanmesh.cli.ping:show_id",
    "key": "leanmesh.cli.key:key",
    "lag": "leanmesh.cli.lag:lag",
    "mesh": "leanmesh.cli.peers:mesh",
    "peers": "leanmesh.cli.peers:peers",
    "ping": "leanmesh.cli.ping:ping",
    "publish": "leanmesh.cli.publish:publish",
    "replay": "leanmesh.cli.replay:replay",
    "run": "leanmesh.cli.run:command",
    "subscribe": "leanmesh.cli.subscribe:subscribe",
    "worker": "leanmesh.cli.worker:worker",
}

# What a write fails with on a full or broken disk: no bug, so no traceback.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class LazyGroup(click.Group):
    """A click group that imports a command's module when the command is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All command names, in alphabetical order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command, or None when there is no such name."""
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module_name, _, attribute = target.partition(":")
        command = getattr(importlib.import_module(module_name), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="leanmesh")
def root() -> None:
    """A gossipsub peer node whose figures are true."""


def main() -> None:
    """Run the command line.  Exit codes: 0 done, 1 failed at run time, 2 wrong usage or settings."""
    _prepare_streams()
    try:
        root(prog_name="leanmesh")
    except NodeError as error:
        click.echo(printable_lines(f"error: {error}{_way_out(error)}"), err=True)
        sys.exit(2 if isinstance(error, LocalError) else 1)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        click.echo(f"error: cannot write: {error.strerror}", err=True)
        sys.exit(1)
    finally:
        _drop_unread_output()


def _way_out(error: NodeError) -> str:
    """What to do about an error that the layer which met it does not know."""
    # By its text: a worker's error comes from another process.
    if os.strerror(errno.EADDRINUSE) not in str(error):
        return ""
    return "; another program listens there: stop it, or choose another port (0 takes a free one)"


def _prepare_streams() -> None:
    """A standard stream that whoever started us has closed leads nowhere, and no socket gets its number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 - until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding lacks is shown by its number.
            stream.reconfigure(errors="backslashreplace")


def _drop_unread_output() -> None:
    """What is still buffered and cannot be written goes nowhere, without a complaint at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
