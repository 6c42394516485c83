"""Joins connections, the gossip core and the metrics into a node.  Its public face:"""

from leanmesh.gossip.validation import Verdict
from leanmesh.service.node import MeshTooSmall, NobodyTakesTopic, Node
from leanmesh.service.peer_info import PeerInfo
from leanmesh.service.receipts import Receipt
from leanmesh.service.requests import Responder, request
from leanmesh.service.subscriptions import Overflow, ReceivedMessage, Subscription, SubscriptionClosed

__all__ = [
    "MeshTooSmall",
    "NobodyTakesTopic",
    "Node",
    "Overflow",
    "PeerInfo",
    "Receipt",
    "ReceivedMessage",
    "Responder",
    "Subscription",
    "SubscriptionClosed",
    "Verdict",
    "request",
]
