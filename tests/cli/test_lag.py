"""`leanmesh lag` and the links of `leanmesh mesh`: what a person reads of what a node answers."""

import json

import pytest
from cli.answers import ask, rows

WINNER = "12D3KooWJLjYVS4S18wdWqNxnQwv9JaaoKfLqgg78Qz5WcQravGr"
LOSER = "12D3KooWRLjaENhZnro6ofWP4AzjWRVbrZmYpj9oZMRCXuB22NgS"
NOTHING = {"count": 0, "mean_s": None, "median_s": None, "p99_s": None}
LATE = {"count": 40, "mean_s": 0.003, "median_s": 0.0025, "p99_s": 0.01}
NETWORK = {
    "network_id": 3,
    "sample_rate": 4,
    "ttl_s": 1.0,
    "all": LATE,
    "other": 0,
    "expired": 2,
    "unsampled": 120,
    "peers": [
        {"peer": WINNER, "firsts": 40, "share": 1.0, "others_behind": LATE, "late": NOTHING},
        {"peer": LOSER, "firsts": 0, "share": 0.0, "others_behind": NOTHING, "late": LATE},
    ],
    "never_first": [LOSER],
}
PAIR = {"network_id": 3, "winner": WINNER, "loser": LOSER, **LATE}
LINK = {
    "network_id": 3,
    "peer": WINNER,
    "topic": "news",
    "grafted_by": "us",
    "reason": "random",
    "began_unix_s": 1.7e9,
    "duration_s": 61.0,
    "ended": "excess",
    "firsts": 40,
    "firsts_bytes": 4000,
}


def test_lag_shows_who_is_first_how_late_the_others_are_and_who_never_wins():
    result = ask({"/api/lag": {"networks": [NETWORK]}}, "lag")
    assert rows(result) == [
        ["12D3..QravGr", "40", "100.0 %", "40", "2.50", "0", "-", "-"],
        ["12D3..B22NgS", "0", "0.0 %", "0", "-", "40", "2.50", "10.00"],
    ]
    assert " ".join(result.output.split()).endswith(
        "network 3: 40 copies came late, by 2.50 ms in the median; 2 had nothing to be compared with; one "
        "message of 4 is looked at, 120 copies were not never first: 12D3..B22NgS"
    )


def test_lag_shows_pairs_when_asked_the_busiest_first():
    busier = {**PAIR, "winner": LOSER, "loser": WINNER, "count": 41}
    assert rows(ask({"/api/lag/pairs": {"pairs": [PAIR, busier]}}, "lag", "--pairs")) == [
        ["3", "12D3..B22NgS", "12D3..QravGr", "41", "3.00", "2.50", "10.00"],
        ["3", "12D3..QravGr", "12D3..B22NgS", "40", "3.00", "2.50", "10.00"],
    ]


@pytest.mark.parametrize("flags", [(), ("--pairs",)], ids=["peers", "pairs"])
def test_lag_says_how_to_turn_it_on_where_it_is_off(flags: tuple[str, ...]):
    result = ask({"/api/lag": {"networks": []}, "/api/lag/pairs": {"pairs": []}}, "lag", *flags)
    assert result.exit_code == 0
    assert "does not track the lag of duplicates; set is_on = true under [lag]" in result.output


def test_lag_prints_the_answer_as_it_is_for_programs():
    answer = {"generation": 7, "networks": [NETWORK]}
    assert json.loads(ask({"/api/lag": answer}, "lag", "--json").output) == answer


def test_mesh_shows_the_last_links():
    pages = {"/api/mesh": {"topics": [], "links": [LINK, {**LINK, "peer": LOSER, "ended": None}]}}
    expected = [
        ["3", "news", "12D3..QravGr", "us", "random", "61 s", "excess", "40"],
        ["3", "news", "12D3..B22NgS", "us", "random", "61 s", "-", "40"],
    ]
    result = ask(pages, "mesh")
    assert rows(result) == expected
    assert "2 of the 2 links that are and were last" in result.output
    assert rows(ask(pages, "mesh", "--links", "1")) == expected[1:]
    assert rows(ask(pages, "mesh", "--links", "0")) == []
