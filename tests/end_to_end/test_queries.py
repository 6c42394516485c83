"""The queries of docs/promql.md: each is valid, and asks for families and labels that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from leanmesh.metrics.catalog import CATALOG
from leanmesh.metrics.text import sample_names

PAGE = Path(__file__).parent.parent.parent / "docs" / "promql.md"
QUERIES = re.findall(r"^```promql\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
NAME = re.compile(r"\b((?:lean|leanmesh|gossipsub)_[a-z0-9_]+)")
MATCHED = re.compile(r"\b((?:lean|leanmesh|gossipsub)_[a-z0-9_]+)\{([^}]*)\}")
LABELS = {name: set(spec.labels) | {"le"} for spec in CATALOG for name in sample_names(spec)}
# What Prometheus adds, and what a query itself makes.
OTHERS = {"instance", "le", "peer"}


def test_there_is_a_query_for_what_was_promised():
    headings = re.findall(r"^## (.+)$", PAGE.read_text(), re.MULTILINE)
    assert headings == [
        "A dead mesh with living connections",
        "The duplicate factor",
        "Who delays us",
        "Loss, by reason",
    ]
    assert len(QUERIES) > 12


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_families_and_labels_that_there_are(query: str):
    names = NAME.findall(query)
    assert names
    assert [name for name in names if name not in LABELS] == []
    for name, matchers in MATCHED.findall(query):
        assert set(re.findall(r"(\w+)\s*[!=]", matchers)) <= LABELS[name]
    grouped = {
        label.strip() for group in re.findall(r"(?:by|on) \(([^)]*)\)", query) for label in group.split(",")
    }
    assert grouped <= set.union(OTHERS, *(LABELS[name] for name in names))


def test_promtool_accepts_every_query(tmp_path: Path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(QUERIES)]
    path = tmp_path / "rules.yml"
    # JSON is YAML.
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    checked = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
