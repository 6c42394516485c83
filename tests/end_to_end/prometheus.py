"""A real Prometheus for the tests: started, asked, and ended with the test."""

import json
import shutil
import socket
import subprocess
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import attrs
import pytest
import trio

PROMETHEUS = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None, reason="prometheus is not installed (Debian: apt install prometheus)"
)

CONFIG = """
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
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
            except URLError:
                await trio.sleep(0.1)
            else:
                return

    async def series(
        self, selector: str, window: str = "60s"
    ) -> list[tuple[dict[str, str], dict[float, float]]]:
        """Labels of every series of the last minute, and its raw samples: time to value."""
        body = await self.get(f"/api/v1/query?{urlencode({'query': f'{selector}[{window}]'})}")
        return [
            (item["metric"], {time_s: float(value) for time_s, value in item["values"]})
            for item in json.loads(body)["data"]["result"]
        ]

    async def now(self, query: str) -> list[tuple[dict[str, str], float]]:
        body = await self.get(f"/api/v1/query?{urlencode({'query': query})}")
        return [(item["metric"], float(item["value"][1])) for item in json.loads(body)["data"]["result"]]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


async def start_prometheus(nursery: trio.Nursery, folder: Path, targets: dict[str, str]) -> Prometheus:
    """Run a Prometheus that scrapes each second; `targets` are HOST:PORT by job."""
    config = folder / "prometheus.yml"
    jobs = "".join(JOB.format(job=job, target=target) for job, target in targets.items())
    config.write_text(CONFIG + jobs)
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
