"""The first page of a node: what may happen is there before it happens."""

import pytest
from leanmesh.gossip.observer import GraftReason, Misbehaviour, PruneReason, RejectReason
from leanmesh.metrics import catalog_gossipsub as gossipsub
from leanmesh.metrics.catalog import CATALOG, fixed_label_sets
from leanmesh.run import open_node
from leanmesh.service.params import NetworkParams
from leanmesh.settings import Settings

# Of workers, and of what is off by default; of torn groups a node without workers has one kind.
ELSEWHERE = (
    "leanmesh_worker",
    "leanmesh_cells_",
    "leanmesh_duplicate_lag",
    "leanmesh_trace",
    "leanmesh_record",
)


async def test_every_fixed_label_set_is_on_the_first_page():
    network = NetworkParams(listen=("/ip4/127.0.0.1/tcp/0",))
    async with open_node(Settings(network=(network,))) as node, node.subscribe("news"):
        snapshot = await node.refresh_metrics()
    there = {family.spec.name: {series.labels for series in family.series} for family in snapshot.families}
    missing: dict[str, set[tuple[str, ...]]] = {}
    for spec in CATALOG:
        if spec.fixed and not spec.name.startswith(ELSEWHERE):
            given = {
                name: value for name, value in (("network_id", "0"), ("topic", "news")) if name in spec.labels
            }
            missing[spec.name] = set(fixed_label_sets(spec, **given)) - there.get(spec.name, set())
    assert len(missing) > 12
    assert {name: labels for name, labels in missing.items() if labels} == {}


@pytest.mark.parametrize(
    ("named", "reasons"),
    [
        (gossipsub.INCLUSION_REASONS, set(GraftReason)),
        (gossipsub.CHURN_REASONS, set(PruneReason)),
        # What a validator rejects is no fault of its form; what is too large is not looked at.
        (gossipsub.INVALID_REASONS, set(RejectReason) - {RejectReason.VERDICT} | {"size"}),
        (gossipsub.PENALTIES_BY_KIND, set(Misbehaviour)),
    ],
)
def test_the_catalog_names_every_reason_of_the_core(named: tuple[str, ...], reasons: set[str]):
    assert sorted(named) == sorted(map(str, reasons))
