"""`leanmesh run --record` and `leanmesh replay` as processes: stopped, killed, and with workers."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SETTINGS = """
[web]
listen = "127.0.0.1:0"
[[network]]
listen = ["/ip4/127.0.0.1/tcp/0"]
topics = ["news"]
[[network]]
network_id = 1
listen = ["/ip4/127.0.0.1/tcp/0"]
"""


@contextmanager
def running(folder: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], dict]]:
    config = folder / "node.toml"
    config.write_text(SETTINGS)
    flags = ("--config", str(config), "--record", str(folder / "records"), "--log-format", "json", *flags)
    command = [sys.executable, "-m", "leanmesh", "run", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def leanmesh(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "leanmesh", *arguments]
    return subprocess.run(command, input=text, check=False, capture_output=True, text=True, timeout=30)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "records").iterdir())


@pytest.mark.parametrize("flags", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_a_node_that_was_stopped_is_replayed_to_its_end(tmp_path: Path, flags: tuple[str, ...]):
    with running(tmp_path, *flags) as (process, ready):
        published = leanmesh("publish", "--peer", ready["listen"][0], "news", text="one\ntwo\n")
        assert published.returncode == 0, published.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert [path.name.split("-")[1] for path in files(tmp_path)] == ["0", "1"]
    busy = files(tmp_path)[0]
    frames = [json.loads(line) for line in busy.read_text().splitlines() if '"frame"' in line]
    assert any(b"two" in bytes.fromhex(frame[3]) for frame in frames)
    for path in files(tmp_path):
        replayed = leanmesh("replay", str(path))
        assert (replayed.returncode, replayed.stderr) == (0, "")
        origin, agreement = replayed.stdout.splitlines()
        assert origin.startswith(f"network {path.name.split('-')[1]}, 12D3Koo")
        assert agreement.startswith("the replay agrees: ")


def test_a_node_that_was_killed_is_replayed_as_far_as_its_file_goes(tmp_path: Path):
    with running(tmp_path) as (process, ready):
        published = leanmesh("publish", "--peer", ready["listen"][0], "news", text="one\n")
        assert published.returncode == 0, published.stderr
        process.kill()
    path = files(tmp_path)[0]
    replayed = leanmesh("replay", str(path))
    assert (replayed.returncode, replayed.stderr) == (0, "")
    # In the midst of its life, or even of a line.
    assert "was killed" in replayed.stdout

    path.write_bytes(path.read_bytes()[:-5])
    replayed = leanmesh("replay", str(path))
    assert replayed.returncode == 0
    assert "was cut off when its writer was killed, and is left out" in replayed.stdout


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path):
    path = tmp_path / "x.record"
    path.write_text('{"leanmesh_record": 1}\n')
    refused = leanmesh("replay", str(path))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"Error: {path}: its first line is damaged: KeyError: 'gossip'\n"
    assert leanmesh("replay", str(tmp_path / "none")).returncode == 2


def test_a_folder_that_cannot_be_is_wrong_usage(tmp_path: Path):
    path = tmp_path / "file"
    path.touch()
    refused = leanmesh("run", "--record", str(path), "--metrics", "127.0.0.1:0")
    assert refused.returncode == 2
    assert refused.stderr == f"error: nothing can be recorded in {path}: File exists\n"
