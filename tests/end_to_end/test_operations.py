"""The dashboard and the rules against a real Prometheus that scrapes what they are about."""

import json
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import attrs
import pytest
import trio
from end_to_end.prometheus import Prometheus, needs_prometheus, start_prometheus
from leanmesh.contain import ContainedErrors
from leanmesh.metrics.catalog import CATALOG
from leanmesh.metrics.catalog_lean import CONNECTED_PEERS_BY_CLIENT
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.mesh_peers import add_mesh_peers
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.run import ReceivedMessage, open_node
from leanmesh.service.params import NetworkParams
from leanmesh.settings import Settings
from leanmesh.web.endpoints import build_app
from leanmesh.web.params import WebParams
from leanmesh.web.server import HttpServer

FOLDER = Path(__file__).parent.parent.parent / "docs/operations"
RULES = FOLDER / "rules.yml"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
LISTEN = "/ip4/127.0.0.1/tcp/0"
LEANMESH = (sys.executable, "-m", "leanmesh")
TIMEOUT_S = 60

# What Grafana puts in their place.
VARIABLES = {"$job": ".+", "$instance": ".+", "$network_id": ".+", "$__rate_interval": "1m"}
EXPECTED_ALERTS = {("LeanmeshMeshDead", "lonely"), ("LeanmeshAlone", "sinks")}
SELECTOR = 'job=~"$job", instance=~"$instance"'

WORKERS_TOML = """
[[network]]
network_id = 0
listen = ["/ip4/127.0.0.1/tcp/0"]

[[network]]
network_id = 1
listen = ["/ip4/127.0.0.1/tcp/0"]
"""


@attrs.frozen
class Query:
    """One expression of the dashboard, and where it stands."""

    place: str
    expression: str

    @property
    def filled(self) -> str:
        text = self.expression
        for variable, value in VARIABLES.items():
            text = text.replace(variable, value)
        assert "$" not in text, f"a variable that the dashboard does not have: {text}"
        return text


def panels() -> list[dict]:
    """Every panel, those of folded rows included."""
    return [panel for outer in DASHBOARD["panels"] for panel in (outer, *outer.get("panels", ()))]


def queries() -> list[Query]:
    """Everything that the dashboard asks Prometheus: panels, variables, annotations."""
    found = [
        Query(f"{panel['title']}/{target['refId']}", target["expr"])
        for panel in panels()
        for target in panel.get("targets", ())
    ]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            (selector,) = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"]["query"]).groups()
            found.append(Query(f"variable {variable['name']}", selector))
    found += [Query(f"annotation {item['name']}", item["expr"]) for item in DASHBOARD["annotations"]["list"]]
    return found


def test_the_dashboard_can_be_imported():
    assert {"title", "uid", "schemaVersion", "panels", "templating"} <= DASHBOARD.keys()
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    for panel in panels():
        if panel["type"] != "row":
            assert panel["description"], f"{panel['title']} does not say how to read it"
            assert panel["targets"], f"{panel['title']} asks nothing"
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_no_panel_lies_on_another():
    folded = [outer["panels"] for outer in DASHBOARD["panels"] if outer.get("panels")]
    for beside in (DASHBOARD["panels"], *folded):
        places = [(panel["title"], panel["gridPos"]) for panel in beside]
        assert [place for place in places if place[1]["x"] + place[1]["w"] > 24] == []
        assert [(a, b) for (a, one), (b, other) in combinations(places, 2) if overlap(one, other)] == []


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def test_the_dashboard_has_the_queries_of_lean_networks():
    expressions = {query.expression for query in queries()}
    assert f"sum by (network, job, instance) (lean_gossip_mesh_peers{{{SELECTOR}}})" in expressions
    assert f'sum by (client) (lean_gossip_mesh_peers{{{SELECTOR}, client!=""}})' in expressions
    (nodes,) = (item for item in DASHBOARD["templating"]["list"] if item["name"] == "instance")
    assert nodes["query"]["query"].startswith("label_values(lean_node_info{")


def test_every_panel_is_about_the_chosen_nodes():
    asked = [query for query in queries() if not query.place.startswith(("variable", "Alerts"))]
    assert [query.place for query in asked if SELECTOR not in query.expression] == []


def test_every_family_of_the_dashboard_is_in_the_catalog():
    text = " ".join(query.expression for query in queries())
    recorded = re.findall(r"- record: (\S+)", RULES.read_text())
    for name in recorded:
        text = text.replace(name, "")
    asked = set(re.findall(r"\b((?:lean|gossipsub|leanmesh)_\w+)\{", text))
    known = {spec.name + part for spec in CATALOG for part in ("", "_bucket", "_count", "_sum")}
    assert asked - known == set()
    assert len(asked) > 40


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[dict]:
    """A process of leanmesh; its line `ready`."""
    command = [*LEANMESH, *arguments, "--metrics", "127.0.0.1:0", "--log-format", "json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as process:
        # Nobody else reads what it says after that line; a full pipe would stop it.
        drain = threading.Thread(target=process.stdout.read, daemon=True)
        try:
            events = map(json.loads, process.stdout)
            ready = next((event for event in events if event["event"] == "ready"), None)
            assert ready is not None, f"{command} ended before it was ready"
            drain.start()
            yield ready
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)
            if drain.ident is not None:
                drain.join(TIMEOUT_S)


def listens(ready: dict) -> str:
    """Where the first network of a process is reached."""
    return ready["networks"][0]["listen"][0]


def target_of(ready: dict) -> str:
    return ready["metrics"].removeprefix("http://").removesuffix("/metrics")


@attrs.frozen
class Names:
    """A registry of node names, of which one is in a mesh."""

    names: Sequence[str] = ("zeam_0", "ream_0")

    def mesh_peers(self) -> Mapping[str, int]:
        return {"zeam_0": 1}


async def serve_node_with_sink(*, task_status: trio.TaskStatus[str]) -> None:
    """A node whose messages a callable carries away."""

    async def deliver(batch: Sequence[ReceivedMessage]) -> None:
        """Take them."""

    params = WebParams(listen="127.0.0.1:0")
    settings = Settings(network=(NetworkParams(listen=(), topics=("news",)),))
    async with open_node(settings) as node:
        node.add_sink("engine", deliver)
        await HttpServer(build_app(node.snapshotter, params), params, node.contained).run(
            task_status=task_status
        )


async def start_node_with_names(nursery: trio.Nursery) -> str:
    """An endpoint whose peers are told apart by client."""
    cells = Cells.anonymous()
    cells.networks.store(cells.networks.start(0), 1)
    for name, count in (("zeam_0", 1), ("ream_0", 1), ("unknown", 0)):
        cells.signed_words[cells.gauge(CONNECTED_PEERS_BY_CLIENT, name)] = count
    snapshotter = Snapshotter(cells=cells)
    add_mesh_peers(snapshotter, Names())
    await nursery.start(snapshotter.run)
    params = WebParams(listen="127.0.0.1:0")
    return await nursery.start(HttpServer(build_app(snapshotter, params), params, ContainedErrors()).run)


async def unanswered(prometheus: Prometheus, asked: Sequence[Query]) -> list[Query]:
    """The queries that have no data."""
    missing = []
    for query in asked:
        values = [value for _, value in await prometheus.now(query.filled)]
        if not values or all(map(math.isnan, values)):
            missing.append(query)
    return missing


async def raised_alerts(prometheus: Prometheus) -> set[tuple[str, str | None]]:
    """Alerts by name and job, those included that have not lasted long enough to be sent."""
    return {(labels["alertname"], labels.get("job")) for labels, _ in await prometheus.now("ALERTS")}


@needs_prometheus
@pytest.mark.slow
async def test_every_query_of_the_dashboard_has_data_and_every_rule_is_evaluated(tmp_path: Path):
    settings = tmp_path / "workers.toml"
    settings.write_text(WORKERS_TOML)
    with (
        running("devnet", "--nodes", "8", "--rate", "20", LEANMESH_LAG__IS_ON="true") as devnet,
        running("run", "--config", str(settings), "--workers", "2") as workers,
        running("run", "--listen", LISTEN, "--topic", "news", "--peer", listens(workers)) as lonely,
    ):
        async with trio.open_nursery() as nursery:
            # It takes a topic, and its one peer takes none: a living connection and no mesh.
            targets = {
                "leanmesh": target_of(devnet),
                "workers": target_of(workers),
                "lonely": target_of(lonely),
            }
            targets["names"] = await start_node_with_names(nursery)
            targets["sinks"] = await nursery.start(serve_node_with_sink)
            prometheus = await start_prometheus(nursery, tmp_path, targets, RULES)
            # A connection that ends: its family is there from the first one on.
            await trio.run_process([*LEANMESH, "ping", "--count", "1", listens(workers)], capture_stdout=True)
            missing, raised = queries(), set()
            with trio.move_on_after(TIMEOUT_S):
                while missing or EXPECTED_ALERTS - raised:
                    await trio.sleep(0.5)
                    missing = await unanswered(prometheus, missing)
                    raised = await raised_alerts(prometheus)
            assert [query.place for query in missing] == [], "no data in a minute"

            rules = await prometheus.rules()
            names = re.findall(r"- (?:alert|record): (\S+)", RULES.read_text())
            assert sorted(rule["name"] for rule in rules) == sorted(names)
            assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []

            assert raised >= EXPECTED_ALERTS
            # A machine with too much to do may be late; a network that is well has no other trouble.
            assert {name for name, job in raised if job == "leanmesh" and not name.endswith("Late")} == set()
            nursery.cancel_scope.cancel()
