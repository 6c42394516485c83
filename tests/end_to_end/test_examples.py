"""The programs of docs/library.md run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "library.md"
EXAMPLES = re.findall(r"^## (.+?)$.*?^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_every_section_has_a_program():
    assert [title for title, _ in EXAMPLES] == re.findall(r"^## (.+?)$", PAGE.read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "program", [program for _, program in EXAMPLES], ids=[title for title, _ in EXAMPLES]
)
def test_the_program_runs(program: str):
    # -W error: what warns a user is not an example to follow.
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
