"""The catalog: names that fit together, and label sets that are complete from the start."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from exposition import read_page
from leanmesh.errors import LocalError
from leanmesh.metrics import catalog_gossipsub, catalog_lean, catalog_node
from leanmesh.metrics.catalog import CATALOG, fixed_label_sets
from leanmesh.metrics.catalog_doc import renewed
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import HistogramSpec
from leanmesh.metrics.prime import prime
from leanmesh.metrics.sample import Family, HistogramValue, Series
from leanmesh.metrics.snapshot import encode_family
from leanmesh.metrics.text import base_name, sample_names

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "metrics.md"

# leanMetrics calls a gauge so, which promtool would keep for histograms.
LINT_OF_OTHERS = ["lean_attestation_committee_count non-histogram"]


def one_of_each() -> dict[str, Family]:
    """A family with one series for every name of the catalog."""
    families: dict[str, Family] = {}
    for spec in CATALOG:
        labels = tuple("x" for _ in spec.labels)
        value = HistogramValue((1,) * (len(spec.bounds) + 1), 2.5) if isinstance(spec, HistogramSpec) else 1
        families[spec.name] = Family(spec, (Series(labels, value),))
    return families


def test_every_family_stands_once_except_those_that_have_a_form_by_client():
    names = [spec.name for spec in CATALOG]
    assert {name for name in names if names.count(name) > 1} == {
        "lean_connected_peers",
        "lean_gossip_mesh_peers",
    }


def test_no_two_families_meet_under_one_name_in_openmetrics():
    owners: dict[str, set[str]] = {}
    for spec in CATALOG:
        for name in (base_name(spec), *sample_names(spec)):
            owners.setdefault(name, set()).add(spec.name)
    assert {name: families for name, families in owners.items() if len(families) > 1} == {}


def test_every_gossipsub_family_carries_the_network_first():
    assert all(spec.name.startswith("gossipsub_") for spec in catalog_gossipsub.FAMILIES)
    assert {spec.labels[0] for spec in catalog_gossipsub.FAMILIES} == {"network_id"}


def test_the_parts_of_the_catalog_have_their_own_prefixes():
    assert all(spec.name.startswith("lean_") for spec in catalog_lean.FAMILIES)
    assert all(spec.name.startswith("leanmesh_") for spec in catalog_node.FAMILIES)


@pytest.mark.parametrize("spec", CATALOG, ids=lambda spec: f"{spec.name}{list(spec.labels)}")
def test_every_help_is_a_sentence(spec):
    assert re.fullmatch(r"[A-Z0-9].{12,}\.", spec.help)


def test_a_page_of_the_whole_catalog_is_valid_and_passes_promtools_lint():
    encoded = [encode_family(family, with_created=False) for family in one_of_each().values()]
    body = b"".join(family.text for family in encoded)
    read_page(body, is_openmetrics=False)
    read_page(b"".join(family.openmetrics for family in encoded) + b"# EOF\n", is_openmetrics=True)

    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("the page is valid, but promtool is not installed (Debian: apt install prometheus)")
    lint = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True)

    lines = lint.stderr.decode().splitlines()
    assert [line for line in lines if not line.startswith(tuple(LINT_OF_OTHERS))] == []


def test_the_document_is_what_the_code_says():
    document = DOCUMENT.read_text()
    assert document == renewed(document), "run `just docs`"
    assert all(f"\n### {spec.name}\n" in document for spec in CATALOG)


def test_fixed_labels_are_multiplied_out_and_open_ones_given():
    assert list(fixed_label_sets(catalog_gossipsub.IHAVE_IDS, network_id="3")) == [
        ("3", "inbound"),
        ("3", "outbound"),
    ]
    assert list(fixed_label_sets(catalog_node.CONNECTIONS, transport="tcp")) == [
        ("tcp", "inbound"),
        ("tcp", "outbound"),
    ]
    assert len(list(fixed_label_sets(catalog_lean.PEER_CONNECTION_EVENTS))) == 6
    assert list(fixed_label_sets(catalog_lean.MESH_PEERS)) == [()]


@pytest.mark.parametrize("given", [{}, {"network_id": "0", "topic": "a", "colour": "red"}, {"topic": "a"}])
def test_an_open_label_needs_a_value_and_an_unknown_one_is_an_error(given: dict[str, str]):
    with pytest.raises(LocalError, match="gossipsub_mesh_peer_churn_events_total has the labels"):
        list(fixed_label_sets(catalog_gossipsub.MESH_CHURN, **given))


def test_a_primed_family_is_complete_before_anything_happened():
    cells = Cells.anonymous()

    prime(cells, catalog_gossipsub.MESH_CHURN, network_id="0", topic="blocks")
    prime(cells, catalog_node.HANDSHAKE, transport="tcp")
    prime(cells, catalog_node.CONNECTIONS)

    series = {spec.name: [labels for labels, _ in values] for spec, values in cells.copy().families()}
    assert series == {
        "gossipsub_mesh_peer_churn_events_total": [
            ("0", "blocks", reason) for reason in catalog_gossipsub.CHURN_REASONS
        ],
        "leanmesh_handshake_seconds": [("tcp", "inbound"), ("tcp", "outbound")],
        "leanmesh_connections": [
            (transport, direction)
            for transport in ("tcp", "quic", "memory")
            for direction in ("inbound", "outbound")
        ],
    }
