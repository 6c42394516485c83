"""The harness of the benchmarks: verdicts, table and file."""

import importlib.util
import json
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("bench_harness", Path(__file__).with_name("harness.py"))
harness = importlib.util.module_from_spec(spec)
spec.loader.exec_module(harness)


def test_an_aim_is_met_on_its_side_and_a_note_always_holds():
    assert harness.at_least("a", 50.0, "times", 50).holds
    assert not harness.at_least("a", 49.9, "times", 50).holds
    assert harness.at_most("a", 1.0, "ms", 1).holds
    assert not harness.at_most("a", 1.1, "ms", 1).holds
    assert harness.note("a", 7.0, "ms").holds


def test_works_take_turns_and_ratios_are_taken_turn_by_turn():
    calls: list[str] = []
    ticks = iter(range(100))
    seconds = harness.interleaved(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, clock=lambda: next(ticks)
    )

    assert calls == ["a", "b"] * 4  # One turn each to warm up.
    assert seconds == {"a": [1, 1, 1], "b": [1, 1, 1]}
    assert harness.ratio({"slow": [10, 99, 30], "fast": [1, 3, 2]}, "slow", "fast") == 15


def test_a_percentile_is_one_of_the_values():
    assert harness.percentile(list(range(100)), 0.99) == 99
    assert harness.percentile([3.0, 1.0, 2.0], 0.5) == 2.0


def test_the_table_says_which_aims_are_missed():
    table = harness.table(
        "metrics", [harness.at_most("late_ms", 2.5, "ms", 1, "idle"), harness.note("size", 7, "bytes")]
    )
    assert table.splitlines()[1:] == [
        "metrics.late_ms  2.5 ms   <= 1  MISSED  idle",
        "metrics.size     7 bytes",
    ]


def test_results_of_several_benchmarks_gather_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = tmp_path / "bench.json"
    monkeypatch.setenv(harness.RESULTS_VARIABLE, str(target))

    harness.write_json("one", [harness.at_least("a", 60.0, "times", 50, "theirs")])
    harness.write_json("two", [harness.note("b", 1.0, "ms")])

    assert json.loads(target.read_text()) == {
        "one.a": {"value": 60.0, "unit": "times", "aim": 50, "holds": True, "against": "theirs"},
        "two.b": {"value": 1.0, "unit": "ms", "aim": None, "holds": True, "against": ""},
    }
