"""Which messages are looked at: a share of them, chosen by a keyed hash of their ids.

The hash is the interpreter's own SipHash, whose key is drawn when the process
starts: tables that hold the id have asked for it already, so it costs next to
nothing, and no peer can choose ids that are passed over.  Every copy of a
message has the same fate.  Processes that are to choose the same messages are
started with the same PYTHONHASHSEED, as a supervisor does with its workers.
"""

import os
import secrets
import sys
from collections.abc import Mapping
from functools import cache

from leanmesh.errors import LocalError

SAMPLE_RATE_LIMIT = 1 << 32

# The interpreter takes the key of its hash from a number up to 2^32 - 1; 0 is no key.
SEED_VARIABLE = "PYTHONHASHSEED"
SEED_LIMIT = (1 << 32) - 1


@cache
def shared_environment() -> Mapping[str, str]:
    """What goes into the environment of workers, so that they share the key; the same for all of them."""
    given = os.environ.get(SEED_VARIABLE, "random")
    return {SEED_VARIABLE: str(1 + secrets.randbelow(SEED_LIMIT)) if given == "random" else given}


def check_sample_rate(name: str, rate: int) -> None:
    """LocalError unless `rate` is a power of two: 1 takes every message, 64 one of 64."""
    if not 1 <= rate <= SAMPLE_RATE_LIMIT or rate & (rate - 1):
        raise LocalError(
            f"{name} must be a power of two from 1 to {SAMPLE_RATE_LIMIT} (64 takes one of 64), not {rate}"
        )


def sampling_mask(rate: int) -> int:
    """The mask of a rate: a message is in the sample when `hash(message_id) & mask` is 0.

    LocalError when the hash has no secret key and a sample is wanted.
    """
    check_sample_rate("the sample rate", rate)
    if rate > 1 and not (sys.flags.hash_randomization and sys.hash_info.algorithm.startswith("siphash")):
        raise LocalError(
            f"a sample of one in {rate} needs a secret hash, or peers could choose ids that it leaves out: "
            f"this interpreter hashes with {sys.hash_info.algorithm}, PYTHONHASHSEED=0 takes its key away"
        )
    return rate - 1
