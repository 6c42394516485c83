"""Joins connections, the gossip core and the metrics into a node.  Its public face:"""

from leanmesh.gossip.validation import Verdict
from leanmesh.service.node import MeshTooSmall, NobodyTakesTopic, Node
from leanmesh.service.peer_info import PeerInfo
from leanmesh.service.receipts import Receipt
from leanmesh.service.requests import Responder, request
from leanmesh.service.sink_queue import Outcome, SinkBooks, SinkQueue
from leanmesh.service.sinks import Deliver, Drain, Sink
from leanmesh.service.subscriptions import Overflow, ReceivedMessage, Subscription, SubscriptionClosed

__all__ = [
    "Deliver",
    "Drain",
    "MeshTooSmall",
    "NobodyTakesTopic",
    "Node",
    "Outcome",
    "Overflow",
    "PeerInfo",
    "Receipt",
    "ReceivedMessage",
    "Responder",
    "Sink",
    "SinkBooks",
    "SinkQueue",
    "Subscription",
    "SubscriptionClosed",
    "Verdict",
    "request",
]
