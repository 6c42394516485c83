"""A real Prometheus for the tests: started, asked, and ended with the test."""

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import attrs
import pytest
import trio
from ports import free_port

PROMETHEUS = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None, reason="prometheus is not installed (Debian: apt install prometheus)"
)

CONFIG = """
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
scrape_configs:
"""
RULES = """
rule_files: ["{rules}"]
"""
JOB = """
  - {{job_name: {job}, static_configs: [{{targets: ["{target}"]}}]}}
"""


@attrs.frozen
class Prometheus:
    """A running server, asked over its HTTP API."""

    url: str

    async def get(self, path: str) -> bytes:
        def read() -> bytes:
            with urlopen(self.url + path, timeout=10) as answer:
                return answer.read()

        return await trio.to_thread.run_sync(read)

    async def wait_until_ready(self) -> None:
        while True:
            try:
                await self.get("/-/ready")
            except HTTPError as error:
                # It answers already, and is not ready: the answer holds a socket.
                error.close()
                await trio.sleep(0.1)
            except URLError:
                await trio.sleep(0.1)
            else:
                return

    async def series(
        self, selector: str, window: str = "60s", at_s: float | None = None
    ) -> list[tuple[dict[str, str], dict[float, float]]]:
        """Labels of every series of the window's time, and its raw samples: time to value."""
        return [
            (item["metric"], {time_s: float(value) for time_s, value in item["values"]})
            for item in await self._query(f"{selector}[{window}]", at_s)
        ]

    async def now(self, query: str, at_s: float | None = None) -> list[tuple[dict[str, str], float]]:
        """Labels and value of everything that a query answers."""
        return [(item["metric"], float(item["value"][1])) for item in await self._query(query, at_s)]

    async def rules(self) -> list[dict]:
        """Every rule in the order of its file, with its health and its last error."""
        groups = json.loads(await self.get("/api/v1/rules"))["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def _query(self, query: str, at_s: float | None) -> list[dict]:
        parameters = {"query": query} if at_s is None else {"query": query, "time": at_s}
        return json.loads(await self.get(f"/api/v1/query?{urlencode(parameters)}"))["data"]["result"]


async def start_prometheus(
    nursery: trio.Nursery, folder: Path, targets: dict[str, str], rules: Path | None = None
) -> Prometheus:
    """Run a Prometheus that scrapes each second; `targets` are HOST:PORT by job, `rules` a file of rules."""
    config = folder / "prometheus.yml"
    jobs = "".join(JOB.format(job=job, target=target) for job, target in targets.items())
    config.write_text(CONFIG + jobs + ("" if rules is None else RULES.format(rules=rules)))
    address = f"127.0.0.1:{free_port()}"
    command = [
        PROMETHEUS,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    log = (folder / "prometheus.log").open("wb")
    nursery.start_soon(partial(trio.run_process, command, stdout=log, stderr=subprocess.STDOUT))
    prometheus = Prometheus(f"http://{address}")
    with trio.fail_after(30):
        await prometheus.wait_until_ready()
    log.close()
    return prometheus
