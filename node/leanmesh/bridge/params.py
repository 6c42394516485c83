"""Where a NATS sink sends messages, and what bounds it."""

import re
from typing import Literal
from urllib.parse import urlsplit

import attrs
from attrs.validators import ge, gt

from leanmesh.errors import LocalError

SCHEMES = ("nats", "tls")
TOPIC = "{topic}"
# A token of a subject that is published to; dots stand between tokens.
_SUBJECT = re.compile(r"[^\s.*>{}]+(\.[^\s.*>{}]+)*")
# What JetStream takes as a name: no dots, wildcards, separators of paths, or white space.
_STREAM = re.compile(r"[^\s.*>/\\]+")


@attrs.frozen(kw_only=True)
class NatsParams:
    """One sink into a stream of NATS JetStream.  None by default; each [[nats]] makes one.

    Secrets stand in the environment (LEANMESH_NATS__0__PASSWORD) or in a file
    rather than in the settings, and never in the url.  They are shown nowhere.
    """

    # Its name in metrics and logs; every sink of a node needs one of its own.
    name: str = "nats"
    # The network whose messages it carries; the first when it is not set.
    network_id: int | None = attrs.field(default=None, validator=attrs.validators.optional(ge(0)))
    # nats:// or tls://, several of one cluster separated by commas.
    url: str = "nats://127.0.0.1:4222"
    # The stream that must hold the messages: the server refuses them when it is another one.
    stream: str = "leanmesh"
    # Where each message is published; {topic} is its topic, written as tokens (docs/scale-out.md).
    subject: str = "leanmesh.{topic}"
    # Topics to take and to carry; without any it carries those that the network takes anyway.
    topics: tuple[str, ...] = ()
    # Make the stream when it is missing, with the four numbers that follow; an existing one is left alone.
    create_stream: bool = False
    # The oldest messages go when the stream is this large; one without a bound fills the disk.
    stream_limit_bytes: int = attrs.field(default=1024**3, validator=gt(0))
    # The oldest messages go when they are older than this.
    stream_age_limit_s: float = attrs.field(default=86400.0, validator=gt(0.0))
    # Copies that come within this time are stored once; the server remembers every id for as long.
    duplicate_window_s: float = attrs.field(default=120.0, validator=gt(0.0))
    # How many servers keep a copy; more than one needs a cluster.
    stream_replicas: int = attrs.field(default=1, validator=[ge(1), attrs.validators.le(5)])
    # Start though the server is away or refuses, and try again; else that ends the node at its start.
    starts_without_server: bool = False
    # Messages that wait while the server is slow or away: what 1,000 a second bring in a minute.
    queue_limit: int = attrs.field(default=65536, validator=gt(0))
    # The same in bytes.
    queue_limit_bytes: int = attrs.field(default=64 * 1024 * 1024, validator=gt(0))
    # What a full queue loses.
    overflow: Literal["drop_oldest", "drop_newest"] = "drop_oldest"
    # Messages handed to asyncio at once; 64 make the crossing cheap and hold the loop for about 1 ms.
    batch_limit: int = attrs.field(default=64, validator=gt(0))
    # Messages sent and not yet acknowledged: 1,024 in 10 ms, the time of a slow disk, are 100,000 a second.
    in_flight_limit: int = attrs.field(default=1024, validator=gt(0))
    # The same in bytes, for networks of large messages.
    in_flight_limit_bytes: int = attrs.field(default=8 * 1024 * 1024, validator=gt(0))
    # To be connected and to know the stream.
    connect_timeout_s: float = attrs.field(default=5.0, validator=gt(0.0))
    # Without an acknowledgement for this long there is another connection, and all is sent again.
    ack_timeout_s: float = attrs.field(default=10.0, validator=gt(0.0))
    # Lost connections are tried again after this time, doubled each time up to the limit.
    reconnect_first_s: float = attrs.field(default=0.25, validator=gt(0.0))
    reconnect_limit_s: float = attrs.field(default=5.0, validator=gt(0.0))
    # A message that the server answered with an error this often is given up, and counted as refused.
    attempts_limit: int = attrs.field(default=8, validator=gt(0))
    # With a user the secret is a password, without one a token.
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    # A file whose first line is the password or the token.
    secret_file: str | None = None
    # A .creds file of NATS: a JWT and its key.
    credentials_file: str | None = None
    # Certificates to trust for tls:// besides those of the system.
    tls_ca_file: str | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers, one url each."""
        return tuple(url.strip() for url in self.url.split(","))

    def __attrs_post_init__(self) -> None:
        if "@" in self.url:
            # Not shown: it would stand in the log.
            raise LocalError(
                "the url holds a user or a secret, which would be seen in logs and process lists; set user "
                "and password or token in the environment, or secret_file or credentials_file"
            )
        for url in self.urls:
            _check_url(url)
        if not self.name or not _STREAM.fullmatch(self.stream):
            raise LocalError(
                f"name = {self.name!r} and stream = {self.stream!r}: neither may be empty, and the name of a "
                "stream holds no white space and none of . * > / \\"
            )
        if not _SUBJECT.fullmatch(self.subject.replace(TOPIC, "x")):
            raise LocalError(
                f"subject = {self.subject!r} is no subject to publish to: words separated by dots, without "
                "wildcards; {topic} stands for the topic, such as leanmesh.{topic}"
            )
        if self.create_stream and not self.subject.partition(TOPIC)[0].rpartition(".")[0]:
            raise LocalError(
                f"subject = {self.subject!r}: the stream to be created would take every subject there is; "
                "let it begin with a word of its own, such as leanmesh.{topic}"
            )
        given = [
            name for name in ("password", "token", "secret_file", "credentials_file") if getattr(self, name)
        ]
        if len(given) > 1:
            raise LocalError(f"{' and '.join(given)} are given; one says who we are")
        if self.password is not None and self.user is None:
            raise LocalError("a password needs a user; a secret without one is a token")
        if self.user is not None and given not in (["password"], ["secret_file"]):
            raise LocalError("a user needs a password or a secret_file")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise LocalError(f"{url!r} is no address of a NATS server; write nats://HOST:PORT or tls://HOST:PORT")
