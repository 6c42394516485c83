"""The API of a node in several processes: every worker is asked, and the answers are put together.

A page has the same shape as that of one process, and two lists more: who did
not answer and why, which nobody waits for.
"""

from typing import Any, cast

import attrs
import trio

from leanmesh.service.supervisor import Supervisor
from leanmesh.service.worker import Worker
from leanmesh.service.worker_life import Unanswered

# The page whose facts the supervisor has itself.
NODE = "/api/node"


async def ask_workers(supervisor: Supervisor, path: str, generation: int) -> dict[str, Any]:
    """The page under `path`: the lists of all workers as one, by network; `unanswered` names the rest.

    Unanswered when nobody has answered; who the networks are is known even then.
    """
    answers: dict[int, dict[str, Any]] = {}
    unanswered: dict[int, str] = {}

    async def ask(worker: Worker) -> None:
        try:
            answers[worker.number] = await worker.ask(path)
        except Unanswered as reason:
            unanswered[worker.number] = str(reason)

    async with trio.open_nursery() as nursery:
        for worker in supervisor.workers:
            nursery.start_soon(ask, worker)
    if not answers and path != NODE:
        raise Unanswered("; ".join(unanswered[number] for number in sorted(unanswered)))
    merged = _merged([answers[number] for number in sorted(answers)])
    if path == NODE:
        for worker in supervisor.workers:
            _add_networks(merged, worker, is_running=worker.number in answers)
    if "generation" in merged:
        # A worker's own number says nothing beyond it; this one is that of /metrics.
        merged["generation"] = generation
    for value in merged.values():
        if isinstance(value, list):
            _sort(cast("list[Any]", value))
    merged["unanswered"] = [
        {"worker": worker.number, "networks": _ids(worker), "reason": unanswered[worker.number]}
        for worker in supervisor.workers
        if worker.number in unanswered
    ]
    return merged


def describe_workers(supervisor: Supervisor) -> dict[str, Any]:
    """Every worker: where it stands, which process it is, what it runs, and what is wrong with it."""
    return {"workers": [_describe(worker) for worker in supervisor.workers]}


def _describe(worker: Worker) -> dict[str, Any]:
    life = worker.life
    age_s = worker.heartbeat_age_s
    incarnation = None if life is None else life.handle.incarnation
    return {
        "worker": worker.number,
        "state": worker.state,
        "trouble": worker.trouble(),
        "networks": _ids(worker),
        "pid": None if life is None else life.process.pid,
        "incarnation": None if incarnation is None else f"{incarnation:016x}",
        "heartbeat_age_s": None if age_s is None else round(age_s, 3),
        "restarts": worker.restarts,
    }


def _ids(worker: Worker) -> list[int]:
    return [network.network_id for network in worker.networks]


def _merged(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Lists one after the other, numbers added up; of everything else the first."""
    merged: dict[str, Any] = {}
    for answer in answers:
        for key, value in answer.items():
            if key in merged and isinstance(value, list | int):
                merged[key] += value
            else:
                merged.setdefault(key, value)
    return merged


def _add_networks(merged: dict[str, Any], worker: Worker, *, is_running: bool) -> None:
    """Networks whose worker does not answer, as they were when they ran last; and whose worker each is."""
    networks: list[dict[str, Any]] = merged.setdefault("networks", [])
    if not is_running:
        for facts in worker.facts:
            known = attrs.asdict(facts)
            del known["bound"]
            networks.append({**known, "is_running": False})
    ids = _ids(worker)
    for network in networks:
        if network["network_id"] in ids:
            network["worker"] = worker.number


def _sort(items: list[Any]) -> None:
    if all(isinstance(item, dict) and "network_id" in item for item in items):
        items.sort(key=lambda item: item["network_id"])
