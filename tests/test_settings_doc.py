"""The settings reference in docs/operations.md is what the code says."""

from pathlib import Path

import pytest
from leanmesh import settings_doc

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"


def test_the_page_is_current():
    page = PAGE.read_text()
    assert settings_doc.renewed(page) == page, "run `just docs`"


def test_every_key_says_what_it_is_for():
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert [row[1].strip() for row in rows if len(row) == 5 and not row[3].strip()] == []


def test_a_page_without_the_marker_is_left_alone():
    with pytest.raises(ValueError, match="no line"):
        settings_doc.renewed("# Operations\n")
