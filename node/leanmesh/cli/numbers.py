"""Numbers that flags take."""

import math
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A number in a range.  `nan` and `inf` are none, though Python reads them as such."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See click.ParamType."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number.", param, ctx)
        return number


NOT_NEGATIVE = FiniteRange(min=0)
