"""Validators: what an application says of each message before it is passed on.

A validator answers with a Verdict, or True for accept and False for reject.
It may be a plain function, an async function on Trio, or a plain function that
runs in a thread.  One that raises is counted under its name and its message is
ignored: nobody is blamed for our bug.  One that hangs is cancelled, or its
thread abandoned, and its message is ignored too.
"""

import inspect
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio

from leanmesh.contain import ContainedErrors
from leanmesh.errors import LocalError
from leanmesh.gossip.validation import Ticket, Verdict
from leanmesh.service.metering import WorkMeter
from leanmesh.service.params import ServiceParams
from leanmesh.service.subscriptions import ReceivedMessage

Answer = Verdict | bool
Validator = Callable[[ReceivedMessage], Answer] | Callable[[ReceivedMessage], Awaitable[Answer]]
OnVerdict = Callable[[Ticket, Verdict], None]


@attrs.frozen
class _Registered:
    name: str
    validator: Validator
    is_async: bool
    in_thread: bool


def _verdict(answer: object, name: str) -> Verdict:
    if isinstance(answer, Verdict):
        return answer
    if isinstance(answer, bool):
        return Verdict.ACCEPT if answer else Verdict.REJECT
    raise TypeError(f"the validator {name} answered {answer!r}; a Verdict, True or False was due")


@attrs.define(eq=False)
class Validators:
    """The validators of one network, one per topic, and the tasks that run them."""

    params: ServiceParams
    contained: ContainedErrors
    on_verdict: OnVerdict
    timeout_s: float
    meter: WorkMeter | None = None
    _by_topic: dict[str, _Registered] = attrs.field(factory=dict[str, _Registered], init=False)
    _threads: trio.CapacityLimiter = attrs.field(init=False)
    _tasks: trio.CapacityLimiter = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._threads = trio.CapacityLimiter(self.params.validator_threads_limit)
        self._tasks = trio.CapacityLimiter(self.params.validator_tasks_limit)

    @property
    def topics(self) -> list[str]:
        """The topics that have one."""
        return list(self._by_topic)

    def __contains__(self, topic: object) -> bool:
        return topic in self._by_topic

    def add(self, topic: str, validator: Validator, *, in_thread: bool) -> None:
        """Have every message of a topic judged.  LocalError when the topic has a validator."""
        if topic in self._by_topic:
            raise LocalError(
                f"{topic} has the validator {self._by_topic[topic].name}; compose two into one function"
            )
        is_async = inspect.iscoroutinefunction(validator) or inspect.iscoroutinefunction(
            getattr(validator, "__call__", None)  # noqa: B004 - the method's kind is asked, not its presence
        )
        if is_async and in_thread:
            raise LocalError("an async validator runs on Trio's loop; in_thread is for plain functions")
        name = f"validator:{getattr(validator, '__qualname__', type(validator).__name__)}"
        self._by_topic[topic] = _Registered(name, validator, is_async, in_thread)

    def remove(self, topic: str) -> None:
        """Judge a topic's messages no longer.  Harmless when nobody does."""
        self._by_topic.pop(topic, None)

    def judge(self, ticket: Ticket, nursery: trio.Nursery) -> Verdict | None:
        """The verdict of a plain function; None when a task in `nursery` will hand it to `on_verdict`."""
        registered = self._by_topic.get(ticket.message.topic)
        if registered is None:
            # Removed while the message was on its way to it.
            return Verdict.ACCEPT
        if registered.is_async or registered.in_thread:
            nursery.start_soon(self._judge_later, registered, ticket)
            return None
        with self.contained.contain(registered.name):
            return _verdict(self._call(registered, _seen_as(ticket)), registered.name)
        return Verdict.IGNORE

    def _call(self, registered: _Registered, message: ReceivedMessage) -> object:
        meter = self.meter
        if meter is None:
            return registered.validator(message)
        return meter.timed(meter.validation, message.topic, "sync", registered.validator, message)

    async def _judge_later(self, registered: _Registered, ticket: Ticket) -> None:
        verdict = Verdict.IGNORE
        async with self._tasks:
            # The router may have given the message up while it waited for its turn.
            if not ticket.is_open:
                return
            # The router gives the message up at the same time; what hangs must not keep the place.
            with self.contained.contain(registered.name), trio.move_on_after(self.timeout_s):
                verdict = _verdict(await self._ask(registered, _seen_as(ticket)), registered.name)
        self.on_verdict(ticket, verdict)

    async def _ask(self, registered: _Registered, message: ReceivedMessage) -> object:
        meter = self.meter
        if registered.in_thread:
            call = partial(registered.validator, message)
            if meter is not None:
                call = meter.for_thread(message.topic, call)
            return await trio.to_thread.run_sync(call, limiter=self._threads, abandon_on_cancel=True)
        answer = registered.validator(message)
        assert inspect.isawaitable(answer), "add() found it to be async"
        if meter is None:
            return await answer
        return await meter.awaited(meter.validation, message.topic, "async", answer)


def _seen_as(ticket: Ticket) -> ReceivedMessage:
    message = ticket.message
    return ReceivedMessage(
        message.topic, ticket.data, ticket.message_id, message.source, ticket.peer, ticket.received_at_s
    )
