"""One pass over the bytes of an RPC before any object is made: what it holds, and where its parts lie.

Decoding first and counting later is how small frames become large heaps.  This pass makes no object but the
list of places; it refuses what exceeds `WireLimits`, and every shape that protobuf forbids or nobody sends:
bytes that end early, groups, field number 0, known fields in a wrong wire type.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from leanmesh.errors import RemoteError
from leanmesh.gossip.wire_params import WireLimits
from leanmesh.wire.varint import MAX_VALUE

SUBSCRIPTION_TAG: Final = 0x0A
PUBLISH_TAG: Final = 0x12
CONTROL_TAG: Final = 0x1A

_MAX_PREFIX_BYTES: Final = 5

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5

Place = tuple[int, int, int]
"""Where an entry starts (its tag), where its body starts, and where it ends."""


class RpcRefused(RemoteError):
    """An RPC that is malformed or exceeds a limit.

    `reason` is one of a few words, fit for a label: "malformed", or the name of the `WireLimits` it exceeds.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"RPC refused ({self.reason}): {self.detail}"


@attrs.frozen
class Shape:
    """The fields that a protobuf message of ours has, by tag, and what each counts towards."""

    name: str
    fields: "dict[int, Known]"
    ids_tag: int | None = None
    """The tag of message ids, where there are any."""
    skipped: frozenset[int] = frozenset()
    """Tags of extensions that peers write as a matter of course: passed over, and not counted as unknown."""
    numbers: frozenset[int] = attrs.field(
        init=False,
        default=attrs.Factory(lambda self: frozenset(tag >> 3 for tag in self.fields), takes_self=True),
    )


@attrs.frozen
class Known:
    """One known field: its counter, how long it may be, and the shape of what is inside it."""

    counter: str | None = None
    size_limit: str | None = None
    shape: Shape | None = None


_COUNTERS: Final = (
    "subscriptions",
    "publishes",
    "control_entries",
    "message_ids",
    "px_peers",
    "fields",
    "unknown_fields",
)
_TOPIC = Known(size_limit="topic_bytes")
_IDS = Known(counter="message_ids", size_limit="message_id_bytes")
_PEER_INFO = Shape("PeerInfo", {0x0A: Known(), 0x12: Known()})
# An empty field that any peer may send to try whether extensions are passed over.
_TEST_EXTENSION: Final = 6492434 << 3 | LENGTH_DELIMITED
# go from v0.16 on says in each subscription, with two numbers, whether it takes and sends parts of messages.
_SUBSCRIPTION = Shape("SubOpts", {0x08: Known(), 0x12: _TOPIC}, skipped=frozenset({0x18, 0x20}))
_CONTROL = Shape(
    "ControlMessage",
    {
        0x0A: Known("control_entries", shape=Shape("ControlIHave", {0x0A: _TOPIC, 0x12: _IDS}, 0x12)),
        0x12: Known("control_entries", shape=Shape("ControlIWant", {0x0A: _IDS}, 0x0A)),
        0x1A: Known("control_entries", shape=Shape("ControlGraft", {0x0A: _TOPIC})),
        0x22: Known(
            "control_entries",
            shape=Shape(
                "ControlPrune", {0x0A: _TOPIC, 0x12: Known("px_peers", shape=_PEER_INFO), 0x18: Known()}
            ),
        ),
        0x2A: Known("control_entries", shape=Shape("ControlIDontWant", {0x0A: _IDS}, 0x0A)),
    },
    # What extensions the peer knows.
    skipped=frozenset({0x32}),
)
_MESSAGE = Shape(
    "Message", {0x0A: Known(), 0x12: Known(), 0x1A: Known(), 0x22: _TOPIC, 0x2A: Known(), 0x32: Known()}
)
_RPC = Shape(
    "RPC",
    {
        SUBSCRIPTION_TAG: Known("subscriptions", shape=_SUBSCRIPTION),
        PUBLISH_TAG: Known("publishes"),
        CONTROL_TAG: Known("control_entries", shape=_CONTROL),
    },
    # Parts of messages, and the test.
    skipped=frozenset({0x52, _TEST_EXTENSION}),
)


class _Budget:
    """What a pass may still count, per limit."""

    __slots__ = ("left", "limits")

    def __init__(self, limits: WireLimits) -> None:
        self.limits = limits
        self.left = {counter: getattr(limits, counter) for counter in _COUNTERS}

    def spend(self, counter: str) -> None:
        left = self.left[counter] = self.left[counter] - 1
        if left < 0:
            raise RpcRefused(counter, f"more than {getattr(self.limits, counter)}")

    def check_size(self, limit: str, size_bytes: int, name: str) -> None:
        if size_bytes > getattr(self.limits, limit):
            raise RpcRefused(limit, f"{size_bytes} bytes in {name}")


def scan(frame: bytes, limits: WireLimits) -> tuple[list[Place], list[Place] | None]:
    """Places of the publish entries, and of everything else we know (None: nothing else).

    The bodies of publish entries are not looked into: `check_messages` does that for the rare ones that are
    not encoded as we would.  Raises RpcRefused.
    """
    publishes: list[Place] = []
    others: list[Place] | None = None
    budget: _Budget | None = None
    limit = limits.publishes
    size = len(frame)
    position = 0
    try:
        while position < size:
            start = position
            tag = frame[position]
            if tag == PUBLISH_TAG:
                # The common frame is one such entry: nothing but plain arithmetic on this path.
                end = frame[position + 1]
                position += 2
                if end > 0x7F:
                    high = frame[position]
                    if 0 < high < 0x80:
                        # Two bytes, as for most messages: not worth a call.
                        end += (high << 7) - 0x80
                        position += 1
                    else:
                        end, position = _prefix(frame, position - 1)
                end += position
                if end > size:
                    raise _ends_early("publish", position)
                if len(publishes) == limit:
                    raise RpcRefused("publishes", f"more than {limit}")
                publishes.append((start, position, end))
                position = end
                continue
            budget = budget or _Budget(limits)
            known, position, end = _field(frame, position, size, _RPC, budget)
            if known is not None and known.shape is not None:
                others = others or []
                others.append((start, position, end))
                _count(frame, position, end, known.shape, budget)
            elif known is not None:
                # A publish entry whose tag is padded: found here, and placed like any other.
                publishes.append((start, position, end))
            position = end
    except IndexError:
        raise _ends_early("RPC", size) from None
    return publishes, others


def check_messages(frame: bytes, places: Iterable[Place], limits: WireLimits) -> None:
    """Looks through the bodies of publish entries, all on one budget.  Raises RpcRefused."""
    budget = _Budget(limits)
    try:
        for _, position, end in places:
            _count(frame, position, end, _MESSAGE, budget)
    except IndexError:
        raise _ends_early("publish", len(frame)) from None


def _count(frame: bytes, position: int, end: int, shape: Shape, budget: _Budget) -> None:
    ids_tag = shape.ids_tag
    longest = min(budget.limits.message_id_bytes, 0x7F)
    while position < end:
        if frame[position] == ids_tag and (length := frame[position + 1]) <= longest:
            # Thousands of short ids in a row are what honest control consists of.
            budget.spend("message_ids")
            position += 2 + length
            continue
        known, body, position = _field(frame, position, end, shape, budget)
        if known is not None and known.shape is not None:
            _count(frame, body, position, known.shape, budget)
    if position > end:
        raise _ends_early(shape.name, end)


def _field(
    frame: bytes, position: int, end: int, shape: Shape, budget: _Budget
) -> tuple[Known | None, int, int]:
    """What one field is (None: unknown), where its value starts and where it ends."""
    start = position
    tag, position = _prefix(frame, position)
    known = shape.fields.get(tag)
    if known is None:
        if tag < 8 or tag >> 32:
            raise RpcRefused("malformed", f"field number {tag >> 3} in {shape.name} at byte {start}")
        if tag >> 3 in shape.numbers:
            raise RpcRefused("malformed", f"wire type {tag & 7} of field {tag >> 3} in {shape.name}")
        if tag not in shape.skipped:
            budget.spend("unknown_fields")
    elif known.counter is not None:
        budget.spend(known.counter)
    budget.spend("fields")
    wire_type = tag & 7
    if wire_type == LENGTH_DELIMITED:
        length, position = _prefix(frame, position)
        stop = position + length
        if known is not None and known.size_limit is not None:
            budget.check_size(known.size_limit, length, shape.name)
    elif wire_type == VARINT:
        stop = _varint(frame, position)[1]
    elif wire_type == FIXED64:
        stop = position + 8
    elif wire_type == FIXED32:
        stop = position + 4
    else:
        raise RpcRefused("malformed", f"wire type {wire_type} in {shape.name} at byte {start}")
    if stop > end:
        raise _ends_early(shape.name, start)
    return known, position, stop


def _prefix(frame: bytes, position: int) -> tuple[int, int]:
    """A tag or a length: 32 bits, so no padding takes it beyond five bytes.

    protobuf's own decoders refuse a longer one.  If we took it, what reads the same bytes behind us would
    not see what we saw.
    """
    number, behind = _varint(frame, position)
    if behind - position > _MAX_PREFIX_BYTES:
        raise RpcRefused("malformed", f"the tag or length at byte {position} has {behind - position} bytes")
    return number, behind


def _varint(frame: bytes, position: int) -> tuple[int, int]:
    """A number and the position behind it; IndexError at the end of the frame.

    Unlike `wire.varint` this takes padded numbers: protobuf allows them, and a message that carries one
    is encoded again before it goes on.
    """
    value = frame[position]
    position += 1
    if value < 0x80:
        return value, position
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = frame[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > MAX_VALUE:
                break
            return value, position
    raise RpcRefused("malformed", f"the number that ends at byte {position} exceeds 64 bits")


def _ends_early(name: str, position: int) -> RpcRefused:
    return RpcRefused("malformed", f"the {name} ends inside the field at byte {position}")
