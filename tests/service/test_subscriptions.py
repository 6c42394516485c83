"""The queue of one subscription, without a network: what goes in is consumed, dropped or waits."""

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from leanmesh.service.subscriptions import (
    DeliveryBooks,
    Overflow,
    ReceivedMessage,
    Subscription,
    SubscriptionClosed,
)


def message(data: bytes) -> ReceivedMessage:
    return ReceivedMessage("news", data, data, None, None, 0.0)


def make(overflow: Overflow, limit: int = 3, limit_bytes: int = 100) -> tuple[Subscription, DeliveryBooks]:
    books = DeliveryBooks()

    def nothing(subscription: Subscription) -> None:
        return None

    return Subscription("news", limit, limit_bytes, overflow, books, nothing, nothing, nothing), books


async def test_what_waits_is_consumed_in_its_order(autojump_clock):
    subscription, books = make(Overflow.DROP_OLDEST)
    async with subscription:
        for data in (b"one", b"two", b"three"):
            subscription.put(message(data))
        assert (len(subscription), subscription.size_bytes, books.queued) == (3, 11, 3)
        assert [(await subscription.receive()).data for _ in range(3)] == [b"one", b"two", b"three"]
    assert books == DeliveryBooks(accepted=3, consumed=3)


async def test_under_wait_nothing_is_dropped_however_full_it_is(autojump_clock):
    subscription, books = make(Overflow.WAIT, limit=2)
    async with subscription:
        for number in range(5):
            subscription.put(message(b"%d" % number))
        assert (subscription.is_full, len(subscription)) == (True, 5)
        assert len(await subscription.receive_batch()) == 5
    assert books == DeliveryBooks(accepted=5, consumed=5)


async def test_consumers_of_one_subscription_share_its_messages(autojump_clock):
    subscription, books = make(Overflow.DROP_OLDEST, limit=100, limit_bytes=10_000)
    received: dict[int, list[bytes]] = {0: [], 1: [], 2: []}

    async def consume(number: int) -> None:
        async for one in subscription:
            received[number].append(one.data)
            await trio.sleep(1)

    async with subscription, trio.open_nursery() as nursery:
        for number in received:
            nursery.start_soon(consume, number)
        await trio.sleep(0.5)
        for number in range(9):
            subscription.put(message(b"%d" % number))
        await trio.sleep(10)
        assert {len(one) for one in received.values()} == {3}
        arrived = [data for each in received.values() for data in each]
        assert sorted(arrived) == [b"%d" % number for number in range(9)]
        subscription.close()
    assert books.balance == 0


async def test_a_closed_subscription_gives_what_it_holds_and_then_its_end(autojump_clock):
    subscription, books = make(Overflow.DROP_NEWEST)
    async with subscription:
        subscription.put(message(b"last"))
        subscription.close()
        subscription.close()
        assert [one.data async for one in subscription] == [b"last"]
        with pytest.raises(SubscriptionClosed, match="to news is closed"):
            await subscription.receive()
    assert books == DeliveryBooks(accepted=1, consumed=1)


async def test_receiving_is_a_checkpoint_also_when_something_is_there(autojump_clock):
    subscription, _ = make(Overflow.DROP_NEWEST)
    async with subscription:
        subscription.put(message(b"there"))
        with trio.testing.assert_checkpoints():
            await subscription.receive()
        subscription.put(message(b"stays"))
        with trio.CancelScope() as scope:
            scope.cancel()
            await subscription.receive()
        assert len(subscription) == 1


@given(
    overflow=st.sampled_from(Overflow),
    limit=st.integers(1, 5),
    limit_bytes=st.integers(1, 50),
    events=st.lists(st.one_of(st.integers(0, 30), st.none()), max_size=40),
)
@settings(max_examples=200)
def test_the_books_close_after_any_puts_and_takes(overflow, limit, limit_bytes, events):
    subscription, books = make(overflow, limit, limit_bytes)

    async def main() -> None:
        async with subscription:
            for size in events:
                if size is not None:
                    subscription.put(message(bytes(size)))
                elif len(subscription):
                    await subscription.receive()
                assert books.balance == 0
                assert books.queued == len(subscription)
                if overflow is not Overflow.WAIT:
                    assert len(subscription) <= limit
                    assert subscription.size_bytes <= limit_bytes + 30
        assert (books.balance, books.queued, subscription.size_bytes) == (0, 0, 0)
        assert sum(books.dropped.values()) == subscription.dropped

    trio.run(main)
