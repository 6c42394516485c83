"""Limits of the gossip wire: what one frame from a peer may hold, and what may wait for a peer."""

from typing import Any, TypeVar

import attrs

from leanmesh.errors import LocalError

Number = TypeVar("Number", int, float)


class BadWireLimit(LocalError):
    """A limit that nothing could pass."""


def _limit(default: Number, reason: str) -> Number:
    """A field that must be positive; the reason goes into the documentation."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: float) -> None:
        # `not >` rather than `<=`: a NaN must fail too.
        if not value > 0 or value == float("inf"):
            raise BadWireLimit(f"{attribute.name} is {value}; it must be a number above 0")

    return attrs.field(default=default, metadata={"reason": reason}, validator=check)


@attrs.frozen(kw_only=True)
class WireLimits:
    """What one received RPC may hold.  A frame above any of these is refused before objects are made.

    Each number lies above what honest peers send and far below what hurts: 350,000 subscriptions fit into a
    frame of 4 MB and cost 89 MB as objects (CVE-2026-46679).  The frame's own size is the framer's to bound.
    """

    subscriptions: int = _limit(
        1_000,
        "A hello names all topics of a peer in one RPC; the field's busiest nodes take some hundreds.",
    )
    publishes: int = _limit(
        5_000,
        "go answers an IWANT of 5,000 ids in as few RPCs as fit 1 MiB.",
    )
    control_entries: int = _limit(
        5_000,
        "js's own bound for IHAVE, IWANT, GRAFT, PRUNE and IDONTWANT entries together.",
    )
    message_ids: int = _limit(
        10_000,
        "IHAVE, IWANT and IDONTWANT together.  go sends at most 5,000 per kind and heartbeat.",
    )
    message_id_bytes: int = _limit(
        256,
        "go's default id takes 46 bytes.  Ids are remembered, so their size counts.",
    )
    topic_bytes: int = _limit(
        1_024,
        "Topics are remembered and become labels; the longest in the field have some 100 bytes.",
    )
    px_peers: int = _limit(
        512,
        "Sixteen per PRUNE is the custom; a peer that leaves 32 topics at once says so in one RPC.",
    )
    fields: int = _limit(
        40_000,
        "Fields of subscriptions and control, ids aside: above the sum of the others, and 20 ms of work.",
    )
    unknown_fields: int = _limit(
        256,
        "Extensions we do not know are skipped; a frame of nothing else would only cost us time.",
    )


@attrs.frozen(kw_only=True)
class OutboxLimits:
    """What may wait for one peer before copies are turned away, and when a peer counts as slow."""

    messages: int = _limit(
        10_000,
        "The busiest lean subnet sends 10,240 messages in a burst of 0.8 s.",
    )
    size_bytes: int = _limit(
        16 * 1024 * 1024,
        "Copies for several peers share their bytes, so N slow peers do not cost N times as much.",
    )
    ihave_ids: int = _limit(
        5_000,
        "What peers accept from us per heartbeat.",
    )
    iwant_ids: int = _limit(
        5_000,
        "Likewise.",
    )
    idontwant_ids: int = _limit(
        1_000,
        "go reads 10 per RPC and 1,000 RPCs per heartbeat; older ones help nobody.",
    )
    max_age_s: float = _limit(
        10.0,
        "A copy that waited this long has long been heard elsewhere: gossip fills gaps within 3 to 5 s.",
    )
    slow_after_s: float = _limit(
        5.0,
        "A peer whose outbox turned copies away for this long is slow.",
    )
    slow_after_drops: int = _limit(
        1_000,
        "So is one that lost this many in a row.",
    )
