"""The one place that catches Exception: around callables that users gave us.

Validators, refreshers, sinks and observers are code we did not write.  One
that raises is counted under its name, reported with its trace, and the node
goes on.  Nothing of ours is wrapped: a bug in the node has to be loud.
"""

import logging
from collections.abc import Generator
from contextlib import contextmanager

import attrs

LOGGER = logging.getLogger(__name__)


@attrs.define
class ContainedErrors:
    """How often each named callable raised.  One per process, read by the metrics."""

    counts: dict[str, int] = attrs.field(factory=dict[str, int])

    @contextmanager
    def contain(self, name: str) -> Generator[None]:
        """Run a user's callable inside: an exception is counted under `name`, logged, and ends here.

        Cancellation is no Exception and passes through.
        """
        try:
            yield
        except Exception:
            self.counts[name] = self.counts.get(name, 0) + 1
            LOGGER.exception("%s raised; its exception was counted and the node goes on", name)
