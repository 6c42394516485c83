"""`leanmesh devnet` until somebody stops it: what it says at its end, and to whom."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

NODES = 4
TIMEOUT_S = 60
FORMS = {"one process": (), "in memory": ("--transport", "memory"), "workers": ("--workers", "2")}


@contextmanager
def devnet(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict]]:
    """A devnet and its ready line."""
    command = [
        *(sys.executable, "-m", "leanmesh", "devnet", "--nodes", str(NODES), "--metrics", "127.0.0.1:0"),
        *("--log-format", "json", *options),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            lines = map(json.loads, process.stdout)
            yield process, next(line for line in lines if line["event"] == "ready")
        finally:
            process.kill()


def published(ready: dict) -> float:
    with urllib.request.urlopen(ready["metrics"], timeout=TIMEOUT_S) as answer:
        (family,) = [
            family
            for family in parse_text(answer.read().decode())
            if family.name == "gossipsub_topic_msg_published"
        ]
    return sum(sample.value for sample in family.samples)


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_has_the_totals_printed_as_a_duration_does(options: tuple[str, ...], number: int):
    with devnet("--rate", "50", *options) as (process, ready):
        while not (seen := published(ready)):
            time.sleep(0.05)
        process.send_signal(number)
        output, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    (done,) = [line for line in map(json.loads, output.splitlines()) if line["event"] == "done"]
    assert done["published"] >= seen
    if "--workers" in options:
        assert done.keys() == {"event", "published", "delivered", "duplicates", "mesh_peers", "restarts"}
    else:
        assert done["delivered"] == (NODES - 1) * done["published"]
        assert done["missing"] == 0


def test_a_second_ctrl_c_does_not_wait_for_what_the_totals_are_followed_by():
    with devnet("--rate", "0", "--workers", "2") as (process, ready):
        with urllib.request.urlopen(ready["metrics"].replace("/metrics", "/api/workers")) as answer:
            pids = [worker["pid"] for worker in json.load(answer)["workers"]]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        next(line for line in map(json.loads, process.stdout) if line["event"] == "done")
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 130


def test_a_reader_that_goes_away_is_missed_in_one_line_not_in_a_traceback_for_each():
    with devnet("--rate", "0") as (process, _):
        process.stdout.close()
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
        # It could not say what it was to say.
        assert process.wait(TIMEOUT_S) == 1
    assert errors.splitlines() == [
        f"starting {NODES} peers",
        "nobody reads the log any more; its lines are dropped from here on",
    ]
