"""The pages: /metrics, /healthz, /api/snapshot, and a JSON page for any callable.

Every page reads the one current snapshot and names its generation, so two
answers with the same generation show the same instant.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from urllib.parse import parse_qs

import attrs
import trio

from leanmesh.metrics.page import PageFormat
from leanmesh.metrics.sample import Family, HistogramValue, Series
from leanmesh.metrics.snapshot import Snapshot
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.text import type_text
from leanmesh.web.http import App, OnAnswered, Request, Response, Route, error_response, json_response
from leanmesh.web.negotiation import wants_gzip, wants_openmetrics
from leanmesh.web.params import WebParams

# Families one scrape may name; the catalog is far smaller.
NAMES_LIMIT = 1000

Reasons = Callable[[], Sequence[str]]
JsonSource = Callable[[], object]


def always_ready() -> Sequence[str]:
    """No reason against being ready: for endpoints without a node behind them."""
    return ()


def build_app(
    snapshotter: Snapshotter,
    params: WebParams,
    *,
    reasons: Reasons = always_ready,
    json_sources: Mapping[str, JsonSource] | None = None,
    more_routes: Mapping[str, Route] | None = None,
    posts: Mapping[str, Route] | None = None,
    on_answered: OnAnswered | None = None,
) -> App:
    """All pages of one endpoint.

    `reasons` answers why the node is not ready, nothing when it is.
    `json_sources` maps further paths to callables whose answers are shown as JSON,
    `more_routes` to what answers by itself, `posts` to what changes something.
    `on_answered` is told of each request, when it has been answered.
    """
    routes: dict[str, Route] = {
        "/metrics": MetricsPage(snapshotter).answer,
        "/healthz": HealthPage(snapshotter, reasons, params.stale_after_s).answer,
        "/api/snapshot": SnapshotPage(snapshotter).answer,
    }
    routes |= {path: JsonPage(source).answer for path, source in (json_sources or {}).items()}
    routes |= more_routes or {}
    return App(routes, params.target_limit_bytes, posts or {}, on_answered)


@attrs.frozen
class MetricsPage:
    """The page for scrapers, in the format they ask for."""

    snapshotter: Snapshotter

    async def answer(self, request: Request) -> Response:
        """Answer one scrape.  `?name[]=FAMILY`, also repeated, restricts it."""
        try:
            names = parse_qs(request.query, max_num_fields=NAMES_LIMIT).get("name[]", [])
        except ValueError:
            return error_response(HTTPStatus.BAD_REQUEST, f"more than {NAMES_LIMIT} parameters in the query")
        accepts_openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        page = await self.snapshotter.page(
            PageFormat.OPENMETRICS if accepts_openmetrics else PageFormat.TEXT,
            names=names,
            is_gzipped=wants_gzip(request.headers.get("accept-encoding", "")),
        )
        headers = {"Vary": "Accept, Accept-Encoding", "Cache-Control": "no-store"}
        if page.is_gzipped:
            headers["Content-Encoding"] = "gzip"
        return Response(page.body, page.content_type, headers=headers)


@attrs.frozen
class HealthPage:
    """Whether the node does its work: 200 when ready, 503 with the reasons when not."""

    snapshotter: Snapshotter
    reasons: Reasons
    stale_after_s: float

    async def answer(self, request: Request) -> Response:
        """Answer one probe.  A snapshot that stays old although it was asked for is a reason, too."""
        snapshot = await self.snapshotter.fresh()
        age_s = self.snapshotter.age_s
        reasons = list(self.reasons())
        if not self.snapshotter.is_ready:
            reasons.append("no snapshot has been taken yet")
        elif age_s > self.stale_after_s:
            reasons.append(f"the snapshot cannot be renewed and is {age_s:.1f} s old")
        content = {
            "is_ready": not reasons,
            "reasons": reasons,
            "snapshot_generation": snapshot.generation,
            "snapshot_age_s": round(age_s, 6),
        }
        return json_response(content, 503 if reasons else 200)


@attrs.define
class SnapshotPage:
    """The current snapshot as JSON.  Encoded once per generation."""

    snapshotter: Snapshotter
    _families: bytes = attrs.field(default=b"", init=False)
    _generation: int = attrs.field(default=-1, init=False)
    # Held while encoding, so that clients at the same moment share the result.
    _lock: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        snapshot = await self.snapshotter.fresh()
        families = await self._encoded(snapshot)
        head = {
            "generation": snapshot.generation,
            "taken_at_unix_s": snapshot.taken_at_unix_s,
            "age_s": round(self.snapshotter.age_s, 6),
        }
        body = json.dumps(head)[:-1].encode() + b', "families": [' + families + b"]}\n"
        return Response(body, "application/json", headers={"Cache-Control": "no-store"})

    async def _encoded(self, snapshot: Snapshot) -> bytes:
        async with self._lock:
            if self._generation != snapshot.generation:
                parts: list[bytes] = []
                for encoded in snapshot.encoded:
                    parts.append(json.dumps(family_json(encoded.family)).encode())
                    # A family is bounded, the page is not: the loop gets its turn in between.
                    await trio.lowlevel.checkpoint()
                self._families, self._generation = b",\n".join(parts), snapshot.generation
            return self._families


@attrs.frozen
class JsonPage:
    """What a callable answers now, as JSON."""

    source: JsonSource

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        return json_response(self.source())


def family_json(family: Family) -> dict[str, object]:
    """One family: name, type, help and its series."""
    return {
        "name": family.spec.name,
        "type": type_text(family.spec),
        "help": family.spec.help,
        "series": [_series_json(family, series) for series in family.series],
    }


def _series_json(family: Family, series: Series) -> dict[str, object]:
    labels = dict(zip(family.spec.labels, series.labels, strict=True))
    if not isinstance(series.value, HistogramValue):
        return {"labels": labels, "value": _number(series.value)}
    bounds = [*getattr(family.spec, "bounds", ()), math.inf]
    return {
        "labels": labels,
        "count": series.value.count,
        "sum": _number(series.value.sum),
        # Not cumulative: how many lie above the bound before and up to this one.
        "bands": [
            {"up_to": _number(bound), "count": count}
            for bound, count in zip(bounds, series.value.counts, strict=True)
        ],
    }


def _number(value: float) -> float | str:
    """JSON knows no infinity and no NaN: those are texts, as on the page for scrapers."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return value
