"""Subscriptions and control of one peer, packed into as few RPCs as its dialect allows."""

from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from leanmesh.gossip import entries
from leanmesh.gossip.dialect import Dialect
from leanmesh.gossip.rpc import Prune
from leanmesh.wire.varint import encode_varint

# Tag and length of the control field itself: at most this much below 2 MiB.
_HEADER_BYTES: Final = 4


@attrs.define
class PendingControl:
    """What is to be said, before it has a form.  Dicts keep the order and say a thing once."""

    subscriptions: dict[str, bool] = attrs.Factory(dict[str, bool])
    mesh: dict[str, Prune | None] = attrs.Factory(dict[str, "Prune | None"])
    """Per topic a PRUNE, or None for a GRAFT: the last wish alone is sent."""
    idontwant: dict[bytes, None] = attrs.Factory(dict[bytes, None])
    iwant: dict[bytes, None] = attrs.Factory(dict[bytes, None])
    ihave: dict[str, list[bytes]] = attrs.Factory(dict[str, list[bytes]])

    def __bool__(self) -> bool:
        return bool(self.subscriptions or self.mesh or self.idontwant or self.iwant or self.ihave)


@attrs.define
class _OpenRpc:
    """One RPC being filled."""

    subscriptions: list[bytes] = attrs.Factory(list[bytes])
    control: list[bytes] = attrs.Factory(list[bytes])
    idontwants: int = 0
    size_bytes: int = _HEADER_BYTES

    def body(self) -> bytes:
        if not self.control:
            return b"".join(self.subscriptions)
        return b"".join((*self.subscriptions, entries.control(self.control)))


def pack(pending: PendingControl, dialect: Dialect) -> list[bytes]:
    """RPC bodies that say it all, in order, each within the dialect's limits.

    The most urgent comes first: subscriptions (a GRAFT means nothing before them), mesh changes, IDONTWANT
    (each saves a copy while it is fresh), IWANT, and the IHAVE that can wait.
    """
    rpc = _OpenRpc()
    rpcs = [rpc]

    def room_for(size_bytes: int, *, is_full: bool = False) -> _OpenRpc:
        nonlocal rpc
        if is_full or (
            rpc.size_bytes + size_bytes > dialect.control_bytes and rpc.size_bytes > _HEADER_BYTES
        ):
            rpc = _OpenRpc()
            rpcs.append(rpc)
        rpc.size_bytes += size_bytes
        return rpc

    for topic, subscribe in pending.subscriptions.items():
        entry = entries.subscription(subscribe, topic)
        is_full = len(rpc.subscriptions) == dialect.subscriptions
        room_for(len(entry), is_full=is_full).subscriptions.append(entry)
    # Most RPCs carry one kind of control: what is absent costs no generator.
    for entry in _mesh_entries(pending, dialect) if pending.mesh else ():
        room_for(len(entry)).control.append(entry)
    for chunk in _chunks(pending.idontwant, dialect.ids_per_idontwant, dialect) if pending.idontwant else ():
        entry = entries.idontwant(chunk)
        room = room_for(len(entry), is_full=rpc.idontwants == dialect.idontwants)
        room.control.append(entry)
        room.idontwants += 1
    for entry in _gossip_entries(pending, dialect) if pending.iwant or pending.ihave else ():
        room_for(len(entry)).control.append(entry)
    return [each.body() for each in rpcs]


def fill(bodies: list[bytes], fields: list[bytes], dialect: Dialect) -> list[bytes]:
    """Control bodies and publish entries as RPCs with length prefixes, as few as the dialect allows.

    Messages begin in the last control RPC.  One that exceeds the limit alone goes alone.
    """
    size_bytes = sum(map(len, fields))
    if not bodies and size_bytes <= dialect.rpc_bytes and len(fields) <= dialect.publishes:
        # Nearly always messages alone, and all of them go together.
        return [b"".join((encode_varint(size_bytes), *fields))] if fields else []
    *ahead, body = bodies or [b""]
    rpcs = [b"".join((encode_varint(len(each)), each)) for each in ahead]
    limit_bytes = dialect.rpc_bytes
    limit_messages = dialect.publishes
    size_bytes = len(body)
    first = 0
    for index, field_bytes in enumerate(map(len, fields)):
        size_bytes += field_bytes
        if size_bytes > limit_bytes or index - first == limit_messages:
            size_bytes -= field_bytes
            if size_bytes:
                rpcs.append(b"".join((encode_varint(size_bytes), body, *fields[first:index])))
            body, first, size_bytes = b"", index, field_bytes
    if size_bytes:
        rpcs.append(b"".join((encode_varint(size_bytes), body, *fields[first:])))
    return rpcs


def _mesh_entries(pending: PendingControl, dialect: Dialect) -> Iterator[bytes]:
    for topic, prune in pending.mesh.items():
        yield entries.graft(topic) if prune is None else _prune_entry(prune, dialect)


def _prune_entry(prune: Prune, dialect: Dialect) -> bytes:
    """A PRUNE with what the peer understands, and as many recommended peers as fit."""
    backoff_s = prune.backoff_s if dialect.supports_backoff else None
    peers = prune.peers[: dialect.px_peers] if dialect.supports_px else []
    while True:
        entry = entries.prune(Prune(prune.topic, backoff_s, peers))
        if not peers or len(entry) + _HEADER_BYTES <= dialect.control_bytes:
            return entry
        peers = peers[:-1]


def _gossip_entries(pending: PendingControl, dialect: Dialect) -> Iterator[bytes]:
    for chunk in _chunks(pending.iwant, dialect.ids_per_entry, dialect):
        yield entries.iwant(chunk)
    for topic, message_ids in pending.ihave.items():
        for chunk in _chunks(message_ids, dialect.ids_per_entry, dialect, spare_bytes=len(topic.encode())):
            yield entries.ihave(topic, chunk)


def _chunks(
    message_ids: Iterable[bytes], count: int, dialect: Dialect, *, spare_bytes: int = 0
) -> Iterator[list[bytes]]:
    """The ids in entries of at most `count`, each entry small enough for an RPC of its own."""
    room_bytes = dialect.control_bytes - 3 * _HEADER_BYTES - spare_bytes
    ids = list(message_ids)
    longest_bytes = max(map(len, ids), default=0)
    if min(count, len(ids)) * entries.delimited_size_bytes(longest_bytes) <= room_bytes:
        # The common case: ids are short, and their count alone decides.
        yield from (ids[start : start + count] for start in range(0, len(ids), count))
        return
    chunk: list[bytes] = []
    size_bytes = 0
    for message_id in ids:
        id_bytes = entries.delimited_size_bytes(len(message_id))
        if chunk and (len(chunk) == count or size_bytes + id_bytes > room_bytes):
            yield chunk
            chunk, size_bytes = [], 0
        chunk.append(message_id)
        size_bytes += id_bytes
    if chunk:
        yield chunk
