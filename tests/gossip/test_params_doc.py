"""docs/gossip.md prints the numbers of the code, not others."""

import re
from pathlib import Path

import pytest
from leanmesh.gossip.params_doc import main, renewed

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "docs" / "gossip.md"


def test_the_document_is_what_the_code_says():
    assert DOCUMENT.read_text() == renewed(DOCUMENT.read_text()), "run `just docs`"


def test_what_is_written_by_hand_is_kept(tmp_path: Path):
    path = tmp_path / "document.md"
    head = DOCUMENT.read_text().partition("## Parameters of the router")[0]
    path.write_text(head + "old numbers\n")
    main(path)
    assert path.read_text() == DOCUMENT.read_text()


def test_a_document_without_the_marker_is_left_alone():
    with pytest.raises(ValueError, match="no line"):
        renewed("# Something else\n")


def test_every_file_it_names_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", DOCUMENT.read_text()):
        assert (DOCUMENT.parent / target).exists(), target
