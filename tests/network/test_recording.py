"""Networks that are recorded, and the replay of what they recorded: byte for byte, and bug for bug."""

import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import trio
from leanmesh.errors import LocalError
from leanmesh.gossip.forward import Forward
from leanmesh.gossip.mesh import Mesh
from leanmesh.gossip.outbox import Outbox
from leanmesh.gossip.promises import Promises
from leanmesh.gossip.router import Router
from leanmesh.gossip.state import Topic
from leanmesh.gossip.validation import Verdict
from leanmesh.identity.peer_id import PeerId
from leanmesh.service.node import Node
from leanmesh.service.replay import Disagreement, Unreplayable, replay_file
from leanmesh.transport.errors import CloseReason
from network.recordings import (
    CHOOSY,
    NODES,
    OTHER,
    TOPIC,
    break_at,
    fails,
    files,
    kinds,
    network,
    recording,
)


async def judge(message) -> Verdict:
    await trio.sleep(0.01)
    if message.data.startswith(b"slow"):
        await trio.sleep_forever()
    return {b"b": Verdict.REJECT, b"i": Verdict.IGNORE}.get(message.data[:1], Verdict.ACCEPT)


def judge_in_thread(message) -> bool:
    time.sleep(0.005)
    return not message.data.startswith(b"b")


async def live(node: Node) -> None:
    """All that can happen to a network."""
    node.add_validator(TOPIC, judge, network_id=1)
    node.add_validator(TOPIC, judge_in_thread, in_thread=True, network_id=3)
    for number in range(30):
        kind = (b"good", b"bad", b"ignored", b"slow" if number == 11 else b"fine")[number % 4]
        for publisher in range(NODES):
            data = kind + b" %d of %d" % (number, publisher) + bytes(3000 * (number % 3))
            await node.publish(TOPIC, data, network_id=publisher)
        await trio.sleep(0.02)
        if number == 10:
            async with node.subscribe(OTHER, network_id=0), node.subscribe(OTHER, network_id=1):
                node.add_validator(OTHER, judge_in_thread, network_id=0)
                await trio.sleep(0.3)
                await node.publish(OTHER, b"rain", network_id=1)
                await trio.sleep(0.1)
            async with node.subscribe(OTHER, network_id=0):
                # The validator is still there, and judges what comes now.
                await trio.sleep(0.2)
                await node.publish(OTHER, b"snow", network_id=1)
                await trio.sleep(0.1)
        if number == 15:
            await node.stop_network(4)
            await node.start_network(network(4))
            await node.connect(node.network(3).listen_addresses[0], network_id=4)
            await node.wait_for_mesh(TOPIC, 1, 10, 4)
        if number == 20:
            node.network(1).accept_all(TOPIC)
    with pytest.raises(LocalError):
        # Its id is a hash of what is known already.
        await node.publish(TOPIC, b"good 0 of 3", network_id=3)
    await node.connect(node.network(3).listen_addresses[0], network_id=0)
    await trio.sleep(0.7)


def replayed_elsewhere(path: Path, hash_seed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leanmesh", "replay", str(path)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        check=False,
        capture_output=True,
        text=True,
    )


async def test_a_mesh_is_replayed_byte_for_byte_whatever_the_hash_seed(tmp_path: Path):
    async with recording(tmp_path, gossip=CHOOSY) as node:
        await live(node)
        await node.stop()
        await node.refresh_metrics()
        lines = node.metric("leanmesh_record_lines_total", "written")
        lost = [
            node.metric("leanmesh_record_lines_total", each) for each in ("queue_full", "file_full", "failed")
        ]

    paths = [path for number in range(NODES) for path in files(tmp_path, number)]
    assert len(paths) == NODES + 1
    assert [lines, *lost] == [sum(path.read_bytes().count(b"\n") for path in paths), 0, 0, 0]
    seen = Counter()
    for path in paths:
        assert path.stat().st_mode & 0o777 == 0o600
        replayed = replay_file(path)
        seen += kinds(path)
        assert replayed.events == sum(kinds(path).values()) - sum(
            kinds(path)[effect] for effect in ("signature", "drained", "refused")
        )
        assert replayed.last is not None
        assert (replayed.last.event.what, replayed.last.error, replayed.end) == ("close", None, "")
        assert min(replayed.frames, replayed.size_bytes) > 0
    # Whatever there is was in it.
    assert set(seen) == {
        *("add_peer", "remove_peer", "frame", "verdict", "publish", "signature", "subscribe", "unsubscribe"),
        *("set_validated", "heartbeat", "drain", "drained", "close", "refused"),
    }
    for path, hash_seed in product((paths[1], paths[3]), ("1", "2")):
        again = replayed_elsewhere(path, hash_seed)
        assert (again.returncode, again.stderr) == (0, "")
        assert again.stdout.splitlines()[-1].startswith("the replay agrees: ")


async def test_a_recording_that_was_changed_does_not_agree(tmp_path: Path):
    async with recording(tmp_path, 2) as node:
        for number in range(5):
            await node.publish(TOPIC, b"%d" % number)
        await trio.sleep(0.3)
    path = files(tmp_path)[0]
    text = path.read_text()
    head, *lines = text.splitlines()
    drained = next(index for index, line in enumerate(lines) if '"drained"' in line)
    publish = next(index for index, line in enumerate(lines) if '"publish"' in line)

    def refused(changed: list[str], *, head: str = head) -> str:
        path.write_text("\n".join([head, *changed]) + "\n")
        with pytest.raises((Disagreement, Unreplayable)) as refusal:
            replay_file(path)
        return str(refusal.value)

    # A bit of what went out, an event that is gone, another seed, another setting.
    forged = [*lines]
    forged[drained] = forged[drained].replace('"]', '0"]')
    assert f"(line {drained + 1})" in refused(forged)
    assert "the replay differs at event" in refused(lines[:publish] + lines[publish + 1 :])
    assert "the replay differs at event" in refused(lines[1:])
    assert "here: " in refused(lines[:drained] + lines[drained + 1 :])
    other = json.dumps({**json.loads(head), "gossip": {**json.loads(head)["gossip"], "prune_backoff_s": 7.0}})
    path.write_text("\n".join([other, *lines]) + "\n")
    replay_file(path)
    # Nobody was pruned; a heartbeat that advertises nothing is seen.
    quiet = {**json.loads(head)["gossip"], "history_gossip": 1, "idontwant_threshold_bytes": 0}
    assert "differs" in refused(lines, head=json.dumps({**json.loads(head), "gossip": quiet}))
    # Damage.
    assert f"line {publish + 2} is damaged" in refused(
        [*lines[:publish], lines[publish][:20], *lines[publish + 1 :]]
    )
    assert "its first line is not that of a recording" in refused(lines, head=lines[0])
    assert "its first line is damaged: KeyError: 'gossip'" in refused(lines, head='{"leanmesh_record": 1}')
    assert "it has the format 2; this version reads 1" in refused(lines, head='{"leanmesh_record": 2}')
    newer = json.dumps({**json.loads(head), "leanmesh_version": "99.0"})
    assert "made by leanmesh 99.0 under Python" in refused(forged, head=newer)
    path.write_bytes(text.encode().replace(b'"publish"', b'"publi\xff"'))
    with pytest.raises(Unreplayable, match=f"line {publish + 2} is damaged: it has bytes that no trace has"):
        replay_file(path)
    path.write_bytes(b"")
    with pytest.raises(Unreplayable, match="its first line is not that of a recording"):
        replay_file(path)

    # Cut anywhere, as by a kill, it is good up to there.
    for length in range(len(head) + 1, len(text), 97):
        path.write_text(text[:length])
        replayed = replay_file(path)
        is_cut = text[length - 1] != "\n"
        assert ("cut off when its writer was killed" in replayed.end) is is_cut


async def test_a_router_that_breaks_says_how_to_repeat_it_and_does_so_again_in_the_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    break_at(monkeypatch, b"bad")
    caplog.set_level(logging.INFO, logger="leanmesh.events")
    folder = tmp_path / "a folder"
    async with recording(folder, 2) as node:
        sender = node.network(1).key.peer_id
        node.add_validator(TOPIC, judge, network_id=0)
        await node.publish(TOPIC, b"good", network_id=1)
        await trio.sleep(0.2)
        with caplog.at_level(logging.ERROR):
            await fails(node, 0, b"bad")
        await node.connect(node.network(0).listen_addresses[0], network_id=1)
        await node.wait_for_mesh(TOPIC, 1, 10, 1)
        held = node.network(0).live.gossip.router
        await node.publish(TOPIC, b"judged", network_id=1)
        await trio.sleep(0.3)
    assert "too slow" not in caplog.text
    held.heartbeat(1e9)
    assert "too slow" not in caplog.text
    broken, after = files(folder)
    (message,) = [each.message for each in caplog.records if each.message.startswith("network 0 failed")]
    assert message.startswith("network 0 failed: ZeroDivisionError: a bug of ours in <object object at 0x")
    assert message.endswith(
        ", raised in a pass of its router; to repeat it: leanmesh replay "
        f"'{broken}'; it is started again in 0.05 s"
    )

    # The event that did it is the last but what became of it.
    event, raised = map(json.loads, broken.read_text().splitlines()[-2:])
    assert (event[1], event[2]) == ("frame", sender.hex())
    assert b"bad" in bytes.fromhex(event[3])
    assert raised[1:3] == ["raised", "ZeroDivisionError"]
    replayed = replay_file(broken)
    assert replayed.last is not None
    assert isinstance(replayed.last.error, ZeroDivisionError)
    *_, trace, event_text, agreement = replayed.sentences()
    assert "in fail" in trace
    assert event_text.startswith(
        f"event {replayed.events} (line {replayed.last.event.number}) at {event[0]} s: frame of "
        f"{len(event[3]) // 2} bytes from {sender}: raised ZeroDivisionError: a bug of ours"
    )
    assert agreement.startswith("the replay agrees")
    assert replay_file(after).last.event.what == "close"
    assert kinds(after)["verdict"] == 1

    # Killed before it could write what became of the event: nothing says that this is the same bug.
    cut = tmp_path / "cut.record"
    cut.write_bytes(b"".join(broken.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(Disagreement, match="recorded: nothing"):
        replay_file(cut)

    # Once it is mended, the replay says so.
    monkeypatch.undo()
    with pytest.raises(Disagreement, match=r"(?s)raised.*here: +nothing.*the bug is mended here") as mended:
        replay_file(broken)
    assert f"event {replayed.events} " in str(mended.value)
    # And one that was not there when it was recorded is none that agrees.
    break_at(monkeypatch, b"good")
    with pytest.raises(Disagreement, match=r"(?s)in fail.*differs at event .* frame of .*recorded: nothing"):
        replay_file(broken)


def fail_heartbeat(mesh: Mesh, topic: Topic, now_s: float) -> None:
    if topic.name == OTHER:
        raise IndexError("a bug of ours")


def fail_drain(outbox: Outbox, limit_bytes: int) -> list[bytes]:
    waiting = [field for lane in outbox._lanes for field, _ in lane.waiting.values()]
    raise IndexError(f"a bug of ours with {len(waiting)} messages")


def fail_remove_peer(promises: Promises, peer: PeerId) -> None:
    raise IndexError("a bug of ours")


def fail_publish(forward: Forward, *arguments) -> None:
    raise IndexError("a bug of ours")


@pytest.mark.parametrize(
    ("event", "owner", "name", "fail"),
    [
        ("heartbeat", Mesh, "maintain", fail_heartbeat),
        ("drain", Outbox, "_take", fail_drain),
        ("remove_peer", Promises, "forget", fail_remove_peer),
        ("publish", Forward, "publish", fail_publish),
    ],
)
async def test_a_bug_in_any_pass_is_in_the_file_and_in_the_replay(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    event: str,
    owner: type,
    name: str,
    fail,
):
    take = Outbox._take
    if event == "drain":
        # Only messages: greetings have to leave for there to be a mesh.
        def fail(outbox: Outbox, limit_bytes: int) -> list[bytes]:
            return fail_drain(outbox, limit_bytes) if outbox.count else take(outbox, limit_bytes)

    async with recording(tmp_path, 2) as node:
        monkeypatch.setattr(owner, name, fail)
        async with node.subscribe(OTHER):
            if event == "remove_peer":
                node.network(1).live.switch.connections[0].abort(CloseReason.ERROR, "cut")
            if event == "publish":
                with pytest.raises(IndexError):
                    await node.publish(TOPIC, b"x")
            else:
                await node.publish(TOPIC, b"x")
                with trio.fail_after(10):
                    while not node.restarts[0]:
                        await trio.sleep(0.01)
    path = files(tmp_path)[0]
    last = [json.loads(line)[1] for line in path.read_text().splitlines()[-3:] if "signature" not in line]
    assert last[-2:] == [event, "raised"]
    assert f"a bug of the router ends the recording {path}, which leanmesh replay repeats" in caplog.text
    replayed = replay_file(path)
    assert replayed.last is not None
    assert isinstance(replayed.last.error, IndexError)
    monkeypatch.undo()
    with pytest.raises(Disagreement, match="the bug is mended here"):
        replay_file(path)


async def test_without_a_recording_the_log_says_how_to_have_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    break_at(monkeypatch, b"bad")
    async with recording(None, 2) as node:
        assert isinstance(node.network(0).live.gossip.router, Router)
        await fails(node, 0, b"bad")
    assert (
        ", raised in a pass of its router; with --record FOLDER (record.folder) there would be a file to "
        "replay it from; it is started again in 0.05 s"
    ) in caplog.text
