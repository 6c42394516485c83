"""The commands as a person types them, against a node that runs: what they print and how they end."""

import base64
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

LEANMESH = (sys.executable, "-m", "leanmesh")
TIMEOUT_S = 60
STRANGER = "12D3KooWK57m8t1CwB5NuRrH3S32GAFzuZiC5wkcW9FompWuF4PN"


@attrs.frozen
class Running:
    """A node that runs, and everything it says."""

    process: "subprocess.Popen[str]"
    ready: dict[str, object]
    events: list[dict[str, object]]

    @property
    def address(self) -> str:
        (address,) = self.ready["listen"]
        return address

    @property
    def api(self) -> str:
        return str(self.ready["metrics"]).removesuffix("/metrics")


def leanmesh(*arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*LEANMESH, *arguments], input=given, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    key = tmp_path_factory.mktemp("keys") / "node.key"
    command = [*LEANMESH, "run", "--key", str(key), "--listen", "/ip4/127.0.0.1/tcp/0", "--topic", "news"]
    command += ["--metrics", "127.0.0.1:0", "--log-format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready = json.loads(process.stdout.readline())
            events: list[dict[str, object]] = []
            reader = threading.Thread(
                target=lambda: events.extend(json.loads(line) for line in process.stdout), daemon=True
            )
            reader.start()
            yield Running(process, ready, events)
        finally:
            process.terminate()
            assert process.wait(TIMEOUT_S) == 0
            reader.join(TIMEOUT_S)


def test_ready_names_the_peer_the_addresses_and_the_page(node: Running):
    assert node.ready["event"] == "ready"
    assert node.address.startswith("/ip4/127.0.0.1/tcp/")
    assert node.address.endswith(f"/p2p/{node.ready['peer_id']}")
    assert node.ready["networks"][0]["topics"] == ["news"]


def test_ping_measures_the_round_trip(node: Running):
    ended = leanmesh("ping", node.address, "--count", "2", "--interval", "0")
    assert ended.returncode == 0, ended.stderr
    assert [line.split(":")[0] for line in ended.stdout.splitlines()[:2]] == ["ping 1", "ping 2"]
    assert ended.stdout.splitlines()[2].startswith("2 answered; min ")


def test_ping_of_a_closed_port_says_what_failed_where(node: Running):
    ended = leanmesh("ping", f"/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"error: /ip4/127.0.0.1/tcp/1/p2p/{STRANGER}: connect failed: Connection refused\n"


def test_ping_of_the_wrong_peer_says_who_answered(node: Running):
    address = node.address.rpartition("/")[0] + f"/{STRANGER}"
    ended = leanmesh("ping", address)
    assert ended.returncode == 1
    assert "handshake failed" in ended.stderr
    assert str(node.ready["peer_id"]) in ended.stderr


def test_ping_of_no_address_is_wrong_usage():
    ended = leanmesh("ping", "example.org:9000")
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: 'example.org:9000' is no address: one begins like /ip4/192.0.2.1/tcp/9000\n"
    )


def test_id_of_an_address_is_what_the_peer_says_of_itself(node: Running):
    facts = json.loads(leanmesh("id", node.address).stdout)
    assert facts["peer_id"] == node.ready["peer_id"]
    assert facts["agent"].startswith("leanmesh/")
    assert "/meshsub/1.2.0" in facts["protocols"]


def test_id_without_an_address_asks_the_node_that_runs(node: Running):
    (network,) = json.loads(leanmesh("id", "--api", node.api).stdout)["networks"]
    assert network == {
        "network_id": 0,
        "peer_id": node.ready["peer_id"],
        "is_running": True,
        "listen": node.ready["listen"],
        "topics": ["news"],
    }


def test_what_is_published_arrives_at_who_subscribes(node: Running):
    command = [*LEANMESH, "subscribe", "--peer", node.address, "--count", "3", "news"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as subscriber:
        try:
            assert subscriber.stderr.readline() == "waiting for messages of news; Ctrl-C ends\n"
            wait_for_mesh_of_one(node)
            published = leanmesh("publish", "--peer", node.address, "news", given="one\ntwo\n\n")
            assert (published.returncode, published.stderr) == (0, "3 messages published to news\n")
            lines = [json.loads(line) for line in subscriber.stdout]
            assert subscriber.wait(TIMEOUT_S) == 0
        finally:
            subscriber.kill()
    assert [base64.b64decode(line["data"]) for line in lines] == [b"one", b"two", b""]
    assert [line["size"] for line in lines] == [3, 3, 0]
    assert {(line["topic"], line["peer"]) for line in lines} == {("news", node.ready["peer_id"])}
    assert {event["topic"] for event in node.events if event["event"] == "graft"} == {"news"}


def wait_for_mesh_of_one(node: Running) -> None:
    """Until the subscriber is in the node's mesh, asked over the API as a script would."""
    while True:
        (topic,) = json.loads(leanmesh("mesh", "--json", "--api", node.api).stdout)["topics"]
        if len(topic["mesh"]) == 1:
            return


def test_raw_publishes_a_whole_file_as_one_message(node: Running, tmp_path: Path):
    file = tmp_path / "data"
    file.write_bytes(b"first\nsecond\n")
    ended = leanmesh("publish", "--peer", node.address, "--raw", "news", str(file))
    assert (ended.returncode, ended.stderr) == (0, "1 message published to news\n")


@pytest.mark.parametrize("flags", [(), ("--raw",)], ids=["lines", "raw"])
def test_ctrl_c_ends_a_publish_that_waits_for_its_input(node: Running, flags: tuple[str, ...]):
    seen = len(connections(node))
    command = [*LEANMESH, "publish", "--peer", node.address, *flags, "news"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            # It reads once it is connected; until then nothing holds a signal back.
            wait_until(lambda: len(connections(node)) > seen)
            process.send_signal(signal.SIGINT)
            assert (process.wait(TIMEOUT_S), process.stderr.read()) == (0, "")
        finally:
            process.kill()


def connections(node: Running) -> list[dict[str, object]]:
    return [event for event in list(node.events) if event["event"] == "connected"]


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask again and again; the test's own limit ends this."""
    while not condition():
        time.sleep(0.02)


def test_raw_refuses_what_has_no_end(node: Running):
    ended = leanmesh("publish", "--peer", node.address, "--raw", "news", "/dev/zero")
    assert ended.returncode == 2
    assert ended.stderr == "error: a message exceeds 1048576 bytes, the most that the network takes\n"


def test_publish_says_what_it_cannot_read(node: Running, tmp_path: Path):
    for file, reason in (("missing", "No such file or directory"), (".", "Is a directory")):
        ended = leanmesh("publish", "--peer", node.address, "news", str(tmp_path / file))
        assert ended.returncode == 2
        assert ended.stderr.endswith(f"cannot be read: {reason}\n")


def test_publishing_to_a_topic_that_nobody_takes_is_an_error(node: Running):
    ended = leanmesh("publish", "--peer", node.address, "--timeout", "0.2", "nobody", given="x\n")
    assert ended.returncode == 2
    assert "no connected peer took nobody within 0.2 s (1 peers are connected)" in ended.stderr


def test_peers_and_mesh_are_tables_for_people(node: Running):
    peers = leanmesh("peers", "--api", node.api)
    assert (peers.returncode, peers.stdout.splitlines()[-1][-6:]) == (0, " peers")
    mesh = leanmesh("mesh", "--api", node.api)
    assert mesh.returncode == 0
    assert "news" in mesh.stdout


def test_asking_where_no_node_runs_says_what_to_start():
    ended = leanmesh("peers", "--api", "http://127.0.0.1:1")
    assert ended.returncode == 1
    assert "no node answers at http://127.0.0.1:1" in ended.stderr
    assert "leanmesh run" in ended.stderr


def test_an_address_in_use_is_said_with_the_reason(node: Running):
    listen = node.address.rpartition("/p2p/")[0]
    ended = leanmesh("run", "--listen", listen, "--metrics", "127.0.0.1:0")
    assert ended.returncode == 2
    assert f"cannot listen on {listen}: Address already in use; another program listens" in ended.stderr
    assert "choose another port" in ended.stderr


@pytest.mark.parametrize("transport", ["tcp", "memory"])
def test_a_devnet_delivers_what_it_publishes(transport: str):
    ended = leanmesh(
        "devnet", "--nodes", "4", "--transport", transport, "--rate", "50", "--duration", "3",
        "--metrics", "127.0.0.1:0", "--log-format", "json", "--seed", "1",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert any(event["event"] == "ready" for event in events)
    done = events[-1]
    assert done["event"] == "done"
    assert done["published"] > 0
    assert done["delivered"] == 3 * done["published"]
    assert done["missing"] == 0
    assert done["peers"] > 0


def test_what_is_not_there_yet_is_said_with_the_way_out():
    for arguments in (("--transport", "quic"), ("--profile", "lean")):
        ended = leanmesh("devnet", *arguments)
        assert ended.returncode == 2
        assert "QUIC" in ended.stderr
