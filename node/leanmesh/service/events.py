"""Events: the changes that matter to an operator, as log records that are also data.

`tell` makes one record with a sentence for people and fields for programs; the
command line prints the one or the other.
"""

import logging

LOGGER = logging.getLogger("leanmesh.events")


def tell(event: str, sentence: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Say that something changed.  `fields` are what JSON can hold."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, sentence, extra={"event": event, "fields": fields})
