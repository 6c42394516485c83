"""Peers that others wrote, as child processes: started, listened to and ended.

`start_peer` is what tests and benchmarks use. What a peer says is kept whole, so that a test may ask for
something that was said before it asked, and so that a failure can show everything.
"""

import json
import math
import os
import subprocess
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
from interop.build import LANGUAGES

Event = dict[str, Any]

REQUIREMENT_VARIABLE = "LEANMESH_INTEROP"
START_TIMEOUT_S = 60.0
# Waited out only when something is wrong: wide enough for a busy machine.
ANSWER_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
SHOWN_EVENTS = 20
PERIODIC = ("mesh", "summary")
SHOWN_ERROR_LINES = 40
READ_BYTES = 65536


class PeerTimeoutError(AssertionError):
    """A peer did not say in time what was waited for; the message shows what it said instead."""


class PeerNotBuiltError(Exception):
    """The program is not in the cache; the message says how it gets there."""


class Peer:
    """One running peer: what it said so far, and ways to wait for more."""

    def __init__(self, language: str, process: trio.Process) -> None:
        self.language = language
        self.process = process
        self.events: list[Event] = []
        self._by_kind: defaultdict[str, list[Event]] = defaultdict(list)
        self.errors: deque[str] = deque(maxlen=SHOWN_ERROR_LINES)
        self.has_ended = False
        self._said_more = trio.Event()

    @property
    def peer_id(self) -> str:
        """The peer id it told at start."""
        return self.all("listening")[0]["peer_id"]

    @property
    def address(self) -> str:
        """The first multiaddr it told at start, with /p2p/."""
        return self.all("listening")[0]["addresses"][0]

    @property
    def pid(self) -> int:
        """The process, for those who count its CPU time or kill it."""
        return self.process.pid

    def all(self, event: str, **fields: object) -> list[Event]:
        """Every line of this kind so far whose fields have these values."""
        said = self._by_kind[event]
        return [one for one in said if all(one.get(name) == value for name, value in fields.items())]

    def last(self, event: str, **fields: object) -> Event | None:
        """The newest such line, if there is one."""
        found = self.all(event, **fields)
        return found[-1] if found else None

    def mesh(self, topic: str) -> list[str] | None:
        """The mesh as it told it last, at most a second ago; None before it told any."""
        told = self.last("mesh", topic=topic)
        return told and told["peers"]

    async def expect(self, event: str, *, timeout_s: float = ANSWER_TIMEOUT_S, **fields: object) -> Event:
        """The first line of this kind whose fields have these values, said before or yet to come."""
        await self.until(
            lambda: bool(self.all(event, **fields)),
            what=f"{event} {fields or ''}".strip(),
            timeout_s=timeout_s,
        )
        return self.all(event, **fields)[0]

    async def until(
        self, holds: Callable[[], bool], *, what: str, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> None:
        """Wait until a condition over what was said holds; looked at after each chunk of output."""
        with trio.move_on_after(timeout_s):
            while not holds() and not self.has_ended:
                await self._said_more.wait()
        if not holds():
            reason = "it has ended" if self.has_ended else f"{timeout_s:g} s have passed"
            raise PeerTimeoutError(f"no {what} from the {self.language} peer: {reason}\n{self.account()}")

    def account(self) -> str:
        """What it said last and what it complained of, for a failure's message."""
        counts = ", ".join(f"{len(said)} {kind}" for kind, said in self._by_kind.items())
        telling = [event for event in self.events if event["event"] not in PERIODIC]
        said = "\n".join(json.dumps(event) for event in telling[-SHOWN_EVENTS:])
        return f"said {counts}; last:\n{said}\nstandard error:\n" + "\n".join(self.errors)

    async def command(self, *words: str) -> None:
        """Tell it something on standard input: `publish`, or `dial MULTIADDR`."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all((" ".join(words) + "\n").encode())

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Close its standard input and wait; its exit code."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()
        with trio.fail_after(timeout_s):
            return await self.process.wait()

    async def listen(self) -> None:
        """Read what it says until it ends."""
        assert self.process.stdout is not None
        rest = b""
        while chunk := await self.process.stdout.receive_some(READ_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                self.events.append(event)
                self._by_kind[event["event"]].append(event)
            self._wake()
        self.has_ended = True
        self._wake()

    async def listen_to_errors(self) -> None:
        """Keep the last lines of its standard error."""
        assert self.process.stderr is not None
        rest = b""
        while chunk := await self.process.stderr.receive_some(READ_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            self.errors.extend(line.decode(errors="replace") for line in lines)

    def _wake(self) -> None:
        self._said_more.set()
        self._said_more = trio.Event()


def why_not(language: str) -> str | None:
    """Why this peer cannot be started on this machine as it is; None when it can."""
    chosen = LANGUAGES[language]
    if chosen.is_built:
        return None
    if missing := chosen.missing_tools():
        return f"the {language} peer is not built, and {', '.join(missing)} is not on PATH"
    return f"the {language} peer is not built: run `just interop-build {language}`"


def skip_without(*languages: str) -> None:
    """Skip the running test when one of these peers is missing, or fail it where they are required.

    To be called from a synchronous hook or fixture: a skip inside a Trio test loses its reason.
    """
    for language in languages:
        if reason := why_not(language):
            if os.environ.get(REQUIREMENT_VARIABLE) == "require":
                pytest.fail(f"{REQUIREMENT_VARIABLE}=require, but {reason}", pytrace=False)
            pytest.skip(reason)


async def start_peer(nursery: trio.Nursery, language: str, *arguments: str | float) -> Peer:
    """A peer of this language (go, js, py) with these options, once it listens; it ends with the nursery."""
    if reason := why_not(language):
        raise PeerNotBuiltError(reason)
    return await start_program(nursery, language, [*LANGUAGES[language].command, *map(str, arguments)])


async def start_program(nursery: trio.Nursery, name: str, command: Sequence[str]) -> Peer:
    """Any program that speaks as these peers do, once it listens."""
    process: trio.Process = await nursery.start(_run, command)
    peer = Peer(name, process)
    nursery.start_soon(peer.listen)
    nursery.start_soon(peer.listen_to_errors)
    await peer.expect("listening", timeout_s=START_TIMEOUT_S)
    return peer


async def _run(command: Sequence[str], *, task_status: Any) -> None:
    await trio.run_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
        deliver_cancel=_end,
        task_status=task_status,
    )


async def _end(process: trio.Process) -> None:
    """Ask it to stop, and make it stop when it does not."""
    process.terminate()
    with trio.CancelScope(deadline=trio.current_time() + STOP_TIMEOUT_S, shield=True) as patience:
        await process.wait()
    if patience.cancelled_caught:
        process.kill()


def pattern(count: int, phase: int = 0) -> bytes:
    """What `source` sends and `--upload` uploads: byte i % 251, from i = phase."""
    period = bytes(range(251))
    start = phase % 251
    return (period * (math.ceil((start + count) / 251)))[start : start + count]
