"""Making room in tables that are bounded in number and kept in the order of age."""

from itertools import islice
from typing import Any

# Of a full table, one part in so many goes at once.
PARTS = 64


def make_room(table: dict[Any, Any], limit: int) -> int:
    """Drop the oldest entries of a table if it has reached its limit; how many those were.

    Not one by one: a dict that is asked for its first entry passes over all that were deleted before it,
    thousands of them in a full table.  Going through the oldest once for many costs next to nothing.
    """
    if len(table) < limit:
        return 0
    oldest = list(islice(table, max(1, limit // PARTS)))
    for key in oldest:
        del table[key]
    return len(oldest)
