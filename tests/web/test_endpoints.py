"""The pages, over real HTTP."""

import gzip
import json
import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def values(families) -> dict[str, float]:
    """Sample name and labels -> value, of the test's own families."""
    return {
        sample.name + json.dumps(sample.labels): sample.value
        for family in families
        if family.name.startswith("test_")
        for sample in family.samples
    }


SHOWN = {
    'test_mesh_peers{"topic": "blocks"}': 8.0,
    'test_mesh_peers{"topic": "votes"}': 6.0,
    "test_messages_total{}": 4242.0,
    'test_lateness_seconds_bucket{"le": "0.001"}': 3.0,
    'test_lateness_seconds_bucket{"le": "0.1"}': 5.0,
    'test_lateness_seconds_bucket{"le": "+Inf"}': 6.0,
    "test_lateness_seconds_count{}": 6.0,
    "test_lateness_seconds_sum{}": 0.75,
}


async def test_the_text_format_is_what_an_undecided_client_gets(endpoint):
    answer = await endpoint.get("/metrics")
    assert (answer.status, answer.headers["content-type"]) == (
        200,
        "text/plain; version=0.0.4; charset=utf-8",
    )
    assert values(parse_text(answer.body.decode())) == SHOWN
    assert b"# EOF" not in answer.body
    assert b"\ntest_messages_total 4242\n" in answer.body


async def test_openmetrics_is_what_a_scraper_gets_that_asks_for_it(endpoint):
    answer = await endpoint.get("/metrics", Accept=OPENMETRICS)
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert values(parse_openmetrics(answer.body.decode())) == SHOWN
    assert answer.body.endswith(b"\n# EOF\n")
    assert answer.body.count(b"# EOF") == 1
    assert b"_created" not in answer.body


@pytest.mark.parametrize("accept", ["text/plain", OPENMETRICS])
@pytest.mark.parametrize("query", ["", "?name[]=test_mesh_peers&name[]=test_messages_total"])
async def test_a_gzipped_page_equals_the_plain_one(endpoint, accept: str, query: str):
    zipped = await endpoint.get(f"/metrics{query}", Accept=accept, Accept_Encoding="gzip")
    plain = await endpoint.get(f"/metrics{query}", Accept=accept)

    assert (zipped.headers["content-encoding"], "content-encoding" in plain.headers) == ("gzip", False)
    assert zipped.headers["vary"] == plain.headers["vary"] == "Accept, Accept-Encoding"
    # The report of the snapshot's own age is true at each scrape, so it may differ.
    unzipped = gzip.decompress(zipped.body).split(b"\n")
    assert [line for line in unzipped if b"leanmesh_snapshot" not in line] == [
        line for line in plain.body.split(b"\n") if b"leanmesh_snapshot" not in line
    ]


@pytest.mark.parametrize(("accept", "end"), [("text/plain", b""), (OPENMETRICS, b"# EOF\n")])
async def test_a_restricted_page_has_only_the_named_families(endpoint, accept: str, end: bytes):
    answer = await endpoint.get("/metrics?name[]=test_mesh_peers&name[]=unknown", Accept=accept)
    assert answer.body == (
        b"# HELP test_mesh_peers Peers.\n"
        b"# TYPE test_mesh_peers gauge\n"
        b'test_mesh_peers{topic="blocks"} 8\n'
        b'test_mesh_peers{topic="votes"} 6\n' + end
    )


async def test_a_query_of_too_many_parameters_is_refused(start):
    endpoint = await start(target_limit_bytes=16 * 1024, head_limit_bytes=32 * 1024)
    assert (await endpoint.get("/metrics?" + "&".join(["a=b"] * 1001))).status == 400


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_accepts_the_page(endpoint):
    answer = await endpoint.get("/metrics")
    checked = subprocess.run(["promtool", "check", "metrics"], input=answer.body, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


class SpiedNumber(float):
    """A number that counts how often it is turned into text."""

    texts = 0

    def __repr__(self) -> str:
        type(self).texts += 1
        return super().__repr__()

    def is_integer(self) -> bool:
        return False


async def test_a_hundred_scrapes_encode_each_generation_once(endpoint):
    SpiedNumber.texts = 0
    endpoint.source.peers["spied"] = SpiedNumber(1.5)
    await endpoint.snapshotter.refresh()
    reads = endpoint.source.reads

    for scrape in range(100):
        accept = OPENMETRICS if scrape % 2 else "text/plain"
        answer = await endpoint.get("/metrics", Accept=accept, Accept_Encoding="gzip" if scrape % 3 else "")
        assert answer.status == 200

    assert (SpiedNumber.texts, endpoint.source.reads) == (1, reads)


async def test_a_scrape_of_an_old_snapshot_gets_a_new_one(start):
    endpoint = await start(max_age_s=0.0)
    endpoint.source.peers = {"blocks": 3.0}
    answer = await endpoint.get("/metrics?name[]=test_mesh_peers")
    assert answer.body.endswith(b'gauge\ntest_mesh_peers{topic="blocks"} 3\n')


async def test_health_is_ready_with_a_snapshot(endpoint):
    answer = await endpoint.get("/healthz")
    health = json.loads(answer.body)
    age_s = health.pop("snapshot_age_s")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert health == {"is_ready": True, "reasons": [], "snapshot_generation": 1}
    assert 0.0 <= age_s < 1000.0


async def test_health_names_the_reasons_of_the_node(start):
    endpoint = await start(pages={"reasons": lambda: ["no listener is open"]})
    answer = await endpoint.get("/healthz")
    assert (answer.status, json.loads(answer.body)["reasons"]) == (503, ["no listener is open"])


async def test_health_tells_of_a_snapshot_that_cannot_be_renewed(start):
    endpoint = await start(max_age_s=0.0, stale_after_s=0.05)
    endpoint.source.failure = RuntimeError("planted")
    while endpoint.snapshotter.age_s <= 0.1:
        assert (await endpoint.get("/metrics")).status == 200  # The old page is still served.
    answer = await endpoint.get("/healthz")
    (reason,) = json.loads(answer.body)["reasons"]
    assert answer.status == 503
    assert reason.startswith("the snapshot cannot be renewed and is ")

    endpoint.source.failure = None
    await endpoint.snapshotter.refresh()
    assert (await endpoint.get("/healthz")).status == 200


async def test_the_snapshot_as_json_shows_the_same_generation_as_the_page(endpoint):
    snapshot = json.loads((await endpoint.get("/api/snapshot")).body)
    page = await endpoint.get("/metrics?name[]=leanmesh_snapshot_generation")
    assert page.body.endswith(f"leanmesh_snapshot_generation {snapshot['generation']}\n".encode())
    assert [family for family in snapshot["families"] if family["name"].startswith("test_")] == [
        {
            "name": "test_lateness_seconds",
            "type": "histogram",
            "help": "Lateness.",
            "series": [
                {
                    "labels": {},
                    "count": 6,
                    "sum": 0.75,
                    "bands": [
                        {"up_to": 0.001, "count": 3},
                        {"up_to": 0.1, "count": 2},
                        {"up_to": "+Inf", "count": 1},
                    ],
                }
            ],
        },
        {
            "name": "test_mesh_peers",
            "type": "gauge",
            "help": "Peers.",
            "series": [
                {"labels": {"topic": "blocks"}, "value": 8.0},
                {"labels": {"topic": "votes"}, "value": 6.0},
            ],
        },
        {
            "name": "test_messages_total",
            "type": "counter",
            "help": "Messages.",
            "series": [{"labels": {}, "value": 4242}],
        },
    ]


async def test_the_snapshot_as_json_follows_the_generation(endpoint):
    before = json.loads((await endpoint.get("/api/snapshot")).body)
    endpoint.source.peers = {"blocks": float("nan")}
    await endpoint.snapshotter.refresh()
    after = json.loads((await endpoint.get("/api/snapshot")).body)

    (peers,) = [family for family in after["families"] if family["name"] == "test_mesh_peers"]
    assert after["generation"] == before["generation"] + 1
    assert peers["series"] == [{"labels": {"topic": "blocks"}, "value": "NaN"}]


async def test_json_pages_show_what_their_callable_answers_now(start):
    answers = iter([{"peers": 1}, {"peers": 2}])
    endpoint = await start(pages={"json_sources": {"/api/peers": lambda: next(answers)}})
    assert [json.loads((await endpoint.get("/api/peers")).body) for _ in range(2)] == [
        {"peers": 1},
        {"peers": 2},
    ]


async def test_unknown_paths_are_not_found_and_named_pages_are_offered(endpoint):
    answer = await endpoint.get("/metrics/")
    assert answer.status == 404
    assert json.loads(answer.body) == {"error": "no such page; there are /api/snapshot, /healthz, /metrics"}


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS", "BREW"])
async def test_other_methods_are_refused_with_those_that_are_allowed(endpoint, method: str):
    answer = await endpoint.get("/metrics", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("target", ["/metrics?name[]=test_mesh_peers", "/unknown"])
async def test_head_answers_the_headers_of_get_without_a_body(endpoint, target: str):
    get, head = await endpoint.get(target), await endpoint.get(target, "HEAD")
    get.headers.pop("date")
    head.headers.pop("date")
    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")
