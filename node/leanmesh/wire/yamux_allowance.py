"""How often something may happen: so many times at once, and so many more per second."""

import attrs


@attrs.define(eq=False)
class Allowance:
    """A token bucket.  It is full at first, and silence never fills it beyond its burst."""

    burst: int
    per_s: float
    _left: float = attrs.field(init=False)
    _refilled_at_s: float = attrs.field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        self._left = float(self.burst)

    def spend(self, now_s: float) -> bool:
        """Take one; False when none is left."""
        refilled = self._left + (now_s - self._refilled_at_s) * self.per_s
        self._left = min(float(self.burst), refilled)
        self._refilled_at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
