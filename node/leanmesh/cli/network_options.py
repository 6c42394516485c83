"""Flags that say who we are and whom we talk to, shared by the commands that join a network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

Command = TypeVar("Command", bound=Callable[..., Any])

# Flag name -> the setting it stands for; flags speak of the first network.
FLAG_KEYS = {
    "profile": "network.0.profile",
    "key": "network.0.key_file",
    "listen": "network.0.listen",
    "announce": "network.0.announce",
    "peer": "network.0.peers",
    "topic": "network.0.topics",
    "role": "network.0.role",
    "signing": "network.0.signing",
    "message_id": "network.0.message_id",
    "metrics": "web.listen",
    "trace": "trace.file",
    "record": "record.folder",
    "nats": "nats.0.url",
    "workers": "workers.count",
}

_OPTIONS = {
    "config": click.option(
        "--config", type=click.Path(path_type=Path), help="TOML file of settings (see leanmesh check-config)."
    ),
    "profile": click.option(
        "--profile", type=click.Choice(["libp2p", "lean"]), help="Kind of network.  [libp2p]"
    ),
    "key": click.option(
        "--key", metavar="FILE", help="Key file; made when it is missing.  [a new key, not kept]"
    ),
    "listen": click.option(
        "--listen", multiple=True, metavar="MULTIADDR", help="Where to listen, such as /ip4/0.0.0.0/tcp/9000."
    ),
    "announce": click.option(
        "--announce", multiple=True, metavar="MULTIADDR", help="Where others can reach us, if not there."
    ),
    "peer": click.option(
        "--peer",
        multiple=True,
        metavar="MULTIADDR",
        help="A peer to stay connected to, with /p2p/ID at its end.",
    ),
    "topic": click.option("--topic", multiple=True, metavar="TOPIC", help="A topic to take and to pass on."),
    "role": click.option(
        "--role",
        type=click.Choice(["relay", "leaf"]),
        help="A relay keeps a full mesh, a leaf a small one.  [relay]",
    ),
    "signing": click.option(
        "--signing",
        type=click.Choice(["strict", "none"]),
        help="What the network demands of messages.  [strict]",
    ),
    "message_id": click.option(
        "--message-id",
        type=click.Choice(["auto", "default", "sha256"]),
        help="How messages get their ids; all peers must agree.  [auto]",
    ),
    "metrics": click.option(
        "--metrics",
        metavar="HOST:PORT",
        help="Where to serve HTTP; port 0 takes a free one.  [127.0.0.1:9470]",
    ),
    "workers": click.option(
        "--workers",
        type=click.IntRange(min=0),
        metavar="N",
        help="Spread the networks over N processes; 0: one process for all.  [0]",
    ),
    "nats": click.option(
        "--nats",
        metavar="URL",
        help="Carry delivered messages into a NATS JetStream; see docs/scale-out.md.",
    ),
    "trace": click.option(
        "--trace", metavar="FILE", help="Append every event to FILE as JSON lines (see docs/trace.md)."
    ),
    "record": click.option(
        "--record",
        metavar="FOLDER",
        help="Record what each network takes, for `leanmesh replay` (see docs/operations.md).",
    ),
    "log_format": click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="text: sentences; json: one object per line on standard output.",
    ),
}


def options(*names: str) -> Callable[[Command], Command]:
    """Decorate a command with some of the flags above."""

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            command = _OPTIONS[name](command)
        return command

    return decorate


def flags(given: dict[str, Any]) -> dict[str, tuple[str, object]]:
    """The flags that were given, as `settings.load` takes them."""
    chosen: dict[str, tuple[str, object]] = {}
    for name, key in FLAG_KEYS.items():
        value = given.get(name)
        if value is not None and value != ():
            shown = f"--{name.replace('_', '-')}"
            chosen[key] = (shown, list(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value)
    return chosen
