"""The same seed gives the same run, to the byte, and a trace can be played again."""

import json
import os
import random
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import attrs
import pytest
from gossip import scenario
from leanmesh.gossip.message_id import sha256_of_data
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.replay import Replay, ReplayedKey, Step, UnknownEvent
from leanmesh.gossip.router import Router
from leanmesh.gossip.rules import TopicRules
from leanmesh.gossip.signing import SignaturePolicy, Signer, plain_message
from leanmesh.gossip.trace import RecordedKey, Recorder, Tape
from leanmesh.gossip.validation import Verdict
from leanmesh.identity.keys import KeyKind, PrivateKey
from leanmesh.identity.peer_id import PeerId
from simulator.network import Network, Node, peer_id

TESTS = Path(__file__).parent.parent


def traces(seed: int, hash_seed: str) -> bytes:
    run = subprocess.run(
        [sys.executable, "-m", "gossip.scenario", str(seed)],
        cwd=TESTS,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(TESTS)},
        check=True,
        capture_output=True,
    )
    return run.stdout


def test_the_same_seed_gives_the_same_bytes_under_two_hash_seeds():
    first, second = traces(3, "1"), traces(3, "2")
    assert len(first) > 1_000_000
    assert sha256(first).hexdigest() == sha256(second).hexdigest()


def test_another_seed_gives_another_run():
    assert scenario.play(3).nodes[0].trace != scenario.play(4).nodes[0].trace


def twin_of(node: Node, params: GossipParams = scenario.PARAMS) -> Router:
    """The router of a node as it was before its run."""
    return Router(
        node.peer,
        params,
        random.Random(node.seed),
        now_s=node.started_s,
        deliver=lambda *delivery: None,
        rules=lambda topic: scenario.RULES,
    )


def steps(trace: list[str], router: Router) -> list[Step]:
    return list(Replay(router, Tape()).steps(trace))


def test_every_node_of_a_run_can_be_played_again_from_its_trace():
    for node in scenario.play(5).nodes:
        played = steps(node.trace, twin_of(node))
        assert [line for step in played for line in step.here] == node.trace
        assert all(step.agrees and step.error is None for step in played)


def test_a_replay_shows_where_another_router_decides_otherwise():
    node = scenario.play(5).nodes[0]
    silent = attrs.evolve(scenario.PARAMS, gossip_peers=0, gossip_factor=0.0)
    played = steps(node.trace, twin_of(node, silent))
    first = next(step for step in played if not step.agrees)
    assert (first.event.what, first.effects[0].what) == ("drain", "drained")
    assert first.here[0] == first.event.text


GREETING = '[1.0,"add_peer","0024","/meshsub/1.2.0","x/1",true]'


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (['[1.0,"dance","slowly"]'], "line 1: 'dance' with 1 arguments"),
        ([GREETING, '[1.0,"frame","0024"]'], "line 2: 'frame' with 1 arguments"),
        ([GREETING, '[1.0,"frame","0024","xy"]'], "line 2 is damaged: frame: non-hexadecimal"),
        ([GREETING, '[1.0,"heartb'], "line 2 is damaged: '\\[1.0,\"heartb' is no JSON"),
        (["{}"], "line 1 is no event of a trace: '{}'"),
        (['["soon","heartbeat"]'], "line 1 is no event of a trace"),
        (['[1.0,"drained",0,0,""]'], "line 1: 'drained' has no event before it"),
        (['[1.0,"drain","0024",1000]'], "line 1: the peer 0024 is not connected here"),
        (['[1.0,"verdict","aa","accept"]'], "line 1: no message aa waits for a verdict here"),
        ([GREETING, '[1.0,"verdict","aa","perhaps"]'], "no message aa waits"),
    ],
)
def test_a_line_that_cannot_be_is_refused_with_its_number(lines: list[str], problem: str):
    node = scenario.play(5).nodes[0]
    with pytest.raises(UnknownEvent, match=problem):
        steps(lines, twin_of(node))


def raises_at(router: Router, data: bytes) -> None:
    """Let the router have a bug: it cannot stand one message."""
    published = router.publish

    def publish(topic: str, content: bytes, now_s: float) -> object:
        if content == data:
            raise ZeroDivisionError(f"division by zero in {object()}")
        return published(topic, content, now_s)

    router.publish = publish  # type: ignore[method-assign]


def test_the_event_that_a_router_breaks_at_is_the_last_of_its_trace_and_breaks_its_replay():
    network = Network(1, is_traced=True)
    node, other = network.add_node(), network.add_node()
    network.connect(node, other)
    network.subscribe_all("news")
    network.run(2)
    raises_at(node.router, b"bad")
    network.publish(node, "news", b"good")
    with pytest.raises(ZeroDivisionError):
        network.publish(node, "news", b"bad")
    network.publish(node, "news", b"after")
    last = node.trace[-2:]
    assert [line.split(",", 1)[1] for line in last] == [
        '"publish","news","626164"]',
        '"raised","ZeroDivisionError","division by zero in <object object at 0x>"]',
    ]

    twin = Router(
        node.peer, GossipParams(), random.Random(node.seed), now_s=node.started_s, deliver=lambda *_: None
    )
    raises_at(twin, b"bad")
    played = steps(node.trace, twin)
    assert all(step.agrees for step in played)
    assert [str(type(step.error)) for step in played if step.error] == ["<class 'ZeroDivisionError'>"]
    assert played[-1].event.number == len(node.trace) - 1


def test_what_was_refused_is_refused_again_and_is_no_bug():
    network = Network(1, is_traced=True)
    node, other = network.add_node(), network.add_node()
    network.connect(node, other)
    network.subscribe_all("news")
    network.send_raw(other, node, b"\xff\xff\xff")
    network.run(1)
    assert [line for line in node.trace if '"refused"' in line] == ['[0.02,"refused","RpcRefused"]']
    twin = Router(
        node.peer, GossipParams(), random.Random(node.seed), now_s=node.started_s, deliver=lambda *_: None
    )
    assert all(step.agrees and step.error is None for step in steps(node.trace, twin))


def test_a_tape_that_takes_no_more_is_given_no_more():
    given: list[str] = []

    def write(line: str) -> bool:
        given.append(line)
        return len(given) < 2

    tape = Tape(write)
    for at_s in range(4):
        tape.event(float(at_s), "heartbeat")
    assert tape.is_over
    assert given == ['[0.0,"heartbeat"]', '[1.0,"heartbeat"]']


def test_own_messages_are_signed_again_without_the_key():
    tape = Tape((trace := list[str]()).append)
    key = PrivateKey.generate(KeyKind.SECP256K1)
    router = signing_router(RecordedKey(key, tape))
    recorder = Recorder(router, tape)
    recorder.add_peer(PEER, "/meshsub/1.2.0", "x/1", is_outbound=True, now_s=1.0)
    recorder.on_frame(PEER, bytes.fromhex("0a0808011204") + b"news", 1.5)
    recorder.publish("news", b"hello", 2.0)
    frames = recorder.drain(PEER, 1000)
    assert any(b"hello" in frame for frame in frames)
    sent = b"".join(frames)
    assert json.loads(trace[-1]) == [2.0, "drained", len(frames), len(sent), sha256(sent).hexdigest()]
    assert [json.loads(line)[1] for line in trace] == [
        "add_peer",
        "frame",
        "publish",
        "signature",
        "drain",
        "drained",
    ]

    def play(lines: list[str]) -> list[Step]:
        again, replayed = Tape(), ReplayedKey(key.public_key)
        return list(Replay(signing_router(RecordedKey(replayed, again)), again, replayed).steps(lines))

    assert all(step.agrees for step in play(trace))
    # Cut between the message and its signature: the event is there, what came of it is not.
    assert play(trace[:3])[-1].here[1:] == ['[2.0,"refused","UnknownEvent"]']
    forged = [line.replace('"signature","30', '"signature","31') for line in trace]
    assert not play(forged)[2].agrees


def test_a_verdict_that_comes_too_late_is_not_in_the_trace():
    trace: list[str] = []
    rules = TopicRules(message_id=sha256_of_data, is_validated=True)
    router = Router(
        PEER, GossipParams(), random.Random(1), now_s=0.0, deliver=lambda *_: None, rules=lambda topic: rules
    )
    recorder = Recorder(router, Tape(trace.append))
    recorder.subscribe("news", 0.0)
    recorder.add_peer(peer_id(1), "/meshsub/1.2.0", "x/1", is_outbound=True, now_s=1.0)
    recorder.on_frame(peer_id(1), plain_message("news", b"hello").field, 1.5)
    (ticket,) = recorder.take_tickets()
    recorder.on_verdict(ticket, Verdict.ACCEPT, 2.0)
    recorder.on_verdict(ticket, Verdict.REJECT, 3.0)
    assert json.loads(trace[-1])[1:] == ["verdict", ticket.message_id.hex(), "accept"]


PEER = PeerId(b"\x00\x24" + bytes(36))


def signing_router(key: RecordedKey) -> Router:
    return Router(
        key.peer_id,
        GossipParams(),
        random.Random(1),
        now_s=0.0,
        deliver=lambda *_: None,
        policy=SignaturePolicy.STRICT_SIGN,
        signer=Signer(key),
        first_seqno=7,
    )
