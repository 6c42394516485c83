"""The documents keep their promises: links lead somewhere, commands are what CI runs."""

import re
import tomllib
from pathlib import Path

import pytest
from leanmesh.settings import load

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_that_is_there(page: Path):
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_page_can_be_reached_from_the_index():
    linked = {
        (ROOT / "docs" / target).resolve() for target in LINK.findall((ROOT / "docs/index.md").read_text())
    }
    assert [page.name for page in PAGES if page.name != "index.md" and page.resolve() not in linked] == []


def test_the_readme_has_two_commands_of_one_line_each():
    blocks = SHELL_BLOCK.findall((ROOT / "README.md").read_text())
    assert [block.count("\n") for block in blocks] == [1, 1]
    run, test = (block.strip() for block in blocks)
    assert run.startswith("python3 -m venv .venv && ")
    # .ci/run finds the second by its two ends, and runs it.
    (pattern,) = re.findall(r"grep -m 1 -E '([^']+)' README.md", (ROOT / ".ci/run").read_text())
    assert [line for line in (ROOT / "README.md").read_text().splitlines() if re.search(pattern, line)] == [
        test
    ]


def test_the_settings_of_the_readme_are_settings(tmp_path: Path):
    (block,) = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    path = tmp_path / "node.toml"
    path.write_text(block)
    assert set(load(path).origins) == {
        f"{table}.{key}" for table, keys in tomllib.loads(block).items() for key in keys
    }
