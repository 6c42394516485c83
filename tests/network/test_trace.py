"""The trace of whole nodes: what is in the file is what the node counted."""

import json
from collections import Counter
from pathlib import Path

import pytest
import trio
from leanmesh.errors import LocalError
from leanmesh.metrics.sample import Series
from leanmesh.run import open_node
from leanmesh.service.node import Node
from leanmesh.service.params import NetworkParams, RecordParams, TraceParams
from leanmesh.settings import Settings
from leanmesh.transport.memory import MemoryNetwork
from network.nodes import cancel_after

TOPIC = "news"
NODES = 4


def networks() -> tuple[NetworkParams, ...]:
    return tuple(
        NetworkParams(network_id=number, listen=("/ip4/0.0.0.0/tcp/9000",), topics=(TOPIC,))
        for number in range(NODES)
    )


def counts(node: Node, name: str) -> dict[tuple[str, ...], object]:
    series: tuple[Series, ...] = node.snapshotter.current.family(name).series
    return {each.labels: each.value for each in series}


async def until_all_is_accepted(node: Node) -> None:
    with trio.fail_after(20):
        while True:
            await node.refresh_metrics()
            accepted = counts(node, "gossipsub_accepted_messages_total")
            if [accepted[str(number), TOPIC] for number in range(NODES)] == [30] * NODES:
                return
            await trio.sleep(0.01)


async def test_the_file_has_every_event_that_was_counted(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    memory = MemoryNetwork()
    hosts = {number: memory.host(f"10.0.0.{number + 1}") for number in range(NODES)}
    settings = Settings(network=networks(), trace=TraceParams(file=str(path)))
    async with open_node(settings, hosts=hosts, seed=1) as node:
        peers = {str(network.key.peer_id): number for number, network in node.networks.items()}
        for number in range(1, NODES):
            for other in range(number):
                await node.connect(node.network(other).listen_addresses[0], network_id=number)
        for number in range(NODES):
            await node.wait_for_mesh(TOPIC, NODES - 1, 10, number)
        for number in range(40):
            await node.publish(TOPIC, b"%d" % number * 1000, network_id=number % NODES)
        await until_all_is_accepted(node)
        await node.stop()
        await node.refresh_metrics()
        accepted = counts(node, "gossipsub_accepted_messages_total")
        duplicates = counts(node, "gossipsub_duplicate_messages_total")
        declined = counts(node, "gossipsub_idontwant_ids_total")
        grafts = counts(node, "gossipsub_mesh_peer_inclusion_events_total")

    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    seen = Counter((peers[line["PeerID"]], line["Type"]) for line in lines)
    for number in range(NODES):
        label = str(number)
        assert seen[number, "DELIVER_MESSAGE"] == accepted[label, TOPIC] == 30
        assert seen[number, "DUPLICATE_MESSAGE"] == duplicates[label, TOPIC]
        assert seen[number, "PUBLISH_MESSAGE"] == 10
        assert seen[number, "CONNECTED"] == seen[number, "DISCONNECTED"] == NODES - 1
        assert seen[number, "ADD_PEER"] == seen[number, "REMOVE_PEER"] == NODES - 1
        assert seen[number, "GRAFT"] == sum(grafts[key] for key in grafts if key[0] == label)
        assert seen[number, "GRAFT"] == seen[number, "PRUNE"]
        rpcs = [line for line in lines if peers[line["PeerID"]] == number and line["Type"] == "SEND_RPC"]
        said = sum(
            len(each["MsgIDs"]) for line in rpcs for each in line["Data"]["Control"].get("Idontwant", ())
        )
        assert said == declined[label, "outbound"] > 0
    assert {line["Data"]["Reason"] for line in lines if line["Type"] == "PRUNE"} == {"disconnected"}


async def test_a_trace_that_cannot_be_written_stops_the_start(tmp_path: Path):
    settings = Settings(network=networks()[:1], trace=TraceParams(file=str(tmp_path / "no" / "folder")))
    with pytest.raises(LocalError, match=r"the trace cannot be written to .*/no/folder: No such file"):
        async with open_node(settings):
            pass


def open_files(path: Path) -> int:
    return sum(link.resolve() == path for link in Path("/proc/self/fd").iterdir())


async def test_a_node_that_cannot_record_leaves_no_trace_open(tmp_path: Path):
    path, no_folder = tmp_path / "trace.jsonl", tmp_path / "file"
    no_folder.touch()
    settings = Settings(
        network=networks()[:1], trace=TraceParams(file=str(path)), record=RecordParams(folder=str(no_folder))
    )
    with pytest.raises(LocalError, match="nothing can be recorded"):
        async with open_node(settings):
            pass
    assert open_files(path) == 0


@pytest.mark.parametrize("turns", range(24))
async def test_a_start_that_is_cancelled_ends_and_leaves_no_trace_open(tmp_path: Path, turns: int):
    path = tmp_path / "trace.jsonl"
    hosts = {0: MemoryNetwork().host("10.0.0.1")}
    settings = Settings(network=networks()[:1], trace=TraceParams(file=str(path)))

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_after, turns, scope)
            async with open_node(settings, hosts=hosts):
                await trio.sleep_forever()
    assert scope.cancelled_caught
    assert open_files(path) == 0
