"""The programs and settings of docs/scale-out.md run as they stand there."""

import re
import sys
from pathlib import Path

import attrs
import pytest
import trio
from bridge.feed import feeding
from leanmesh.bridge.params import NatsParams
from leanmesh.settings import load
from nats_server import NatsServer

PAGE = (Path(__file__).parents[2] / "docs" / "scale-out.md").read_text()
SECTIONS = dict(part.split("\n", 1) for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:])
PROGRAMS = {
    title: program
    for title, text in SECTIONS.items()
    for program in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
}
CONSUMER = "Several consumers share one node's messages"


async def output_of(program: str, *arguments: str) -> str:
    # -W error: what warns a user is not an example to follow.
    with trio.fail_after(60):
        ended = await trio.run_process(
            [sys.executable, "-W", "error", "-c", program, *arguments],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert (ended.returncode, ended.stderr.decode()) == (0, "")
    return ended.stdout.decode()


@pytest.mark.parametrize("title", [title for title in PROGRAMS if title != CONSUMER])
async def test_the_program_runs(title: str):
    assert await output_of(PROGRAMS[title]) == ""


async def test_the_consumer_gets_what_a_sink_carried(server: NatsServer):
    async with feeding(NatsParams(url=server.url, create_stream=True)) as feed:
        for number in range(3):
            feed.put(b"message %d" % number)
    assert await output_of(PROGRAMS[CONSUMER], server.url, "2") == "news message 0\nnews message 1\n"
    assert await output_of(PROGRAMS[CONSUMER], server.url, "1") == "news message 2\n"


def test_the_settings_are_settings(tmp_path: Path):
    (block,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    path = tmp_path / "node.toml"
    path.write_text(block)
    (sink,) = load(path).settings.nats
    assert (sink.stream, sink.subject, sink.user) == ("blocks", "blocks.{topic}", "leanmesh")


def test_the_numbers_of_the_page_are_the_defaults():
    defaults = {field.name: field.default for field in attrs.fields(NatsParams)}
    assert (defaults["queue_limit"], defaults["queue_limit_bytes"]) == (65536, 64 * 1024 * 1024)
    assert "65,536 messages or 64 MiB" in PAGE
    assert defaults["duplicate_window_s"] == 120
    assert "two minutes by default" in PAGE
