"""Handler cases made by others' code: one event, and everything that is sent because of it."""

import hashlib
from typing import Any

from gossip.one_router import OneRouter
from leanmesh.gossip import entries, wire
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.rpc import Control, IHave, Message, Prune, Rpc, Subscription
from leanmesh.gossip.rules import TopicRules
from leanmesh.identity.peer_id import PeerId
from vectors import VectorCase, unhex, vector_cases


def content_id(message: Message, content: bytes | None) -> bytes:
    """The id of the cases: 20 bytes, over the domain of data that no decompression understood."""
    topic = message.topic.encode()
    prefix = b"\x00\x00\x00\x00" + len(topic).to_bytes(8, "little") + topic
    return hashlib.sha256(prefix + message.data).digest()[:20]


def make_message(topic: str, data: bytes) -> Message:
    return Message(topic, data, None, None, None, None, entries.message(topic.encode(), data))


SEEN = make_message("test_topic", unhex("0xdeadbeef"))


class Handler:
    """A router in the initial state of a case."""

    def __init__(self, case: VectorCase) -> None:
        self.state = case["initialState"]
        # D and Dlo are 0: this node grafts at once below Dlo, and the initial states know of
        # subscribed peers that are not in the mesh.  No handler reads either number.
        self.params = GossipParams(
            mesh_target=0,
            mesh_low=0,
            mesh_best=0,
            mesh_outbound=0,
            mesh_high=case["params"]["dHigh"],
            gossip_peers=case["params"]["dLazy"],
        )
        self.bench = OneRouter(
            self.params,
            topics=tuple(self.state["subscriptions"]),
            rules=lambda topic: TopicRules(message_id=content_id),
        )
        self.bench.now_s = case["now"]
        self.names: dict[PeerId, str] = {}
        self.peers: dict[str, PeerId] = {}
        for name, known in self.state["peers"].items():
            assert known == {**known, "withStream": True, "backoff": {}, "dontWantIds": []}
            self.peers[name] = self.bench.peer(topics=tuple(known["subscriptions"]))
            self.names[self.peers[name]] = name
        for topic, members in self.state["meshes"].items():
            for name in members:
                self.bench.say(self.peers[name], graft=(topic,))
        assert not self.state["cachedMessages"]
        for seen_id in self.state["seenMessageIds"]:
            assert content_id(SEEN, None) == unhex(seen_id)
            self.bench.say(self.bench.peer(), publish=(SEEN,))
        self.bench.discard_sent()

    def handle(self, event: dict[str, Any]) -> None:
        control = Control(
            [IHave(each["topicId"], [unhex(id_) for id_ in each["messageIds"]]) for each in event["ihave"]],
            [unhex(id_) for each in event["iwant"] for id_ in each["messageIds"]],
            [each["topicId"] for each in event["graft"]],
            [Prune(each["topicId"], each["backoff"]) for each in event["prune"]],
            [unhex(id_) for each in event["idontwant"] for id_ in each["messageIds"]],
        )
        publish = [make_message(each["topic"], unhex(each["data"])) for each in event["publish"]]
        frame = wire.encode(Rpc(list[Subscription](), publish, control))
        self.bench.router.on_frame(self.peers[event["fromPeer"]], frame, self.bench.now_s)

    def sent(self) -> dict[str, Rpc]:
        answers = {name: self.bench.sent(peer) for name, peer in self.peers.items()}
        silent = Rpc([], [], Control())
        return {name: rpc for name, rpc in answers.items() if rpc != silent}


@vector_cases("gossipsub_handler")
def test_vectors_of_handlers(case: VectorCase):
    handler = Handler(case)

    handler.handle(case["event"])

    expected = {}
    for rpc in case["expected"]["sentRpcs"]:
        control = Control()
        for each in rpc["control"].get("prune", []):
            control.prune.append(Prune(each["topicId"], each["backoff"]))
        for each in rpc["control"].get("iwant", []):
            control.iwant += [unhex(id_) for id_ in each["messageIds"]]
        assert rpc["control"].keys() <= {"prune", "iwant"}
        expected[rpc["toPeer"]] = Rpc([], [], control)
    assert handler.sent() == expected
    for topic, members in case["expected"]["meshAfter"].items():
        assert sorted(handler.names[peer] for peer in handler.bench.mesh(topic)) == sorted(members)
