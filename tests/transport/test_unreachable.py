"""Addresses that no route leads to, as the machine's own TCP sees them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from leanmesh.transport.errors import DialFailed
from transport.nodes import Nodes, address

PROGRAM = Path(__file__).with_name("dial_process.py")
# In a network namespace of one's own nothing can be reached but what is said here.
ROUTES = (
    "ip link set lo up",
    "ip route add unreachable 10.1.0.0/16",
    "ip route add prohibit 10.2.0.0/16",
    "ip -6 route add unreachable fd01::/16",
)
FAILURES = {
    "/ip4/10.1.0.1/tcp/9000": "No route to host",
    "/ip4/10.2.0.1/tcp/9000": "Permission denied",
    "/ip4/10.3.0.1/tcp/9000": "Network is unreachable",
    "/ip6/fd01::1/tcp/9000": "No route to host",
    "/ip6/fd02::1/tcp/9000": "Network is unreachable",
    "/ip4/127.0.0.1/tcp/9000": "Connection refused",
}


def in_own_network(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command where those routes are the only ones.  Skips the test where nobody may do that."""
    if missing := [tool for tool in ("unshare", "ip") if shutil.which(tool) is None]:
        pytest.skip(f"no network namespace can be made: {missing[0]} is not installed")
    inside = ["unshare", "--map-root-user", "--net", "sh", "-c", " && ".join((*ROUTES, 'exec "$0" "$@"'))]
    tried = subprocess.run([*inside, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no network namespace can be made: {tried.stderr.strip()}")
    return subprocess.run([*inside, *command], capture_output=True, text=True)


async def test_a_network_without_a_route_is_named_with_the_address_and_the_step(tcp_nodes: Nodes):
    switch = await tcp_nodes.start()
    with pytest.raises(
        DialFailed, match=r"^/ip4/255\.255\.255\.255/tcp/9000: connect failed: Network is unreachable$"
    ):
        await switch.dial(address("/ip4/255.255.255.255/tcp/9000"))
    assert switch.observer.events == ["dial failed: connect: error"]


def test_each_way_in_which_a_host_cannot_be_reached_is_said_with_its_address_and_step():
    done = in_own_network(sys.executable, str(PROGRAM), *FAILURES)
    assert done.stderr == ""
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        [[f"{text}: connect failed: {reason}", "refused" if "refused" in reason else "error"]]
        for text, reason in FAILURES.items()
    ]
