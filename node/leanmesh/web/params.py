"""Where the HTTP endpoint listens, and how much of anybody's time and memory it gives away."""

import ipaddress

import attrs
from attrs.validators import ge, gt

from leanmesh.errors import LocalError

DEFAULT_LISTEN = "127.0.0.1:9470"


def _is_address(instance: "WebParams", attribute: "attrs.Attribute[str]", value: str) -> None:
    split_address(value)


@attrs.frozen(kw_only=True)
class WebParams:
    """Settings of the HTTP endpoint.

    The page tells who the peers are and how busy the node is, over plain HTTP
    and without a password: so it stays on loopback unless the operator says
    in so many words that the network in front of it is trusted.
    """

    # An IP address (or localhost) and a port; port 0 takes a free one.
    listen: str = attrs.field(default=DEFAULT_LISTEN, validator=_is_address)
    # Must be said to listen beyond loopback.
    allow_plain_metrics: bool = False
    # A scraper or two, a browser, a health probe: beyond this somebody is holding connections open.
    connections_limit: int = attrs.field(default=64, validator=gt(0))
    # What h11 recommends for a request's head; Prometheus sends about 300 bytes.
    head_limit_bytes: int = attrs.field(default=16 * 1024, validator=ge(512))
    # 300 names of 25 characters fit into `name[]=`.
    target_limit_bytes: int = attrs.field(default=8 * 1024, validator=ge(64))
    # A request's head must be complete, and the next request begin, within this time.
    idle_timeout_s: float = attrs.field(default=10.0, validator=gt(0.0))
    # A request must be answered, and the answer taken, within this time: when Prometheus gives up, too.
    answer_timeout_s: float = attrs.field(default=10.0, validator=gt(0.0))
    # A snapshot is renewed when asked for; one that stays older than this means that its sources fail.
    stale_after_s: float = attrs.field(default=10.0, validator=gt(0.0))

    def __attrs_post_init__(self) -> None:
        host, _ = split_address(self.listen)
        if not ipaddress.ip_address(host).is_loopback and not self.allow_plain_metrics:
            raise LocalError(
                f"listen = {self.listen!r} shows the metrics beyond this machine, unencrypted, to anyone; "
                "if that network is trusted, set allow_plain_metrics = true under [web]; "
                "else listen on 127.0.0.1"
            )


def split_address(text: str) -> tuple[str, int]:
    """Split `HOST:PORT` into an IP address and a port; `localhost` is 127.0.0.1, port 0 any free one."""
    host, separator, port_text = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if host == "localhost":
        host = "127.0.0.1"
    try:
        ipaddress.ip_address(host)
        is_valid = bool(separator) and port_text.isascii() and port_text.isdigit() and int(port_text) < 65536
    except ValueError:
        is_valid = False
    if not is_valid:
        raise LocalError(
            f"{text!r} is no address to listen on; "
            f"write an IP address and a port, such as {DEFAULT_LISTEN} or [::1]:0"
        )
    return host, int(port_text)
