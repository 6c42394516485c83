"""The tables by themselves: what they hold, and that nothing of who is gone stays."""

from gossip.one_router import message, peer_id
from leanmesh.gossip.authors import Authors
from leanmesh.gossip.history import History
from leanmesh.gossip.observer import ThrottleReason
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.promises import Promises
from leanmesh.gossip.validation import Validation

ONE, OTHER = peer_id(1), peer_id(2)


def test_who_is_gone_is_forgotten_by_the_history():
    history = History(5, 3, 1000)
    history.put(b"id", "topic", b"field")
    assert history.serve(b"id", ONE, 1) == ("topic", b"field")
    assert history.serve(b"id", ONE, 1) is None
    history.forget(ONE)
    assert history.served == {b"id": {}}
    assert history.serve(b"id", ONE, 1) == ("topic", b"field")


def test_the_history_forgets_how_often_with_the_message():
    history = History(1, 1, 1000)
    history.put(b"id", "topic", b"field")
    history.serve(b"id", ONE, 1)
    history.shift()
    assert (history.messages, history.served, history.size_bytes) == ({}, {}, 0)


def test_a_message_put_twice_is_kept_once():
    history = History(5, 3, 1000)
    history.put(b"id", "topic", b"field")
    history.put(b"id", "topic", b"field")
    assert (len(history), history.size_bytes, history.advertised("topic")) == (1, 5, [b"id"])


def test_promises_are_counted_down_however_they_end():
    promises = Promises(limit=3)
    promises.add(ONE, b"kept", "topic", 1.0)
    promises.add(ONE, b"kept", "topic", 9.0)
    promises.add(OTHER, b"kept", "topic", 1.0)
    promises.add(ONE, b"broken", "topic", 1.0)
    assert promises.count == 3
    promises.add(OTHER, b"broken", "topic", 1.0)
    assert (promises.count, promises.turned_away) == (3, 1)
    assert promises.fulfil(b"kept") == [ONE, OTHER]
    assert promises.count == 1
    assert promises.take_broken(0.9) == {}
    assert promises.take_broken(1.0) == {ONE: [b"broken"]}
    promises.add(ONE, b"gone", "topic", 1.0)
    promises.forget(ONE)
    promises.add(ONE, b"left", "topic", 1.0)
    promises.add(OTHER, b"left", "topic", 1.0)
    promises.add(ONE, b"stays", "another", 1.0)
    promises.forget_topic("topic")
    assert promises.count == 1
    assert promises.fulfil(b"stays") == [ONE]
    assert (promises.count, promises.deadlines_s, promises.topics) == (0, {}, {})


def test_a_ticket_that_is_closed_gives_back_all_it_held():
    validation = Validation(GossipParams())
    ticket = validation.open(b"id", message(b"data"), b"data", ONE, 0.0)
    assert (validation.messages.used, validation.by_topic.keys()) == (1, {"blocks"})
    validation.close(ticket)
    assert (validation.messages.used, validation.size_bytes.used) == (0, 0)
    assert (validation.messages.by_peer, validation.size_bytes.by_peer, validation.by_topic) == ({}, {}, {})


def test_a_peer_may_hold_what_is_free_and_no_more():
    validation = Validation(GossipParams(validation_limit=10))
    for number in range(5):
        assert validation.refusal(ONE, message(b"%d" % number), b"") is None
        validation.open(b"%d" % number, message(b"%d" % number), b"", ONE, 0.0)
    assert validation.refusal(ONE, message(b"6"), b"") is ThrottleReason.PEER
    assert validation.refusal(OTHER, message(b"6"), b"") is None


def test_the_author_heard_least_recently_is_forgotten_first():
    authors = Authors(limit=2)
    authors.advance(b"a", b"\5")
    authors.advance(b"b", b"\5")
    authors.advance(b"a", b"\4")
    authors.advance(b"c", b"\5")
    assert authors.last_seqno == {b"a": 5, b"c": 5}
    assert (authors.is_replay(b"a", b"\5"), authors.is_replay(b"a", b"\6")) == (True, False)
    assert not authors.is_replay(b"b", b"\1")
