"""The numbers of the core, each with its reason.  `docs/gossip.md` prints them from here.

A remote number never takes part unclamped: what a limit does to what peers send
is said at the limit.
"""

from typing import Any, TypeVar

import attrs

from leanmesh.errors import LocalError

Number = TypeVar("Number", int, float, bool)

REASON = "reason"


class BadGossipParams(LocalError):
    """A parameter that cannot be, or two that contradict each other."""


def _number(default: Number, reason: str, *, least: float = 0) -> Number:
    """A field whose value is at least `least`; the reason goes into the documentation."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: float) -> None:
        # `not >=` rather than `<`: a NaN must fail too.
        if not value >= least or value == float("inf"):
            raise BadGossipParams(f"{attribute.name} is {value}; it must be a number of at least {least}")

    return attrs.field(default=default, metadata={REASON: reason}, validator=check)


@attrs.frozen(kw_only=True)
class GossipParams:
    """Frozen numbers of one router.  The defaults are the libp2p profile; LEAN_PARAMS is the other."""

    # Mesh.
    mesh_target: int = _number(6, "D. What go, rust and js take.")
    mesh_low: int = _number(5, "Dlo, below which peers are grafted. go and rust: 5.")
    mesh_high: int = _number(12, "Dhi, above which peers are pruned; an inbound GRAFT at Dhi is refused.")
    mesh_best: int = _number(4, "Dscore: peers kept for their score when pruning.")
    mesh_outbound: int = _number(
        2, "Dout: of the peers kept, at least so many we dialed ourselves, which an attacker cannot choose."
    )
    prune_backoff_s: float = _number(60.0, "How long a pruned peer is not grafted. Specification: 1 minute.")
    unsubscribe_backoff_s: float = _number(
        10.0, "The same after leaving a topic: short, so that a return is quick."
    )
    backoff_limit_s: float = _number(
        3600.0,
        "A peer's back-off is clamped to this where it enters (CVE-2026-33040: 2^64-1 overflows).",
        least=1,
    )
    backoff_slack_s: float = _number(
        1.0, "Waited beyond a back-off before grafting: clocks and heartbeats of two peers are not in step."
    )
    backoff_peers_limit: int = _number(
        4096,
        "Back-offs remembered per topic, so that reconnecting does not wash them; the oldest goes first.",
        least=1,
    )
    graft_flood_s: float = _number(10.0, "A GRAFT so soon after a PRUNE, whoever said it, counts twice.")
    opportunistic_graft_ticks: int = _number(
        60, "Heartbeats between opportunistic grafts: 1 minute.", least=1
    )
    opportunistic_graft_peers: int = _number(2, "Peers above the median score grafted then.")

    # Timing.
    heartbeat_interval_s: float = _number(
        1.0, "The field's pace; mesh repair and gossip wait for it.", least=0.01
    )
    heartbeat_delay_s: float = _number(
        0.1, "The first heartbeat after start: early, so that the mesh does not wait a whole interval."
    )
    fanout_ttl_s: float = _number(60.0, "How long peers of a topic we only publish to are remembered.")

    # Gossip.
    gossip_peers: int = _number(6, "Dlazy: peers outside the mesh that hear IHAVE, at least.")
    gossip_factor: float = _number(
        0.25, "The share of the peers outside the mesh that hear IHAVE: three rounds reach 58 %."
    )
    history_length: int = _number(5, "Heartbeats a message can be asked for.", least=1)
    history_gossip: int = _number(
        3, "Heartbeats a message is advertised; shorter, so that an answer is still there.", least=1
    )
    history_limit_bytes: int = _number(
        64 * 1024 * 1024, "Bytes of messages kept for IWANT; the oldest go first.", least=1
    )
    seen_ttl_s: float = _number(
        120.0, "How long an id is remembered after its first sight. Specification and go: 120 s.", least=1
    )
    seen_limit: int = _number(
        1 << 20,
        "Ids remembered, about 150 bytes each: 120 s of 8,700 messages/s; the oldest go first.",
        least=1,
    )
    retransmission_limit: int = _number(3, "Times one message is sent to one peer for IWANT.", least=1)
    ihave_messages_limit: int = _number(
        10, "IHAVE heard from a peer per heartbeat. go, rust and js: 10.", least=1
    )
    ihave_ids_limit: int = _number(
        5000,
        "Ids asked from a peer, advertised to a peer, and answered to a peer, each per heartbeat.",
        least=1,
    )
    iwant_unknown_limit: int = _number(
        20,
        "Ids per heartbeat that a peer may ask for in vain; the rest is not looked up. nim: 20.",
    )
    iwant_followup_s: float = _number(3.0, "How long a peer has to send what it advertised and we asked for.")
    promise_limit: int = _number(16_384, "Promises waited for, over all peers.", least=1)
    idontwant_threshold_bytes: int = _number(
        1024, "Data from this size on is worth an IDONTWANT of about 40 bytes."
    )
    idontwant_ttl_ticks: int = _number(3, "Heartbeats an IDONTWANT is honoured. go: 3.", least=1)
    idontwant_ids_limit: int = _number(
        10_000, "IDONTWANT ids remembered per peer: go's 1,000 RPCs of 10 ids.", least=1
    )

    # Publishing.
    is_flood_publishing: bool = _number(
        True, "Own messages go to all peers of a topic: quicker, and proof against an eclipsed mesh."
    )
    message_limit_bytes: int = _number(
        1024 * 1024,
        "One message as it travels, with its topic and signature; and its data after decompression. "
        "go: 1 MiB for the whole RPC, and one byte more ends the stream.",
        least=1,
    )

    # Subscriptions.
    peer_topics_limit: int = _number(
        1024, "Topics one peer may take at once (CVE-2026-46679: 350,000 in one frame).", least=1
    )
    fanout_limit: int = _number(256, "Topics published to without being subscribed.", least=1)

    # Validation.
    validation_limit: int = _number(
        32_768, "Messages waiting for a verdict; one peer may hold what is left free.", least=1
    )
    validation_topic_limit: int = _number(
        16_384,
        "The same for one topic: a lean subnet's burst of 10,240 fits when two peers bring it.",
        least=1,
    )
    validation_limit_bytes: int = _number(
        64 * 1024 * 1024,
        "Bytes of messages waiting for a verdict, with what a transform made of them.",
        least=1,
    )
    validation_timeout_s: float = _number(30.0, "A verdict that takes longer counts as ignore.", least=0.001)
    known_copies_limit: int = _number(
        65_536,
        "Ids remembered by what travelled, where topics have a transform: 230 bytes each; a copy that is "
        "not among them is transformed again.",
        least=1,
    )
    rejected_limit: int = _number(
        16_384,
        "Ids remembered as invalid, so that who repeats them is known; and as many copies that are our own "
        "or replays, so that their signatures are checked once.",
        least=1,
    )
    author_limit: int = _number(
        65_536, "Authors whose last sequence number is remembered, where replays are checked.", least=1
    )

    # Thresholds of the score (rust and js; go leaves them to the application).
    gossip_threshold: float = attrs.field(
        default=-10.0, metadata={REASON: "Below it no gossip is exchanged."}
    )
    publish_threshold: float = attrs.field(
        default=-50.0, metadata={REASON: "Below it own messages are not sent there."}
    )
    graylist_threshold: float = attrs.field(
        default=-80.0, metadata={REASON: "Below it nothing from the peer is used."}
    )
    opportunistic_graft_threshold: float = _number(20.0, "A mesh whose median score is below it is improved.")

    # Misbehaviour.
    misbehaviour_limit: int = _number(
        100, "Misbehaviours on the account of a peer at which it is cut.", least=1
    )
    misbehaviour_decay_s: float = _number(
        60.0, "After this time half of a peer's account is forgiven.", least=1
    )

    def __attrs_post_init__(self) -> None:
        self._hold(
            self.mesh_low <= self.mesh_target <= self.mesh_high, "mesh_low <= mesh_target <= mesh_high"
        )
        self._hold(self.mesh_best <= self.mesh_target or not self.mesh_target, "mesh_best <= mesh_target")
        self._hold(self.mesh_outbound <= self.mesh_target // 2, "mesh_outbound <= mesh_target / 2")
        self._hold(self.mesh_outbound < self.mesh_low or not self.mesh_low, "mesh_outbound < mesh_low")
        self._hold(self.history_gossip <= self.history_length, "history_gossip <= history_length")
        self._hold(self.gossip_factor <= 1, "gossip_factor <= 1")
        self._hold(
            self.graylist_threshold <= self.publish_threshold <= self.gossip_threshold <= 0,
            "graylist_threshold <= publish_threshold <= gossip_threshold <= 0",
        )
        self._hold(
            self.seen_ttl_s >= self.history_length * self.heartbeat_interval_s,
            "seen_ttl_s >= history_length * heartbeat_interval_s (what is served must not look new)",
        )

    def _hold(self, is_held: bool, rule: str) -> None:
        if not is_held:
            known = {field.name for field in attrs.fields(GossipParams)}
            named = [f"{word} is {getattr(self, word)}" for word in rule.split() if word in known]
            raise BadGossipParams(f"{rule} fails: {', '.join(named)}")


LEAN_PARAMS = GossipParams(
    mesh_target=8,
    mesh_low=6,
    mesh_high=12,
    heartbeat_interval_s=0.7,
    history_length=6,
    seen_ttl_s=24.0,
    is_flood_publishing=False,
    message_limit_bytes=10 * 1024 * 1024,
)
