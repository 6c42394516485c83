"""The composition root of a node in several processes: the supervisor's side, and the worker's."""

import ipaddress
import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

import attrs
import trio

from leanmesh.contain import ContainedErrors
from leanmesh.devnet import Share
from leanmesh.errors import LocalError, NodeError
from leanmesh.identity.keys import PrivateKey
from leanmesh.metrics.bookkeeping import add_bookkeeping
from leanmesh.metrics.catalog_lean import NODE_INFO, NODE_START_TIME
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.mesh_peers import add_mesh_peers
from leanmesh.metrics.process import add_process_metrics
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.metrics.stored_sources import StoredSources
from leanmesh.metrics.worker_cells import WorkerCells
from leanmesh.metrics.worker_metrics import add_worker_metrics
from leanmesh.run import STOP_GRACE_S, open_cells, open_node, watch_loop
from leanmesh.service.api import PAGES
from leanmesh.service.descriptors import raise_descriptor_limit
from leanmesh.service.node import Node
from leanmesh.service.params import NetworkParams, WorkerParams
from leanmesh.service.supervisor import Complete, Supervisor
from leanmesh.service.worker_api import ask_workers, describe_workers
from leanmesh.service.worker_figures import add_worker_figures
from leanmesh.service.worker_life import Unanswered
from leanmesh.service.worker_messages import (
    Answer,
    Ask,
    Channel,
    Failed,
    Hello,
    NetworkFacts,
    Ready,
    Start,
    Stopped,
)
from leanmesh.service.worker_process import die_with_parent, inherited_channel
from leanmesh.settings import CONVERTER, Settings
from leanmesh.web.endpoints import build_app
from leanmesh.web.http import Request, Response, Route, error_response, json_response
from leanmesh.web.params import WebParams, split_address
from leanmesh.web.server import HttpServer
from leanmesh.web.server_metrics import add_server_metrics

# The last words of a worker are few; a supervisor that does not take them is not waited for.
LAST_WORDS_TIMEOUT_S = 1.0


# The supervisor's side.


@attrs.frozen
class WorkersReady:
    """What is known once all networks run: the workers, the address that was taken, our cells' file."""

    supervisor: Supervisor
    snapshotter: Snapshotter
    metrics_url: str
    cells_path: Path | None

    def total(self, name: str) -> float:
        """The sum over all series of one family, in the present snapshot."""
        return sum(
            cast(float, series.value)
            for family in self.snapshotter.current.families
            if family.spec.name == name
            for series in family.series
        )


def worker_command(*options: str) -> tuple[str, ...]:
    """What starts a worker: this program under this interpreter, whatever lies in the working directory."""
    return (sys.executable, "-P", "-m", "leanmesh", "worker", *options)


async def run_workers(
    settings: Settings,
    command: Sequence[str],
    *,
    complete: Complete | None = None,
    share: Share | None = None,
    task_status: trio.TaskStatus[WorkersReady] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the networks of the settings in worker processes, and one HTTP endpoint for all, until cancelled.

    `command` starts one worker; `complete` is the Supervisor's; `share` is what each worker
    does of a devnet.  Reports readiness when all networks run and the first scrape is answered
    with data.  It takes the process for its own: SIGHUP replaces all workers, and the limit of
    open files is raised as far as permitted.
    """
    raise_descriptor_limit()
    cells = open_cells()
    try:
        cells.signed_words[cells.gauge(NODE_INFO, "leanmesh", version("leanmesh"))] = 1
        cells.signed_words[cells.gauge(NODE_START_TIME)] = int(time.time())
        worker_cells = WorkerCells(cells)
        contained = ContainedErrors()
        supervisor = Supervisor(
            settings.workers,
            settings.network,
            command,
            partial(settings_for, settings),
            worker_cells,
            cells,
            settings.service.stop_timeout_s,
            complete,
            None if share is None else attrs.asdict(share),
        )
        snapshotter = Snapshotter(settings.metrics, sources=StoredSources(cells=cells), cells=worker_cells)
        add_process_metrics(snapshotter)
        add_mesh_peers(snapshotter)
        add_bookkeeping(snapshotter, contained, cells)
        add_worker_metrics(snapshotter, worker_cells)
        add_worker_figures(snapshotter, supervisor.workers)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_loop, cells)
            await nursery.start(supervisor.listen_for_hangup)
            await nursery.start(supervisor.run)
            await nursery.start(snapshotter.run)
            app = build_app(
                snapshotter,
                settings.web,
                reasons=supervisor.reasons,
                json_sources={"/api/workers": partial(describe_workers, supervisor)},
                more_routes={path: partial(_answer, supervisor, snapshotter, path) for path in PAGES},
                posts=_posts(settings.web, supervisor),
            )
            server = HttpServer(app, settings.web, contained)
            add_server_metrics(snapshotter, server)
            address = await nursery.start(server.run)
            url = f"http://{address}/metrics"
            task_status.started(WorkersReady(supervisor, snapshotter, url, cells.block.path))
    finally:
        cells.close()


def settings_for(settings: Settings, networks: tuple[NetworkParams, ...]) -> dict[str, Any]:
    """What one worker needs: its networks, and the sinks of these.

    A worker that is started again must not wait for a server: its networks are needed.
    """
    first, ids = settings.network[0].network_id, {network.network_id for network in networks}
    carried = [first if sink.network_id is None else sink.network_id for sink in settings.nats]
    nats = tuple(
        attrs.evolve(sink, starts_without_server=True)
        for sink, network_id in zip(settings.nats, carried, strict=True)
        if network_id in ids
    )
    return attrs.asdict(attrs.evolve(settings, network=networks, workers=WorkerParams(), nats=nats))


async def _answer(supervisor: Supervisor, snapshotter: Snapshotter, path: str, request: Request) -> Response:
    try:
        return json_response(await ask_workers(supervisor, path, snapshotter.current.generation))
    except Unanswered as reason:
        return error_response(HTTPStatus.SERVICE_UNAVAILABLE, str(reason))


def _posts(web: WebParams, supervisor: Supervisor) -> Mapping[str, Route]:
    """What may be changed over HTTP: nothing, when others than this machine can ask."""
    host, _ = split_address(web.listen)
    if not ipaddress.ip_address(host).is_loopback:
        return {}
    return {"/api/recycle": partial(_recycle, supervisor)}


async def _recycle(supervisor: Supervisor, request: Request) -> Response:
    """Replace the workers that `?worker=N`, also repeated, names; all without it."""
    await trio.lowlevel.checkpoint()
    try:
        chosen = supervisor.recycle("the API", *_numbers(request.query))
    except (ValueError, LocalError) as error:
        return error_response(HTTPStatus.BAD_REQUEST, f"?worker=N names no worker: {error}")
    return json_response({"recycling": chosen}, HTTPStatus.ACCEPTED)


def _numbers(query: str) -> list[int]:
    """The workers that a query names.  ValueError for one that says anything else: nothing stands for all."""
    fields = parse_qs(query, keep_blank_values=True, max_num_fields=64)
    numbers = fields.pop("worker", [])
    if fields:
        raise ValueError(
            f"{next(iter(fields))!r} is unknown here; write ?worker=N, or nothing for all workers"
        )
    if "" in numbers:
        raise ValueError("the number is missing; leave ?worker out for all workers")
    return [int(text) for text in numbers]


# The worker's side.


async def run_worker(channel_descriptor: int, cells_descriptor: int, supervisor_pid: int) -> None:
    """Run the networks that the supervisor names until cancelled; what keeps them from it is told there.

    It takes the process for its own, which ends with the supervisor whatever ends that.
    """
    die_with_parent(supervisor_pid)
    raise_descriptor_limit()
    channel = inherited_channel(channel_descriptor)
    async with channel.stream:
        await channel.send(Hello())
        start = await channel.receive()
        if not isinstance(start, Start):
            return
        cells = Cells.in_memfd(cells_descriptor)
        os.close(cells_descriptor)
        try:
            await _run_networks(channel, start, cells)
        except NodeError as error:
            await channel.send(Failed(str(error), isinstance(error, LocalError)))
        except trio.BrokenResourceError:
            # The supervisor is gone; there is nobody to tell.
            return
        finally:
            cells.close()


async def _run_networks(channel: Channel, start: Start, cells: Cells) -> None:
    settings: Settings = CONVERTER.structure(start.settings, Settings)
    keys = {int(number): PrivateKey.decode(bytes.fromhex(text)) for number, text in start.keys.items()}
    sources = StoredSources(cells=cells, stores_errors=True)
    async with open_node(settings, cells=cells, keys=keys, sources=sources) as node:
        try:
            await channel.send(Ready(_facts(node)))
            async with trio.open_nursery() as nursery:
                if start.devnet is not None:
                    nursery.start_soon(CONVERTER.structure(start.devnet, Share).run, node)
                await _answer_questions(channel, node)
                nursery.cancel_scope.cancel()
        finally:
            stop_limit_s = settings.service.stop_timeout_s + STOP_GRACE_S
            with trio.move_on_after(stop_limit_s, shield=True):
                await node.stop()
                # What the networks counted until their end.
                await node.refresh_metrics()
            with trio.move_on_after(LAST_WORDS_TIMEOUT_S, shield=True):
                await channel.send(Stopped())


def _facts(node: Node) -> tuple[NetworkFacts, ...]:
    return tuple(
        NetworkFacts(
            network_id,
            str(network.key.peer_id),
            tuple(str(address) for address in network.listen_addresses),
            tuple(str(address) for address in network.live.switch.listen_addresses),
            tuple(network.topics),
        )
        for network_id, network in node.networks.items()
    )


async def _answer_questions(channel: Channel, node: Node) -> None:
    """Answer what the supervisor asks until it has ended."""
    while isinstance(question := await channel.receive(), Ask):
        describe = PAGES.get(question.path)
        content = {} if describe is None else describe(node)
        await channel.send(Answer(question.number, content))
