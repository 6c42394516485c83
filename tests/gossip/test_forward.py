"""Whom a message goes to: forwarding along the mesh, publishing, fanout."""

import pytest
from gossip.one_router import TOPIC, OneRouter, id_of, message, peer_id
from gossip.scores import SetScores
from leanmesh.gossip.forward import PublishReceipt
from leanmesh.gossip.message_id import author_and_seqno
from leanmesh.gossip.observer import GraftReason
from leanmesh.gossip.params import LEAN_PARAMS, GossipParams
from leanmesh.gossip.router import ContradictoryRules, PeerKnown, PublishRefused
from leanmesh.gossip.rpc import Control, Prune
from leanmesh.gossip.rules import TopicRules
from leanmesh.gossip.signing import SignaturePolicy, Signer
from leanmesh.gossip.wire_params import OutboxLimits
from leanmesh.identity.keys import KeyKind, PrivateKey
from leanmesh.identity.peer_id import PeerId

PARAMS = GossipParams(is_flood_publishing=False)
# What surrounds short data on the wire: two tags and two lengths, and the topic with its own.
OVERHEAD_BYTES = 12
KEY = PrivateKey.of_kind(KeyKind.ED25519, bytes(range(32)))


def receivers(bench: OneRouter, peers: list[PeerId]) -> list[PeerId]:
    return [peer for peer in peers if bench.sent(peer).publish]


# Forwarding.


def test_a_message_goes_to_the_mesh_and_not_back():
    bench = OneRouter()
    members = [bench.member() for _ in range(4)]
    outsider = bench.outsider()

    bench.say(members[1], publish=(message(b"data"),))

    assert receivers(bench, [*members, outsider]) == [members[0], members[2], members[3]]
    assert bench.delivered == [(TOPIC, b"data", members[1])]
    others = (members[0], members[2], members[3])
    size = len(message(b"data").field)
    assert bench.observer.of("forwarded") == [(TOPIC, id_of(b"data"), size, others)]


def test_who_left_the_mesh_is_not_forwarded_to():
    bench = OneRouter()
    source, leaving, staying = (bench.member() for _ in range(3))
    bench.say(source, publish=(message(b"before"),))
    bench.discard_sent()
    bench.say(leaving, prune=(Prune(TOPIC, 60),))
    bench.say(source, publish=(message(b"after"),))
    assert [bench.sent_data(peer) for peer in (leaving, staying)] == [[], [b"after"]]


@pytest.mark.parametrize("protocol", ["/floodsub/1.0.0", "/meshsub/1.2.0"])
def test_who_is_sent_everything_is_sent_nothing_of_a_topic_it_left(protocol: str):
    bench = OneRouter(direct_peers=[peer_id(1)] if protocol == "/meshsub/1.2.0" else [])
    leaving, source = bench.peer(protocol=protocol), bench.member()
    bench.say(source, publish=(message(b"before"),))
    assert bench.sent_data(leaving) == [b"before"]
    bench.say(leaving, unsubscribe=(TOPIC,))
    bench.say(source, publish=(message(b"after"),))
    assert bench.sent_data(leaving) == []


def test_a_message_is_forwarded_and_delivered_once():
    bench = OneRouter()
    members = [bench.member() for _ in range(3)]
    for member in members:
        bench.say(member, publish=(message(b"data"), message(b"data")))
    assert bench.data == [b"data"]
    assert bench.observer.count("forwarded") == 1
    assert bench.observer.count("duplicate") == 5


def test_what_is_forwarded_is_what_came_byte_for_byte():
    bench = OneRouter()
    source, other = bench.member(), bench.member()
    bench.say(source, publish=(message(b"data"),))
    assert bench.frames(other) == [message(b"data").field]


def test_a_message_does_not_go_to_its_author():
    author_key = PrivateKey.of_kind(KeyKind.ED25519, bytes(32))
    bench = OneRouter(policy=SignaturePolicy.STRICT_SIGN, signer=Signer(KEY))
    source = bench.member()
    bench.router.add_peer(author_key.peer_id, "/meshsub/1.2.0", "", is_outbound=False, now_s=bench.now_s)
    bench.say(author_key.peer_id, subscribe=(TOPIC,), graft=(TOPIC,))
    bench.discard_sent()

    bench.say(source, publish=(Signer(author_key).message(TOPIC, b"data", 1),))

    assert bench.data == [b"data"]
    assert bench.sent_data(author_key.peer_id) == []


def test_a_full_outbox_loses_the_copy_and_says_so():
    bench = OneRouter(outbox_limits=OutboxLimits(messages=1))
    source, slow = bench.member(), bench.member()
    bench.say(source, publish=(message(b"a"), message(b"b")))
    assert bench.observer.of("copies_dropped") == [(slow, "full", 1)]
    assert bench.sent_data(slow) == [b"a"]


def test_a_slow_peer_is_noticed_and_named():
    bench = OneRouter(outbox_limits=OutboxLimits(messages=1, slow_after_s=3))
    source, slow = bench.member(), bench.member()
    bench.say(source, publish=(message(b"a"), message(b"b")))
    bench.beat(5)
    named = bench.observer.of("slow_peer")
    assert named
    assert {peer for peer, _ in named} == {slow}


def test_copies_that_waited_too_long_are_dropped_and_counted():
    bench = OneRouter()
    source, slow = bench.member(), bench.member()
    bench.say(source, publish=(message(b"a"),))
    bench.beat(12)
    assert bench.observer.of("copies_dropped") == [(slow, "expired", 1)]


def test_copies_of_a_peer_that_is_gone_are_counted():
    bench = OneRouter()
    source, other = bench.member(), bench.member()
    bench.say(source, publish=(message(b"a"), message(b"b")))
    bench.router.remove_peer(other, bench.now_s)
    assert bench.observer.of("copies_dropped") == [(other, "peer_gone", 2)]


def test_the_shell_learns_which_outboxes_have_something():
    bench = OneRouter()
    source, other = bench.member(), bench.member()
    bench.router.take_ready()
    bench.say(source, publish=(message(b"a"), message(b"b")))
    assert list(bench.router.take_ready()) == [other]
    assert bench.router.take_ready() == {}


# Publishing.


def test_flood_publishing_reaches_every_peer_of_the_topic():
    bench = OneRouter()
    peers = [bench.peer() for _ in range(20)]
    stranger = bench.peer(topics=())

    receipt = bench.router.publish(TOPIC, b"data", bench.now_s)

    assert receivers(bench, [*peers, stranger]) == peers
    assert receipt == PublishReceipt(id_of(b"data"), 20, 20, {})
    assert bench.observer.of("published")[0][:2] == (TOPIC, id_of(b"data"))


def test_a_floodsub_peer_is_sent_nothing_while_its_score_is_below_the_threshold():
    scores = SetScores()
    bench = OneRouter(scores=scores)
    flood, source = bench.peer(protocol="/floodsub/1.0.0"), bench.member()
    for score, data, sent in ((0, b"1", [b"1"]), (-51, b"2", []), (-50, b"3", [b"3"])):
        scores.scores[flood] = score
        bench.beat()
        bench.say(source, publish=(message(data),))
        assert bench.sent_data(flood) == sent


def test_without_flood_publishing_the_mesh_and_floodsub_peers_are_reached():
    bench = OneRouter(PARAMS)
    members = [bench.member() for _ in range(8)]
    outsiders = [bench.outsider() for _ in range(8)]
    flood = bench.peer(protocol="/floodsub/1.0.0")
    bench.router.publish(TOPIC, b"data", bench.now_s)
    assert receivers(bench, [*members, *outsiders, flood]) == [*members, flood]


def test_a_mesh_that_is_still_forming_costs_no_first_message():
    bench = OneRouter(PARAMS)
    member = bench.member()
    outsiders = [bench.outsider() for _ in range(10)]
    bench.router.publish(TOPIC, b"data", bench.now_s)
    reached = receivers(bench, [member, *outsiders])
    assert member in reached
    assert len(reached) == PARAMS.mesh_target


@pytest.mark.parametrize("params", [GossipParams(), PARAMS])
def test_peers_below_the_publish_threshold_get_nothing_of_ours(params: GossipParams):
    scores = SetScores()
    bench = OneRouter(params, scores=scores)
    good, bad = bench.outsider(), bench.outsider()
    scores.scores[bad] = params.publish_threshold - 1
    bench.beat()
    bench.router.publish(TOPIC, b"data", bench.now_s)
    assert receivers(bench, [good, bad]) == [good]


def test_publishing_to_nobody_is_said_in_the_receipt():
    bench = OneRouter()
    assert bench.router.publish(TOPIC, b"data", bench.now_s) == PublishReceipt(id_of(b"data"), 0, 0, {})


def test_publishing_to_nobody_leaves_no_topic_behind():
    bench = OneRouter(topics=())
    bench.router.publish(TOPIC, b"data", bench.now_s)
    assert bench.router.view.topics == []


def test_what_is_dropped_when_publishing_is_said_in_the_receipt():
    bench = OneRouter(outbox_limits=OutboxLimits(messages=1))
    bench.member()
    bench.router.publish(TOPIC, b"a", bench.now_s)
    receipt = bench.router.publish(TOPIC, b"b", bench.now_s)
    assert receipt == PublishReceipt(id_of(b"b"), 1, 0, {"full": 1})


def test_a_message_too_large_to_publish_is_refused():
    bench = OneRouter(GossipParams(message_limit_bytes=4 + OVERHEAD_BYTES))
    with pytest.raises(PublishRefused, match="5 bytes; the limit is 4, so that an RPC of 16 holds it"):
        bench.router.publish(TOPIC, b"12345", bench.now_s)


@pytest.mark.parametrize("limit_bytes", [16, 140, 141, 142, 143, 16_400, 16_401, 16_402, 1 << 20])
@pytest.mark.parametrize("is_signed", [False, True])
def test_the_largest_message_makes_an_rpc_of_the_limit_and_no_more(limit_bytes: int, is_signed: bool):
    """go's limit is that of the RPC: one byte more would end our stream to every go peer."""
    if is_signed:
        limit_bytes += 200
    options = {"policy": SignaturePolicy.STRICT_SIGN, "signer": Signer(KEY)} if is_signed else {}
    bench = OneRouter(GossipParams(message_limit_bytes=limit_bytes), **options)
    peer = bench.member(protocol="/meshsub/1.1.0")
    with pytest.raises(PublishRefused) as refused:
        bench.router.publish(TOPIC, bytes(limit_bytes), bench.now_s)
    largest_bytes = int(str(refused.value).split("the limit is ")[1].split(",")[0])
    with pytest.raises(PublishRefused):
        bench.router.publish(TOPIC, bytes(largest_bytes + 1), bench.now_s)
    bench.router.publish(TOPIC, bytes(largest_bytes), bench.now_s)
    [frame] = bench.frames(peer)
    # Where a length takes one more byte, two sizes lie next to each other.
    assert limit_bytes - 2 <= len(frame) <= limit_bytes


def test_a_message_is_passed_on_when_its_rpc_keeps_the_limit():
    bench = OneRouter(GossipParams(message_limit_bytes=1 << 20))
    source, other = bench.member(), bench.member()
    fits, exceeds = message(bytes((1 << 20) - 16)), message(bytes((1 << 20) - 15))
    assert (len(fits.field), len(exceeds.field)) == (1 << 20, (1 << 20) + 1)
    bench.say(source, publish=(fits, exceeds))
    assert bench.sent_data(other) == [fits.data]
    assert bench.observer.of("oversized") == [(source, TOPIC, len(exceeds.field))]


def test_publishing_what_is_known_already_is_refused():
    bench = OneRouter()
    bench.router.publish(TOPIC, b"data", bench.now_s)
    with pytest.raises(PublishRefused, match="known already"):
        bench.router.publish(TOPIC, b"data", bench.now_s)


def test_own_messages_that_come_back_are_duplicates():
    bench = OneRouter()
    member = bench.member()
    bench.router.publish(TOPIC, b"data", bench.now_s)
    bench.say(member, publish=(message(b"data"),))
    assert bench.data == []
    assert bench.observer.count("duplicate") == 1


def test_signed_messages_have_rising_sequence_numbers():
    bench = OneRouter(policy=SignaturePolicy.STRICT_SIGN, signer=Signer(KEY), first_seqno=7)
    peer = bench.member()
    for _ in range(2):
        bench.router.publish(TOPIC, b"same", bench.now_s)
    sent = bench.sent(peer).publish
    assert [int.from_bytes(each.seqno or b"", "big") for each in sent] == [7, 8]
    assert {each.source for each in sent} == {bytes(KEY.peer_id)}


# Fanout.


def test_fanout_is_filled_kept_and_not_announced():
    bench = OneRouter(PARAMS, topics=())
    peers = [bench.peer() for _ in range(20)]
    bench.router.publish(TOPIC, b"a", bench.now_s)
    fanout = bench.router.view.topic(TOPIC).fanout
    sent = {peer: bench.sent(peer) for peer in peers}
    assert sorted(peer for peer in peers if sent[peer].publish) == sorted(fanout)
    assert len(fanout) == PARAMS.mesh_target
    assert all(not each.subscriptions and each.control == Control() for each in sent.values())

    bench.router.publish(TOPIC, b"b", bench.now_s)
    assert sorted(receivers(bench, peers)) == sorted(fanout)


def test_fanout_is_refilled_when_peers_leave():
    bench = OneRouter(PARAMS, topics=())
    for _ in range(20):
        bench.peer()
    bench.router.publish(TOPIC, b"a", bench.now_s)
    fanout = bench.router.view.topic(TOPIC).fanout
    bench.router.remove_peer(fanout[0], bench.now_s)
    bench.say(fanout[1], unsubscribe=(TOPIC,))
    bench.beat()
    refilled = bench.router.view.topic(TOPIC).fanout
    assert len(refilled) == PARAMS.mesh_target
    assert set(refilled) > set(fanout[2:])
    assert not set(refilled) & set(fanout[:2])


def test_fanout_expires_a_minute_after_the_last_publishing():
    bench = OneRouter(PARAMS, topics=())
    bench.peer()
    bench.router.publish(TOPIC, b"a", bench.now_s)
    published_s = bench.now_s
    while bench.router.view.topic(TOPIC).fanout:
        bench.beat()
    assert PARAMS.fanout_ttl_s <= bench.now_s - published_s < PARAMS.fanout_ttl_s + 1


def test_joining_makes_the_fanout_the_mesh():
    bench = OneRouter(PARAMS, topics=())
    for _ in range(20):
        bench.peer()
    bench.router.publish(TOPIC, b"a", bench.now_s)
    fanout = bench.router.view.topic(TOPIC).fanout
    bench.router.subscribe(TOPIC, bench.now_s)
    assert bench.mesh() == list(fanout)
    assert bench.observer.of("grafted") == [(peer, TOPIC, GraftReason.FANOUT) for peer in fanout]


def test_messages_published_to_the_fanout_are_gossiped():
    bench = OneRouter(PARAMS, topics=())
    peers = [bench.peer() for _ in range(20)]
    bench.router.publish(TOPIC, b"a", bench.now_s)
    bench.discard_sent()
    fanout = bench.router.view.topic(TOPIC).fanout
    bench.beat()
    told = [peer for peer in peers if bench.sent(peer).control.ihave]
    assert len(told) == PARAMS.gossip_peers
    assert not set(told) & set(fanout)


def test_fanout_topics_are_bounded():
    bench = OneRouter(GossipParams(is_flood_publishing=False, fanout_limit=2), topics=())
    for name in ("a", "b", "c"):
        bench.router.publish(name, b"data " + name.encode(), bench.now_s)
    assert bench.router.view.topics == ["b", "c"]
    assert bench.observer.of("turned_away") == [("fanout", 1)]


# What cannot be.


def test_the_same_peer_twice_is_refused():
    bench = OneRouter()
    peer = bench.peer()
    with pytest.raises(PeerKnown):
        bench.router.add_peer(peer, "/meshsub/1.2.0", "", is_outbound=True, now_s=bench.now_s)


@pytest.mark.parametrize(
    "rules", [TopicRules(message_id=author_and_seqno), TopicRules(is_replay_checked=True)]
)
def test_rules_that_need_an_author_are_refused_where_nobody_signs(rules: TopicRules):
    bench = OneRouter(topics=(), rules=lambda topic: rules)
    with pytest.raises(ContradictoryRules):
        bench.router.subscribe(TOPIC, bench.now_s)
    assert bench.router.view.topics == []


def test_signing_without_a_key_is_refused():
    with pytest.raises(ContradictoryRules):
        OneRouter(policy=SignaturePolicy.STRICT_SIGN)
    with pytest.raises(ContradictoryRules):
        OneRouter(signer=Signer(KEY))


def test_what_a_peer_sent_before_it_went_is_dropped_in_peace():
    bench = OneRouter()
    bench.router.on_frame(peer_id(9), message(b"data").field, bench.now_s)
    bench.router.remove_peer(peer_id(9), bench.now_s)
    assert bench.data == []


# Time.


def test_the_first_heartbeat_comes_early_and_then_one_per_interval():
    bench = OneRouter(LEAN_PARAMS)
    due = []
    for _ in range(3):
        due.append(bench.router.next_event_at_s - 1000)
        bench.beat()
    assert due == pytest.approx([0.1, 0.8, 1.5])


def test_after_a_pause_there_is_one_heartbeat_and_not_many():
    bench = OneRouter()
    bench.now_s += 100
    bench.router.heartbeat(bench.now_s)
    assert bench.router.next_event_at_s == bench.now_s + 1
