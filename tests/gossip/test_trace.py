"""The same seed gives the same run, to the byte, and a trace can be played again."""

import os
import random
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import attrs
import pytest
from gossip import scenario
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.router import Router
from leanmesh.gossip.trace import UnknownEvent, replay
from simulator.network import Node

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


def test_every_node_of_a_run_can_be_played_again_from_its_trace():
    for node in scenario.play(5).nodes:
        assert list(replay(node.trace, twin_of(node))) == node.trace


def test_a_replay_shows_where_another_router_decides_otherwise():
    node = scenario.play(5).nodes[0]
    silent = attrs.evolve(scenario.PARAMS, gossip_peers=0, gossip_factor=0.0)
    assert list(replay(node.trace, twin_of(node, silent))) != node.trace


def test_a_line_that_is_no_event_is_refused():
    node = scenario.play(5).nodes[0]
    with pytest.raises(UnknownEvent, match="'dance' with 1 arguments"):
        list(replay(['[1.0,"dance","slowly"]'], twin_of(node)))
