"""Pauses between attempts at what runs for ever: doubled up to a limit, begun anew after a good run."""

import attrs


@attrs.define
class Pauses:
    """The pauses of one thing.  They begin anew after it has run for `stable_after_s`."""

    first_s: float
    limit_s: float
    stable_after_s: float
    _pause_s: float = attrs.field(default=0.0, init=False)

    def next_s(self, ran_s: float | None) -> float:
        """The pause behind an attempt after which it ran for `ran_s`; None when it did not run at all."""
        if ran_s is not None and ran_s >= self.stable_after_s:
            self._pause_s = 0.0
        self._pause_s = min(2 * self._pause_s or self.first_s, self.limit_s)
        return self._pause_s
