"""Pages as scrapers get them: formats, gzip, restriction, and one encoding per generation."""

import gzip
import shutil
import subprocess
import zlib
from functools import partial

import pytest
import trio
from exposition import read_page
from leanmesh.contain import ContainedErrors
from leanmesh.metrics.bookkeeping import add_bookkeeping
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.cells_encoder import CellsEncoder
from leanmesh.metrics.family import CounterSpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.mesh_peers import add_mesh_peers
from leanmesh.metrics.page import Deflated, PageFormat
from leanmesh.metrics.params import MetricsParams
from leanmesh.metrics.process import add_process_metrics
from leanmesh.metrics.snapshotter import Snapshotter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

EVENTS = CounterSpec("test_events_total", "Events.", labels=("topic",))
PEERS = GaugeSpec("test_peers", "Peers.")
LAG = HistogramSpec("test_lag_seconds", "Lag.", resolution=1e-9, bounds=(0.00005, 1.0))


@pytest.fixture
def cells() -> Cells:
    cells = Cells.anonymous()
    for i in range(50):
        cells.words[cells.counter(EVENTS, f"topic {i}")] = i
    cells.signed_words[cells.gauge(PEERS)] = 8
    cells.histogram(LAG).observe(2_400_000)
    return cells


async def full_snapshotter(cells: Cells, **params: float) -> Snapshotter:
    """With everything that a node has."""
    snapshotter = Snapshotter(MetricsParams(**params), cells=cells)
    add_process_metrics(snapshotter)
    add_bookkeeping(snapshotter, ContainedErrors(), cells)
    add_mesh_peers(snapshotter)
    return snapshotter


async def test_both_formats_have_the_same_values_and_their_parsers_take_them(cells: Cells):
    snapshotter = await full_snapshotter(cells, max_age_s=3600.0)

    text = (await snapshotter.page(PageFormat.TEXT)).body
    openmetrics = (await snapshotter.page(PageFormat.OPENMETRICS)).body

    left_out = "leanmesh_snapshot_age_seconds"
    in_text = read_page(text, is_openmetrics=False).series()
    in_openmetrics = read_page(openmetrics, is_openmetrics=True).series()
    del in_text[left_out, ()], in_openmetrics[left_out, ()]
    assert in_text == in_openmetrics
    assert not any(name.endswith("_created") for name, _ in in_openmetrics)
    for parsed in (parse_text(text.decode()), parse_openmetrics(openmetrics.decode())):
        values = {
            (sample.name, tuple(sample.labels.items())): sample.value
            for family in parsed
            for sample in family.samples
            if sample.name != left_out
        }
        assert values == in_text


async def test_promtool_accepts_the_page(cells: Cells):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    snapshotter = await full_snapshotter(cells)
    page = await snapshotter.page()

    lint = await trio.to_thread.run_sync(
        partial(subprocess.run, [promtool, "check", "metrics"], input=page.body, capture_output=True)
    )

    # Lint that is not ours to mend: gossipsub's agreed names, and counts in prometheus_client's own.
    assert lint.returncode == 0, lint.stderr.decode()


async def test_only_openmetrics_ends_in_eof(autojump_clock, cells: Cells):
    snapshotter = Snapshotter(cells=cells)

    assert b"# EOF" not in (await snapshotter.page(PageFormat.TEXT)).body
    body = (await snapshotter.page(PageFormat.OPENMETRICS)).body
    assert body.endswith(b"\n# EOF\n")
    assert body.count(b"# EOF") == 1


@pytest.mark.parametrize("page_format", PageFormat)
@pytest.mark.parametrize("names", [(), ("test_peers",)], ids=["whole", "restricted"])
async def test_gzip_unpacks_to_the_plain_page(autojump_clock, cells: Cells, page_format: PageFormat, names):
    snapshotter = Snapshotter(cells=cells)

    plain = await snapshotter.page(page_format, names=names)
    packed = await snapshotter.page(page_format, names=names, is_gzipped=True)

    assert gzip.decompress(packed.body) == plain.body
    # Readers that stop after the first member must see all of it, too.
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert unpacker.decompress(packed.body) == plain.body
    assert unpacker.eof
    assert unpacker.unused_data == b""


@pytest.mark.parametrize("page_format", PageFormat)
async def test_a_restricted_page_has_only_the_families_asked_for(
    autojump_clock, cells: Cells, page_format: PageFormat
):
    snapshotter = Snapshotter(cells=cells)
    is_openmetrics = page_format is PageFormat.OPENMETRICS

    async def families(*names: str) -> set[str]:
        page = await snapshotter.page(page_format, names=names)
        return set(read_page(page.body, is_openmetrics=is_openmetrics).families)

    events = "test_events" if is_openmetrics else "test_events_total"
    assert await families("test_peers") == {"test_peers"}
    assert await families("test_events_total", "test_lag_seconds_bucket") == {events, "test_lag_seconds"}
    assert await families("leanmesh_snapshot_generation") == {"leanmesh_snapshot_generation"}
    assert await families("nothing_of_ours") == set()


async def test_a_hundred_scrapes_are_one_encoding_and_one_compression_per_generation(
    autojump_clock, cells: Cells, monkeypatch: pytest.MonkeyPatch
):
    compressed: list[int] = []
    compress = Deflated.of
    monkeypatch.setattr(Deflated, "of", lambda body: (compressed.append(len(body)), compress(body))[1])
    encoded: list[object] = []
    encode = CellsEncoder.encode
    monkeypatch.setattr(CellsEncoder, "encode", lambda *args: (encoded.append(args), encode(*args))[1])
    snapshotter = Snapshotter(MetricsParams(max_age_s=3600.0), cells=cells)

    for generation in (1, 2):
        await snapshotter.refresh()
        async with trio.open_nursery() as scrapers:
            for _ in range(100):
                scrapers.start_soon(partial(snapshotter.page, is_gzipped=True))
                scrapers.start_soon(snapshotter.page)
        assert len(encoded) == generation
        assert len(compressed) == generation


async def test_equal_pages_have_equal_gzip_bytes(autojump_clock, cells: Cells):
    request = {"names": ["test_events_total"], "is_gzipped": True}
    one = await Snapshotter(cells=cells).page(**request)
    two = await Snapshotter(cells=cells).page(**request)

    assert one.body == two.body
