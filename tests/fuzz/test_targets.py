"""Every fuzz target on its honest inputs, on what once broke it, and on some mutations of both."""

from pathlib import Path

import attrs
import pytest
from fuzz.engine import Failure, fuzz
from fuzz.registry import FuzzTarget, cut, load_target, target_names
from leanmesh.errors import LocalError, RemoteError

MUTATIONS = 500


@pytest.mark.parametrize("name", target_names())
def test_honest_inputs_are_taken(name: str):
    target = load_target(name)
    assert len(target.seeds) > 0
    for seed in target.seeds:
        assert target.try_input(seed), f"refused: {seed.hex()}"


@pytest.mark.parametrize("name", target_names())
def test_what_once_broke_a_target_breaks_it_no_more(name: str):
    target = load_target(name)
    for data in target.found.values():
        target.try_input(data)


@pytest.mark.parametrize("name", target_names())
def test_mutations_are_taken_or_refused(name: str):
    fuzz(load_target(name), seed=1, runs=MUTATIONS)


def test_every_found_input_belongs_to_a_target():
    folders = {path.name for path in (Path(__file__).parent / "found").glob("*")}
    assert folders <= set(target_names())


def breakable(data: bytes) -> None:
    if data.startswith(b"ab"):
        raise LocalError("a bug")
    if data.startswith(b"a"):
        raise RemoteError("refused")


BREAKABLE = FuzzTarget("breakable", [b"xyz"], {}, breakable)


def test_the_engine_finds_what_is_not_a_remote_error():
    with pytest.raises(Failure) as caught:
        fuzz(attrs.evolve(BREAKABLE, seeds=[b"ac"]), seed=1, runs=100_000)
    assert caught.value.data.startswith(b"ab")
    assert str(caught.value.cause) == "a bug"
    assert not BREAKABLE.try_input(b"a")
    assert BREAKABLE.try_input(b"b")


def test_an_input_says_how_it_is_cut():
    assert cut(b"") == []
    assert cut(b"\x02abcde") == [b"ab", b"cd", b"e"]
    assert cut(b"\x00abcde") == [b"abcde"]
