"""Receipts that wait: what was written counts, what was lost is given up."""

import attrs
import trio
from leanmesh.gossip.dialect import dialect_for
from leanmesh.gossip.outbox import Outbox
from leanmesh.gossip.wire_params import OutboxLimits
from leanmesh.service.receipts import AwaitedMessages

ALL = 1 << 20


@attrs.define
class Link:
    outbox: Outbox
    is_blocked: bool = False


def links(*peers: str) -> dict:
    return {peer: Link(Outbox(dialect_for("/meshsub/1.2.0", ""), OutboxLimits())) for peer in peers}


async def test_a_message_is_written_for_each_peer_whose_outbox_let_it_go(autojump_clock):
    awaited_messages, ways = AwaitedMessages(), links("a", "b", "c", "not for it")
    for peer in "abc":
        ways[peer].outbox.put(b"id", b"field", 0.0)
    awaited = awaited_messages.watch(b"id", ways)
    assert list(awaited.waiting) == ["a", "b", "c"]

    ways["a"].outbox.drain(ALL)
    awaited_messages.on_written("a")
    # Something was written to b, and not this.
    awaited_messages.on_written("b")
    assert (awaited.written, list(awaited.waiting)) == (1, ["b", "c"])
    awaited_messages.on_gone("c")
    with trio.move_on_after(1) as scope:
        await awaited.wait(2)
    assert scope.cancelled_caught
    ways["b"].outbox.drain(ALL)
    awaited_messages.on_written("b")
    await awaited.wait(2)
    # Nobody is left who could have it: the wait for more ends at once.
    await awaited.wait(5)
    assert awaited.written == 2


async def test_a_copy_that_expired_is_given_up_at_the_heartbeat(autojump_clock):
    awaited_messages, ways = AwaitedMessages(), links("a")
    ways["a"].outbox.put(b"id", b"field", 0.0)
    awaited = awaited_messages.watch(b"id", ways)
    queued = awaited_messages.queued()
    assert ways["a"].outbox.expire(100.0) == 1
    awaited_messages.give_up_expired(queued)
    await awaited.wait(1)
    assert awaited.written == 0


async def test_a_copy_that_is_being_written_is_not_given_up_at_the_heartbeat(autojump_clock):
    awaited_messages, ways = AwaitedMessages(), links("a")
    ways["a"].outbox.put(b"id", b"field", 0.0)
    awaited = awaited_messages.watch(b"id", ways)
    ways["a"].outbox.drain(ALL)
    ways["a"].is_blocked = True
    awaited_messages.give_up_expired(awaited_messages.queued())
    assert (awaited.written, list(awaited.waiting)) == (0, ["a"])
    ways["a"].is_blocked = False
    awaited_messages.on_written("a")
    await awaited.wait(1)
    assert awaited.written == 1


async def test_a_peer_that_said_that_it_has_it_counts_by_the_next_heartbeat(autojump_clock):
    awaited_messages, ways = AwaitedMessages(), links("a")
    ways["a"].outbox.put(b"id", b"field", 0.0)
    awaited = awaited_messages.watch(b"id", ways)
    assert ways["a"].outbox.withdraw(b"id")
    awaited_messages.give_up_expired(awaited_messages.queued())
    await awaited.wait(1)
    assert awaited.written == 1


async def test_what_is_forgotten_is_not_looked_after(autojump_clock):
    awaited_messages, ways = AwaitedMessages(), links("a")
    ways["a"].outbox.put(b"id", b"field", 0.0)
    awaited = awaited_messages.watch(b"id", ways)
    awaited_messages.forget(awaited)
    ways["a"].outbox.drain(ALL)
    awaited_messages.on_written("a")
    assert awaited.written == 0
