"""File descriptors: whether the process may open as many as its connections may need."""

import resource

# Standard streams, the event loop, listeners, /metrics and its scrapes, key and cells files.
DESCRIPTORS_MARGIN = 64
# More than 64 networks of 512 connections each.
ENOUGH_DESCRIPTORS = 65_536


def descriptor_shortage(connections: int) -> str | None:
    """What to say when the soft limit is below what so many connections need; None when it is not.

    Beyond the limit the kernel refuses connections that our own limits would
    have admitted, and the node cannot choose which.
    """
    needed = connections + DESCRIPTORS_MARGIN
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return None
    return (
        f"this process may open {soft} files, and {connections} connections need {needed}: "
        f"raise the limit (`ulimit -n {needed}`, or LimitNOFILE={needed} in the systemd unit) "
        "or lower transport.connections_limit"
    )


def raise_descriptor_limit() -> None:
    """Raise the soft limit towards the hard one, as servers do that own their process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(ENOUGH_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
