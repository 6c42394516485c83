"""Splitting keeps content and every limit of the peer it is for."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leanmesh.gossip import entries, rpc_pb2, wire
from leanmesh.gossip.dialect import Dialect
from leanmesh.gossip.packing import PendingControl, fill, pack
from leanmesh.gossip.rpc import Control, IHave, PeerInfo, Prune, Rpc
from leanmesh.gossip.wire_params import WireLimits
from leanmesh.wire.varint import decode_varint

LIMITS = WireLimits()

topics = st.text(st.characters(codec="ascii"), min_size=1, max_size=20)
ids = st.binary(min_size=1, max_size=40)
peers = st.lists(st.builds(PeerInfo, st.binary(max_size=40), st.none() | st.binary(max_size=60)), max_size=6)


@st.composite
def pendings(draw: st.DrawFn) -> PendingControl:
    mesh: dict[str, Prune | None] = {}
    for topic, is_graft, backoff_s, px in draw(
        st.lists(st.tuples(topics, st.booleans(), st.integers(0, 3600), peers), max_size=12)
    ):
        mesh[topic] = None if is_graft else Prune(topic, backoff_s, px)
    return PendingControl(
        draw(st.dictionaries(topics, st.booleans(), max_size=12)),
        mesh,
        dict.fromkeys(draw(st.lists(ids, max_size=30))),
        dict.fromkeys(draw(st.lists(ids, max_size=30))),
        draw(st.dictionaries(topics, st.lists(ids, min_size=1, max_size=30), max_size=4)),
    )


dialects = st.builds(
    Dialect,
    # No entry that is not split by its size is larger than this.
    control_bytes=st.integers(120, 600),
    rpc_bytes=st.integers(600, 2_000),
    publishes=st.integers(1, 5),
    subscriptions=st.integers(1, 5),
    ids_per_entry=st.integers(1, 8),
    ids_per_idontwant=st.integers(1, 4),
    idontwants=st.integers(1, 2),
    px_peers=st.integers(0, 4),
)


def bodies_of(rpcs: list[bytes]) -> list[bytes]:
    bodies = []
    for each in rpcs:
        size_bytes, start = decode_varint(each)
        assert size_bytes == len(each) - start > 0
        bodies.append(each[start:])
    return bodies


def joined(rpcs: list[Rpc]) -> Rpc:
    """All that several RPCs say, as one; IHAVE entries of one topic joined."""
    control = Control()
    ihave: dict[str, list[bytes]] = {}
    for each in (rpc.control for rpc in rpcs if rpc.control is not None):
        for have in each.ihave:
            ihave.setdefault(have.topic, []).extend(have.message_ids)
        control.iwant += each.iwant
        control.graft += each.graft
        control.prune += each.prune
        control.idontwant += each.idontwant
    control.ihave = [IHave(topic, message_ids) for topic, message_ids in ihave.items()]
    return Rpc(
        [subscription for rpc in rpcs for subscription in rpc.subscriptions],
        [message for rpc in rpcs for message in rpc.publish],
        control,
    )


@given(pendings(), st.lists(st.binary(max_size=500), max_size=12), dialects)
@settings(max_examples=200)
def test_splitting_keeps_content_and_every_limit(
    pending: PendingControl, payloads: list[bytes], dialect: Dialect
):
    fields = [entries.message(b"topic", data) for data in payloads]

    bodies = bodies_of(fill(pack(pending, dialect), fields, dialect))

    said = joined([wire.decode(body, LIMITS) for body in bodies])
    assert {each.topic: each.subscribe for each in said.subscriptions} == pending.subscriptions
    assert [message.field for message in said.publish] == fields
    assert said.control is not None
    assert {have.topic: have.message_ids for have in said.control.ihave} == pending.ihave
    assert said.control.iwant == list(pending.iwant)
    assert said.control.idontwant == list(pending.idontwant)
    assert said.control.graft == [topic for topic, prune in pending.mesh.items() if prune is None]
    prunes = [prune for prune in pending.mesh.values() if prune is not None]
    assert [(each.topic, each.backoff_s) for each in said.control.prune] == [
        (each.topic, each.backoff_s) for each in prunes
    ]
    for sent, meant in zip(said.control.prune, prunes, strict=True):
        assert sent.peers == meant.peers[: len(sent.peers)]
    for body in bodies:
        check_limits(body, dialect)


def check_limits(body: bytes, dialect: Dialect) -> None:
    rpc = rpc_pb2.RPC.FromString(body)
    control = rpc.control
    assert len(rpc.publish) <= dialect.publishes
    assert len(rpc.subscriptions) <= dialect.subscriptions
    assert len(control.idontwant) <= dialect.idontwants
    for entry in control.idontwant:
        assert len(entry.message_ids) <= dialect.ids_per_idontwant
    for entry in (*control.ihave, *control.iwant):
        assert len(entry.message_ids) <= dialect.ids_per_entry
    for entry in control.prune:
        assert len(entry.peers) <= dialect.px_peers
    if len(rpc.publish) != 1:
        assert len(body) <= dialect.rpc_bytes
    rpc.ClearField("publish")
    assert rpc.ByteSize() <= dialect.control_bytes


def test_messages_begin_in_the_last_control_rpc():
    pending = PendingControl(idontwant=dict.fromkeys(b"%02d" % number for number in range(25)))
    fields = [entries.message(b"t", b"data")] * 2

    rpcs = [
        wire.decode(body, LIMITS) for body in bodies_of(fill(pack(pending, Dialect()), fields, Dialect()))
    ]

    assert [(len(rpc.control.idontwant), len(rpc.publish)) for rpc in rpcs if rpc.control] == [
        (10, 0),
        (10, 0),
        (5, 2),
    ]


@pytest.mark.parametrize("size_bytes", [100_000, 1_000_000])
def test_a_message_larger_than_an_rpc_goes_alone(size_bytes: int):
    small, large = entries.message(b"t", b"small"), entries.message(b"t", b"x" * size_bytes)

    bodies = bodies_of(fill([entries.subscription(True, "t")], [small, large, small, small], Dialect()))

    assert bodies == [entries.subscription(True, "t") + small, large, small + small]


def test_an_rpc_is_filled_to_its_limit_exactly():
    field = entries.message(b"t", b"x" * 92)
    dialect = Dialect(rpc_bytes=3 * len(field))
    assert bodies_of(fill([], [field] * 7, dialect)) == [field * 3, field * 3, field]


def test_urgent_control_comes_first():
    pending = PendingControl(
        ihave={"t": [b"h" * 40]},
        iwant={b"w" * 40: None},
        idontwant={b"d" * 40: None},
        mesh={"t": None},
        subscriptions={"t": True},
    )
    rpcs = [wire.decode(body, LIMITS) for body in pack(pending, Dialect(control_bytes=56))]

    assert rpcs == [
        wire.decode(entries.subscription(True, "t") + entries.control([entries.graft("t")]), LIMITS),
        Rpc([], [], Control(idontwant=[b"d" * 40])),
        Rpc([], [], Control(iwant=[b"w" * 40])),
        Rpc([], [], Control(ihave=[IHave("t", [b"h" * 40])])),
    ]


def test_a_prune_recommends_as_many_peers_as_fit():
    peer = PeerInfo(b"p" * 40, b"r" * 200)
    pending = PendingControl(mesh={"t": Prune("t", 60, [peer] * 16)})
    (body,) = pack(pending, attrs.evolve(Dialect(), control_bytes=1_000))

    (prune,) = joined([wire.decode(body, LIMITS)]).control.prune
    assert (prune.backoff_s, len(prune.peers)) == (60, 3)


@pytest.mark.parametrize("id_bytes", [1, 8, 20, 46, 127, 128, 200, 256])
@pytest.mark.parametrize("topic", ["t", "t" * 1_000])
def test_long_lists_of_ids_are_split_by_size(topic: str, id_bytes: int):
    message_ids = [b"%0*d" % (id_bytes, number) for number in range(min(5_000, 10**id_bytes))]
    pending = PendingControl(ihave={topic: message_ids}, iwant=dict.fromkeys(message_ids))
    dialect = Dialect(ids_per_entry=5_000, ids_per_idontwant=5_000)

    bodies = pack(pending, dialect)

    control = joined([wire.decode(body, LIMITS) for body in bodies]).control
    assert (control.ihave, control.iwant) == ([IHave(topic, message_ids)], message_ids)
    assert max(len(body) for body in bodies) <= dialect.control_bytes
    # As few as can be, give or take one per kind.
    assert len(bodies) <= sum(len(body) for body in bodies) // (dialect.control_bytes - 1_300) + 2
