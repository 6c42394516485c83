"""The command line as a user meets it: real processes, exit codes, one line for each mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from leanmesh.cli.main import COMMANDS, root


def leanmesh(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leanmesh", *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_can_be_loaded_and_helps(name: str):
    command = root.get_command(None, name)
    assert (command.name, bool(command.help)) == (name, True)


def test_an_unknown_command_is_wrong_usage():
    done = leanmesh("rum")
    assert done.returncode == 2
    assert "No such command 'rum'" in done.stderr


def test_the_command_is_also_a_module_with_a_version():
    done = leanmesh("--version")
    assert (done.returncode, done.stdout.startswith("leanmesh, version ")) == (0, True)


def test_check_config_shows_what_is_in_effect(tmp_path: Path):
    path = tmp_path / "node.toml"
    path.write_text("[web]\nlisten = '127.0.0.1:1'\n")
    done = leanmesh("check-config", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert f'listen = "127.0.0.1:1"  # {path}\n' in done.stdout


def test_check_config_says_what_is_wrong_and_exits_with_2(tmp_path: Path):
    path = tmp_path / "node.toml"
    path.write_text("[web]\nlisten = '127.0.0.1'\nlinger = 1\n")
    done = leanmesh("check-config", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {path}: web.linger: no such setting in [web]; did you mean listen?\n"
        f"{path}: web.listen = \"127.0.0.1\": '127.0.0.1' is no address to listen on; "
        "write an IP address and a port, such as 127.0.0.1:9470 or [::1]:0\n"
    )


def test_run_refuses_an_open_address_before_it_listens():
    done = leanmesh("run", "--metrics", "0.0.0.0:0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith('error: --metrics: web.listen = "0.0.0.0:0": ')
    assert "allow_plain_metrics = true" in done.stderr


def test_a_command_loads_only_what_it_needs():
    script = (
        "import sys\n"
        "from leanmesh.cli.main import root\n"
        "root.get_command(None, 'check-config')\n"
        "optional = ('hypercorn', 'rich', 'nats', 'trio_asyncio', 'aioquic')\n"
        "print([name for name in optional if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("flag", ["--rate", "--duration"])
def test_a_number_that_is_not_finite_is_wrong_usage(flag: str, number: str):
    done = leanmesh("devnet", flag, number)
    assert (done.returncode, done.stdout) == (2, "")
    assert flag in done.stderr


def in_shell(redirected: str) -> subprocess.CompletedProcess[str]:
    command = f"{sys.executable} -m leanmesh {redirected}"
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)


def test_a_full_disk_is_said_in_one_line(tmp_path: Path):
    (tmp_path / "node.toml").touch()
    done = in_shell(f"check-config {tmp_path / 'node.toml'} > /dev/full")
    assert (done.returncode, done.stderr) == (1, "error: cannot write: No space left on device\n")


def test_output_that_was_closed_goes_nowhere(tmp_path: Path):
    (tmp_path / "node.toml").touch()
    done = in_shell(f"check-config {tmp_path / 'node.toml'} >&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_input_that_was_closed_is_said():
    done = in_shell("publish --peer /ip4/127.0.0.1/tcp/1 news <&-")
    assert (done.returncode, done.stderr) == (2, "error: standard input is closed; name a FILE to publish\n")
