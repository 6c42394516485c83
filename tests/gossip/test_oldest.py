"""Room in full tables."""

from leanmesh.gossip.history import History
from leanmesh.gossip.oldest import PARTS, make_room


def test_a_table_below_its_limit_keeps_everything():
    table = dict.fromkeys(range(9))

    assert make_room(table, 10) == 0
    assert len(table) == 9


def test_a_small_full_table_loses_its_oldest_entry():
    table = dict.fromkeys(range(10))

    assert make_room(table, 10) == 1
    assert list(table) == list(range(1, 10))


def test_a_large_full_table_loses_one_part_of_it():
    limit = 10 * PARTS
    table = dict.fromkeys(range(limit))

    assert make_room(table, limit) == 10
    assert list(table) == list(range(10, limit))


def test_a_history_never_gives_up_a_large_message_for_spare_room():
    history = History(length=5, gossip_length=3, limit_bytes=100 * PARTS)
    for number in range(PARTS):
        history.put(b"%d" % number, "news", bytes(100))
    history.put(b"large", "news", bytes(99 * PARTS))

    # All the small ones have to go but 64 bytes' worth, and none of the spare part is the large one's.
    assert list(history.messages) == [b"large"]
    assert history.size_bytes == 99 * PARTS


def test_a_history_drops_some_small_messages_at_once():
    history = History(length=5, gossip_length=3, limit_bytes=100 * PARTS)
    for number in range(PARTS * 10):
        assert history.put(b"%d" % number, "news", bytes(10)) == 0

    assert history.put(b"one more", "news", bytes(10)) == 11
    assert next(iter(history.messages)) == b"11"
    assert history.size_bytes == 100 * PARTS - 100
