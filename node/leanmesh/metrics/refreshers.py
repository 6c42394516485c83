"""Refreshers: callables that bring stored values up to date just before a snapshot is taken.

At most sixteen.  Plain ones run first, then those with a context, each in the
order of registration and exactly once per refresh.  One that raises is counted
under its name and the others still run.  One that registers another takes
effect at the next refresh.
"""

from collections.abc import Callable
from typing import TypeVar

import attrs

from leanmesh.contain import ContainedErrors
from leanmesh.errors import LocalError
from leanmesh.metrics.params import REFRESHER_LIMIT

Context = TypeVar("Context")


@attrs.define(eq=False)
class RefresherHandle:
    """What a registration hands out: the way to take it back."""

    name: str
    _refresh: Callable[[], None]
    _holders: "list[RefresherHandle]"

    @property
    def is_registered(self) -> bool:
        """Whether refreshes still call it."""
        return self in self._holders

    def unregister(self) -> None:
        """Take the refresher out.  It is not called again, not even later in a refresh under way."""
        if self in self._holders:
            self._holders.remove(self)

    def call(self) -> None:
        """Call the refresher."""
        self._refresh()


@attrs.define(eq=False)
class Refreshers:
    """The registered refreshers of one snapshotter."""

    errors: ContainedErrors = attrs.field(factory=ContainedErrors)
    _plain: list[RefresherHandle] = attrs.field(factory=list[RefresherHandle], init=False)
    _with_context: list[RefresherHandle] = attrs.field(factory=list[RefresherHandle], init=False)
    _is_running: bool = attrs.field(default=False, init=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all that are registered, in the order in which they run."""
        return tuple(handle.name for handle in (*self._plain, *self._with_context))

    def register(self, name: str, refresh: Callable[[], None]) -> RefresherHandle:
        """Have `refresh()` called at each refresh.  LocalError when all places or the name are taken."""
        return self._add(self._plain, name, refresh)

    def register_with_context(
        self, name: str, refresh: Callable[[Context], None], context: Context
    ) -> RefresherHandle:
        """Have `refresh(context)` called at each refresh, after the plain ones."""
        return self._add(self._with_context, name, lambda: refresh(context))

    def run(self) -> None:
        """Call each refresher once.  Those registered meanwhile wait for the next time."""
        if self._is_running:
            raise LocalError("a refresher asked for a refresh; it runs inside one already")
        self._is_running = True
        try:
            for handle in (*self._plain, *self._with_context):
                if handle.is_registered:
                    with self.errors.contain(handle.name):
                        handle.call()
        finally:
            self._is_running = False

    def _add(self, holders: list[RefresherHandle], name: str, refresh: Callable[[], None]) -> RefresherHandle:
        if name in self.names:
            raise LocalError(f"a refresher named {name!r} is registered; errors are counted by name")
        if len(self.names) >= REFRESHER_LIMIT:
            raise LocalError(
                f"no place for the refresher {name!r}: all {REFRESHER_LIMIT} are taken, by "
                + ", ".join(self.names)
            )
        handle = RefresherHandle(name, refresh, holders)
        holders.append(handle)
        # Its error count starts at 0 and is on the page from the start.
        self.errors.counts.setdefault(name, 0)
        return handle
