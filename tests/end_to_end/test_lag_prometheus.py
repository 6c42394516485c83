"""A real Prometheus over half a minute of a devnet whose peers come and go, with duplicate lag tracked."""

import math
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
from end_to_end.prometheus import Prometheus, needs_prometheus, start_prometheus
from leanmesh.devnet import Devnet
from leanmesh.metrics.catalog_lag import LAG_BOUNDS_S
from leanmesh.metrics.params import LagParams
from leanmesh.metrics.text import bound_text
from leanmesh.settings import Settings
from leanmesh.web.params import WebParams

pytestmark = [pytest.mark.slow, needs_prometheus]

NODES = 7
RATE_PER_S = 60.0
CHURN_S = 30.0
# Three of the seven leave and come back in turn; the others hold the mesh together.
LEAVERS = (4, 5, 6)
FAMILIES = ("", "_by_winner", "_by_loser", "_by_pair")

Samples = dict[float, float]


async def churn(net: Devnet) -> None:
    with trio.move_on_after(CHURN_S):
        while True:
            for number in LEAVERS:
                await net.stop_peer(number)
                await trio.sleep(1.5)
                await net.start_peer(number)
                await trio.sleep(1.0)


async def test_every_scrape_is_right_and_adds_up_while_peers_come_and_go(tmp_path: Path):
    settings = Settings(
        lag=LagParams(is_on=True, has_pairs=True, pair_limit=20), web=WebParams(listen="127.0.0.1:0")
    )
    net = Devnet(settings, nodes=NODES, is_in_memory=True, rate_per_s=RATE_PER_S, size_bytes=200, seed=5)
    async with trio.open_nursery() as nursery:
        url = await nursery.start(net.run)
        prometheus = await start_prometheus(nursery, tmp_path, {"node": urlsplit(url).netloc})
        await churn(net)
        await net.settle(10.0)
        published = sum(net.published.values())
        with trio.fail_after(30):
            while (await total(prometheus, "gossipsub_topic_msg_published_total"))[-1] < published:
                await trio.sleep(0.5)
        await check_histograms(prometheus)
        await check_sums(prometheus)
        await check_rates(prometheus, published)
        nursery.cancel_scope.cancel()


async def total(prometheus: Prometheus, selector: str) -> list[float]:
    """The sum of the series of each scrape, in the order of time."""
    return [value for _, value in sorted((await sums(prometheus, selector)).items())]


async def sums(prometheus: Prometheus, selector: str) -> Samples:
    by_time: defaultdict[float, float] = defaultdict(float)
    for _, samples in await prometheus.series(selector):
        for time_s, value in samples.items():
            by_time[time_s] += value
    return dict(by_time)


async def check_histograms(prometheus: Prometheus) -> None:
    for part in FAMILIES:
        name = f"leanmesh_duplicate_lag{part}_seconds"
        buckets: dict[tuple[tuple[str, str], ...], dict[float, Samples]] = {}
        for labels, samples in await prometheus.series(f"{name}_bucket"):
            bound = float(labels.pop("le"))
            labels.pop("__name__")
            buckets.setdefault(tuple(sorted(labels.items())), {})[bound] = samples
        assert buckets, name
        counts = {
            tuple(sorted((key, value) for key, value in labels.items() if key != "__name__")): samples
            for labels, samples in await prometheus.series(f"{name}_count")
        }
        assert counts.keys() == buckets.keys()
        for labels, by_bound in buckets.items():
            assert sorted(by_bound) == [*LAG_BOUNDS_S, math.inf]
            # A scrape that came after the first of these queries has more samples in the later ones.
            for time_s in by_bound[math.inf].keys() & counts[labels].keys():
                values = [by_bound[bound].get(time_s) for bound in sorted(by_bound)]
                assert None not in values
                assert values == sorted(values), f"{name}{labels} falls at {time_s}: {values}"
                assert values[-1] == counts[labels][time_s]
    texts = {labels["le"] for labels, _ in await prometheus.series("leanmesh_duplicate_lag_seconds_bucket")}
    assert texts == {bound_text(bound) for bound in (*LAG_BOUNDS_S, math.inf)}


async def check_sums(prometheus: Prometheus) -> None:
    """The total without peers never falls; with what is outside it is the duplicates, scrape by scrape."""
    for labels, samples in await prometheus.series("leanmesh_duplicate_lag_seconds_count"):
        values = [value for _, value in sorted(samples.items())]
        assert all(earlier <= later for earlier, later in pairwise(values)), labels
    assert {
        value for _, value in await prometheus.now("resets(leanmesh_duplicate_lag_seconds_count[60s])")
    } == {0}

    duplicates = await sums(prometheus, "gossipsub_duplicate_messages_total")
    observed = await sums(prometheus, "leanmesh_duplicate_lag_seconds_count")
    alone = await sums(prometheus, 'leanmesh_duplicate_lag_outside_total{reason=~"expired|unsampled"}')
    common = duplicates.keys() & observed.keys() & alone.keys()
    assert len(common) > CHURN_S * 2 / 3
    assert {duplicates[time_s] - observed[time_s] - alone[time_s] for time_s in common} == {0}
    assert max(observed.values()) > 1000

    # Peers left: their series ended in between, and came back or began anew.
    gaps = [
        samples
        for _, samples in await prometheus.series("leanmesh_duplicate_lag_by_pair_seconds_count")
        if len(samples) < len(common) * 0.9
    ]
    assert gaps


async def check_rates(prometheus: Prometheus, published: int) -> None:
    """What Prometheus makes of the counters is what the publishers did."""
    counted = await total(prometheus, "gossipsub_topic_msg_published_total")
    assert counted[-1] == published
    samples = await sums(prometheus, "gossipsub_topic_msg_published_total")
    times = sorted(samples)
    half = len(times) // 2
    at_s = times[half]
    ((_, rate),) = await prometheus.now("sum(rate(gossipsub_topic_msg_published_total[10s]))", at_s)
    # What grew between the first and the last scrape of the ten seconds, however many there were; Prometheus
    # adds at each end up to 1.1 of the mean time between two.
    inner_s, outer_s = (
        min(time_s for time_s in times if time_s > at_s - reach_s) for reach_s in (9.99, 10.01)
    )
    scrapes = sum(outer_s < time_s <= at_s for time_s in times)
    extended = (samples[at_s] - samples[outer_s]) * (1 + 2.2 / scrapes)
    assert (samples[at_s] - samples[inner_s]) / 10 <= rate * 1.001 <= extended / 10 * 1.01
    ((_, received),) = await prometheus.now("sum(rate(gossipsub_topic_msg_recv_counts_total[10s]))", at_s)
    # Everyone but the publisher, and at times one of the others is away.
    assert (NODES - 2.2) * rate < received < (NODES - 0.8) * rate
