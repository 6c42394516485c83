"""The rules for Prometheus: promtool takes them, and each alert has a test that notices when it breaks."""

import re
import shutil
import subprocess
from pathlib import Path

import attrs
import pytest
from leanmesh.metrics.catalog import CATALOG
from leanmesh.metrics.family import HistogramSpec

FOLDER = Path(__file__).parent.parent.parent / "docs/operations"
RULES = FOLDER / "rules.yml"
TESTS = FOLDER / "rules_test.yml"

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian: apt install prometheus)"
)

RULE = re.compile(r"^      - (alert|record): (\S+)\n        expr: (>-\n(?: {10}.*\n)+|.*\n)", re.MULTILINE)
COMPARISON = re.compile(r" (?:==|!=|>|<) [0-9.]+")
FAMILY = re.compile(r"\b(?:lean|gossipsub|leanmesh)_[a-z_]+")


@attrs.frozen
class Rule:
    kind: str
    name: str
    expression: str
    block: str

    def broken(self) -> dict[str, str]:
        """The expression with one of its parts broken, by what is missing."""
        variants = {"everything": "vector(0) > 1"}
        for found in COMPARISON.finditer(self.expression):
            variants[found[0].strip()] = self.expression[: found.start()] + self.expression[found.end() :]
        first, *conditions = re.split(r" (?=and |unless )", self.expression)
        for condition in conditions:
            kept = [other for other in conditions if other != condition]
            variants[condition] = " ".join([first, *kept])
        return variants


def rules() -> list[Rule]:
    return [
        Rule(kind, name, " ".join(expression.removeprefix(">-").split()), expression)
        for kind, name, expression in RULE.findall(RULES.read_text())
    ]


ALERTS = [rule for rule in rules() if rule.kind == "alert"]


def promtool(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [str(PROMTOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_every_rule_is_found_here():
    text = RULES.read_text()
    assert [rule.name for rule in rules()] == re.findall(r"^\s*- (?:alert|record): (\S+)", text, re.MULTILINE)
    assert len(ALERTS) > 10


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_says_how_bad_it_is_and_what_to_do(alert: Rule):
    text = RULES.read_text()
    start = text.index(f"- alert: {alert.name}\n")
    block = text[start:].split("\n\n")[0]
    assert re.search(r"\n +severity: (critical|warning)\n", block)
    assert re.search(r"\n +summary: ", block)
    assert re.search(r"\n +description: ", block)


def test_every_alert_is_on_the_page_about_operations():
    page = (FOLDER.parent / "operations.md").read_text()
    assert [alert.name for alert in ALERTS if f"`{alert.name}`" not in page] == []


def test_every_family_of_the_rules_is_in_the_catalog():
    known = {spec.name for spec in CATALOG}
    known |= {
        f"{spec.name}_{part}"
        for spec in CATALOG
        if isinstance(spec, HistogramSpec)
        for part in ("bucket", "count", "sum")
    }
    recorded = {rule.name for rule in rules() if rule.kind == "record"}
    text = " ".join(rule.expression for rule in rules())
    for name in recorded:
        text = text.replace(name, "")
    assert set(FAMILY.findall(text)) - known == set()


@needs_promtool
def test_promtool_takes_the_rules():
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules())} rules found" in checked.stdout


@needs_promtool
def test_the_unit_tests_of_the_rules_pass():
    tested = promtool("test", "rules", TESTS)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@needs_promtool
@pytest.mark.slow
def test_the_unit_tests_notice_every_broken_alert(tmp_path: Path):
    variants = {alert.name: alert.broken() for alert in ALERTS}
    unnoticed = []
    shutil.copy(TESTS, tmp_path)
    # All alerts are broken at once, each in its next way: promtool takes a second for each file of rules.
    while any(variants.values()):
        broken = {name: left.popitem() for name, left in variants.items() if left}
        expressions = {name: expression for name, (_, expression) in broken.items()}
        (tmp_path / RULES.name).write_text(with_expressions(expressions))
        checked = promtool("check", "rules", tmp_path / RULES.name)
        assert checked.returncode == 0, "what is broken must still be taken: " + checked.stderr
        tested = promtool("test", "rules", tmp_path / TESTS.name)
        noticed = set(re.findall(r'expr: ".*alertname=\\"(\w+)\\"', tested.stdout + tested.stderr))
        unnoticed += [
            f"{name} without {missing}" for name, (missing, _) in broken.items() if name not in noticed
        ]
    assert unnoticed == []


def with_expressions(expressions: dict[str, str]) -> str:
    """The rules with other expressions for these alerts."""
    text = RULES.read_text()
    for alert in ALERTS:
        if alert.name in expressions:
            head = f"- alert: {alert.name}\n        expr: "
            assert head + alert.block in text
            text = text.replace(head + alert.block, f"{head}>-\n          {expressions[alert.name]}\n")
    return text
