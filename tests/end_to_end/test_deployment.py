"""The unit for systemd and the Containerfile: what they name is there, and what they start starts."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from leanmesh.cli.run import command as run_command

ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "docs/operations/leanmesh.service"
CONTAINERFILE = ROOT / "docs/operations/Containerfile"
PAGE = ROOT / "docs/operations.md"
INSTALLED = "/opt/leanmesh/bin/leanmesh"
SYSTEMD_ANALYZE = shutil.which("systemd-analyze")
TIMEOUT_S = 60


def unit_settings() -> dict[str, dict[str, list[str]]]:
    """The unit's sections: each key with its values in order.  A line that is none of them fails."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in UNIT.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = sections.setdefault(re.fullmatch(r"\[(\w+)\]", line)[1], {})
        else:
            key, value = re.fullmatch(r"([A-Za-z]+)=(.*)", line).groups()
            section.setdefault(key, []).append(value)
    return sections


def check_run_options(arguments: list[str]) -> None:
    """Fails when `leanmesh run` has no such options."""
    run_command.make_context("run", arguments.copy())


def test_the_unit_starts_the_node_as_the_page_installs_it():
    (start,) = unit_settings()["Service"]["ExecStart"]
    program, subcommand, *arguments = shlex.split(start)
    assert (program, subcommand) == (INSTALLED, "run")
    check_run_options(arguments)
    page = PAGE.read_text()
    files = [argument for argument in arguments if argument.startswith("/")]
    assert len(files) == 2
    assert [file for file in files if file not in page] == []
    assert f"python3 -m venv {Path(INSTALLED).parent.parent} " in page
    assert "/etc/systemd/system/leanmesh.service" in page


def test_the_unit_gives_the_node_nothing_that_it_does_not_need():
    service = unit_settings()["Service"]
    expected = {
        "User": ["leanmesh"],
        "NoNewPrivileges": ["yes"],
        "CapabilityBoundingSet": [""],
        "AmbientCapabilities": [""],
        "ProtectSystem": ["strict"],
        "ProtectHome": ["yes"],
        "MemoryMax": ["2G"],
    }
    assert {key: service[key] for key in expected} == expected
    # All that can be written: state and run time.
    assert "ReadWritePaths" not in service
    assert service["StateDirectory"] == service["RuntimeDirectory"] == ["leanmesh"]


@pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="systemd-analyze is not installed (Debian: systemd)")
def test_systemd_takes_the_unit(tmp_path: Path):
    # The program of this environment: systemd looks whether it is there.
    program = shutil.which("leanmesh", path=Path(sys.executable).parent) or sys.executable
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(INSTALLED, program))
    verified = subprocess.run(
        [SYSTEMD_ANALYZE, "verify", "--man=no", copy],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    complaints = [line for line in verified.stderr.splitlines() if UNIT.name in line]
    assert (verified.returncode, complaints) == (0, [])


def instructions() -> list[tuple[str, str]]:
    """The Containerfile's instructions and what follows each, lines joined."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def given(word: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == word]


def copied_from_the_checkout() -> list[str]:
    copies = [shlex.split(rest) for rest in given("COPY")]
    return [source for words in copies if not words[0].startswith("--") for source in words[:-1]]


def test_the_containerfile_has_only_instructions_that_there_are():
    assert {word for word, _ in instructions()} <= {
        *("FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "VOLUME", "EXPOSE"),
        *("STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
    }
    assert [word for word, _ in instructions()].count("FROM") == 2
    user = instructions().index(("USER", "leanmesh"))
    assert all(word != "RUN" for word, _ in instructions()[user:]), "nothing runs after the user was changed"


def test_everything_that_the_image_copies_is_in_the_checkout():
    assert [source for source in copied_from_the_checkout() if not (ROOT / source).exists()] == []


@pytest.mark.slow
def test_what_the_image_copies_is_enough_to_build_the_wheel(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    ignored = shutil.ignore_patterns("*.so", "*.o", "__pycache__", "*.egg-info", "_cells.c")
    for name in copied_from_the_checkout():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", source]
    built = subprocess.run(build, capture_output=True, text=True, timeout=110, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    assert len(list((source / "dist").glob("leanmesh-*.whl"))) == 1


def test_the_image_starts_the_command_that_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (entrypoint,) = (json.loads(rest) for rest in given("ENTRYPOINT"))
    assert entrypoint == ["leanmesh"]
    assert set(entrypoint) <= project["scripts"].keys()
    (install,) = (rest for rest in given("RUN") if "pip install" in rest)
    (extra,) = re.findall(r"'\.\[(\w+)\]'", install)
    assert extra in project["optional-dependencies"]
    (start,) = (json.loads(rest) for rest in given("CMD"))
    assert start[0] == "run"
    check_run_options(start[1:])


@pytest.fixture(scope="module", params=["127.0.0.1", "0.0.0.0", "[::]", "[::1]"])
def metrics_address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a node that runs serves its pages."""
    command = [sys.executable, "-m", "leanmesh", "run", "--listen", "/ip4/127.0.0.1/tcp/0"]
    command += ["--metrics", f"{request.param}:0", "--log-format", "json"]
    environment = {**os.environ, "LEANMESH_WEB__ALLOW_PLAIN_METRICS": "true"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        ready = json.loads(process.stdout.readline())
        drain = threading.Thread(target=process.stdout.read, daemon=True)
        drain.start()
        yield ready["metrics"].removeprefix("http://").removesuffix("/metrics")
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0
        drain.join(TIMEOUT_S)


def probe(listen: str) -> int:
    """The exit code of the image's health check for a node that listens there."""
    (check,) = given("HEALTHCHECK")
    program, *arguments = json.loads(check.partition(" CMD ")[2])
    assert program == "python"
    environment = {**os.environ, "LEANMESH_WEB__LISTEN": listen}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        timeout=TIMEOUT_S,
        check=False,
        stderr=subprocess.DEVNULL,
    ).returncode


def test_the_health_check_passes_for_a_node_that_is_ready(metrics_address: str):
    assert probe(metrics_address) == 0


def test_the_health_check_fails_where_no_node_runs():
    assert probe("127.0.0.1:1") == 1
