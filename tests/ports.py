"""Ports for servers of others that cannot say which one they took."""

import socket
from pathlib import Path
from random import randrange

FIRST = 20_000
KERNEL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port of 127.0.0.1 that is free, also while its server is down for a while.

    It is none of those that the kernel gives to whoever dials or listens on
    port 0: such a one may be taken before its server has started, or between
    two of its lives.
    """
    end = int(KERNEL_RANGE.read_text().split()[0])
    while True:
        # Where the kernel's range begins below ours there is nothing else to take.
        port = randrange(FIRST, end) if end > FIRST else 0
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
