"""The numbers of the service layer, and what makes one network."""

from typing import Any, Literal

import attrs
from attrs.validators import ge, gt, le

from leanmesh.errors import LocalError
from leanmesh.gossip.wire_params import WireLimits
from leanmesh.metrics.sampling import check_sample_rate
from leanmesh.service.pauses import Pauses
from leanmesh.wire.multiaddr import Multiaddr

# Slots of the C array; see ffi/cells.h.
NETWORK_ID_LIMIT = 64

DEFAULT_LISTEN = ("/ip4/0.0.0.0/tcp/9000", "/ip6/::/tcp/9000")

TOPIC_LIMIT_BYTES = WireLimits().topic_bytes


def _can_be_listened_on(_: "NetworkParams", field: "attrs.Attribute[Any]", texts: tuple[str, ...]) -> None:
    for text in texts:
        endpoint = Multiaddr.from_text(text).endpoint()
        if endpoint.transport != "tcp" or endpoint.host_protocol not in ("ip4", "ip6"):
            raise LocalError(
                f"{text} cannot be listened on: this version listens on IP addresses and TCP, such as "
                "/ip4/0.0.0.0/tcp/9000"
            )


def _are_addresses(_: "NetworkParams", field: "attrs.Attribute[Any]", texts: tuple[str, ...]) -> None:
    for text in texts:
        Multiaddr.from_text(text)


def _can_be_dialed(_: "NetworkParams", field: "attrs.Attribute[Any]", texts: tuple[str, ...]) -> None:
    for text in texts:
        address = Multiaddr.from_text(text)
        # What such a name stands for is looked up when it is dialed.
        if address.value_of("dnsaddr") is None:
            address.endpoint()


def _are_topics(_: "NetworkParams", field: "attrs.Attribute[Any]", topics: tuple[str, ...]) -> None:
    for topic in topics:
        try:
            size = len(topic.encode())
        except UnicodeEncodeError:
            raise LocalError(f"the topic {topic[:32]!r} is no valid Unicode") from None
        if not 0 < size <= TOPIC_LIMIT_BYTES:
            raise LocalError(f"the topic {topic[:32]!r} has {size} bytes; 1 to {TOPIC_LIMIT_BYTES} are taken")


@attrs.frozen(kw_only=True)
class NetworkParams:
    """One libp2p network that this process takes part in: who we are there, where, and with whom."""

    # Its slot, 0 to 63: the label under which its figures stand on the page.
    network_id: int = 0
    # The kind of network.
    profile: Literal["libp2p", "lean"] = "libp2p"
    # The identity, made when the file is missing.  Without a file it lives as long as the process.
    key_file: str | None = None
    # Addresses to listen on; port 0 takes a free one.
    listen: tuple[str, ...] = attrs.field(default=DEFAULT_LISTEN, validator=_can_be_listened_on)
    # Addresses to tell peers instead of those.
    announce: tuple[str, ...] = attrs.field(default=(), validator=_are_addresses)
    # Peers to stay connected to: dialed again for ever, with back-off.
    peers: tuple[str, ...] = attrs.field(default=(), validator=_can_be_dialed)
    # Topics to take and to pass on.
    topics: tuple[str, ...] = attrs.field(default=(), validator=_are_topics)
    # A relay keeps a full mesh; a leaf, a consumer at the edge, keeps one of one to three peers.
    role: Literal["relay", "leaf"] = "relay"
    # strict signs and demands signatures (StrictSign), none demands their absence (StrictNoSign).
    signing: Literal["strict", "none"] = "strict"
    # default is author and sequence number, sha256 hashes the data, auto takes what fits `signing`.
    message_id: Literal["auto", "default", "sha256"] = "auto"

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.network_id < NETWORK_ID_LIMIT:
            raise LocalError(
                f"network_id = {self.network_id} is no slot; there are {NETWORK_ID_LIMIT}, numbered from 0"
            )
        if self.profile == "lean":
            raise LocalError('profile = "lean" needs QUIC, which this version does not have; take "libp2p"')
        if self.signing == "none" and self.message_id == "default":
            raise LocalError(
                'message_id = "default" is made of author and sequence number, which unsigned messages '
                'lack; with signing = "none" take message_id = "sha256"'
            )


@attrs.frozen(kw_only=True)
class ServiceParams:
    """Bounds and times of the tasks that join connections, core and metrics."""

    # A consumer that stalls for a second at 1,000 messages/s loses nothing.
    subscription_limit: int = attrs.field(default=1024, validator=gt(0))
    # Whatever their number: 64 messages of the largest size the libp2p profile takes.
    subscription_limit_bytes: int = attrs.field(default=64 * 1024 * 1024, validator=gt(0))
    # A sink holds what 1,000 messages/s bring while its engine is away for a minute.
    sink_limit: int = attrs.field(default=65536, validator=gt(0))
    sink_limit_bytes: int = attrs.field(default=64 * 1024 * 1024, validator=gt(0))
    # Validations that run at once in tasks, and in threads; those beyond wait with their tickets.
    validator_tasks_limit: int = attrs.field(default=256, validator=gt(0))
    validator_threads_limit: int = attrs.field(default=4, validator=gt(0))
    # As long as a peer may take to agree on the gossip protocol.
    stream_timeout_s: float = attrs.field(default=10.0, validator=gt(0.0))
    # A gossip frame that has begun must go on within this time; 30 s is what slow links need for 1 MiB.
    frame_timeout_s: float = attrs.field(default=30.0, validator=gt(0.0))
    # Identify is answered at once by every peer that means it.
    identify_timeout_s: float = attrs.field(default=5.0, validator=gt(0.0))
    # Configured peers are dialed again after 1, 2, 4 ... 60 s, each with up to a quarter more or less.
    redial_first_s: float = attrs.field(default=1.0, validator=gt(0.0))
    redial_limit_s: float = attrs.field(default=60.0, validator=gt(0.0))
    # A connection that has lived this long has worked: the pauses begin anew when it ends.  One that ends
    # sooner lengthens the pause as a failed dial does, so a peer that flaps is dialed once a minute.
    redial_stable_after_s: float = attrs.field(default=10.0, validator=ge(0.0))
    # What is queued when the node stops has this long to leave.
    stop_timeout_s: float = attrs.field(default=5.0, validator=ge(0.0))
    # A network or sink whose task failed is started again after this time, doubled each time up to the limit.
    restart_first_s: float = attrs.field(default=1.0, validator=gt(0.0))
    restart_limit_s: float = attrs.field(default=60.0, validator=gt(0.0))
    # One that has run this long has worked: the pauses begin anew when it fails.
    restart_stable_after_s: float = attrs.field(default=60.0, validator=ge(0.0))
    # Publishing to a topic that nobody takes is an error after this time.
    publish_timeout_s: float = attrs.field(default=5.0, validator=ge(0.0))

    def restart_pauses(self) -> Pauses:
        """The pauses of one network or sink that fails."""
        return Pauses(self.restart_first_s, self.restart_limit_s, self.restart_stable_after_s)


@attrs.frozen(kw_only=True)
class TraceParams:
    """The trace of events in a file: JSON lines in the vocabulary of go-libp2p-pubsub."""

    # Appended to; without a file there is no trace.  `--trace FILE` sets it.
    file: str | None = None
    # One of so many messages has its lines, a power of two; peers and meshes always have theirs.
    sample_rate: int = 1
    # No file of ours fills a disk: an hour at 1,000 messages/s with five duplicates each.
    limit_bytes: int = attrs.field(default=8 * 1024 * 1024 * 1024, validator=gt(0))
    # What waits for the disk: some seconds of that.  Beyond it lines are dropped and counted.
    queue_limit_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=gt(0))

    def __attrs_post_init__(self) -> None:
        check_sample_rate("sample_rate", self.sample_rate)


@attrs.frozen(kw_only=True)
class RecordParams:
    """The recording of each network's events, for `leanmesh replay` to repeat them when something broke."""

    # Each life of a network has a file here; without a folder there is none.  `--record FOLDER` sets it.
    folder: str | None = None
    # Of one file: 25 minutes at 100 messages/s of 1 KiB with two duplicates each.  Then its recording ends.
    limit_bytes: int = attrs.field(default=1024 * 1024 * 1024, validator=gt(0))
    # What waits for the disk.  One event beyond it ends the recording: with a hole nothing can be repeated.
    queue_limit_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=gt(0))
    # Of one network in the folder; beyond them it runs unrecorded, however often it breaks.
    files_limit: int = attrs.field(default=8, validator=gt(0))


@attrs.frozen(kw_only=True)
class WorkerParams:
    """Worker processes behind one supervisor: how many, how long they live, and what follows their end.

    `count`: 0 runs the networks in the node's own process; else each network runs
    whole in one of so many workers.  `recycle_after_s` and `recycle_after_messages`
    (received ones, copies included) replace a process by a fresh one; 0 is never.
    `restarts_limit`: a worker that ends more often in a row, without having run
    for `stable_after_s` in between, is given up until it is recycled.
    """

    # One process is simpler to watch; workers are for more than one core can do.
    count: int = attrs.field(default=0, validator=[ge(0), le(NETWORK_ID_LIMIT)])
    # Never: a process that does not leak needs no replacement.
    recycle_after_s: float = attrs.field(default=0.0, validator=ge(0.0))
    # Never, as above; counts every copy received.
    recycle_after_messages: int = attrs.field(default=0, validator=ge(0))
    # Loading takes half a second on a machine with nothing else to do.
    start_timeout_s: float = attrs.field(default=30.0, validator=gt(0.0))
    # 0.5, 1, 2 ... 60 s: a process that was killed once is back soon, one that cannot run costs little.
    restart_first_s: float = attrs.field(default=0.5, validator=ge(0.0))
    restart_limit_s: float = attrs.field(default=60.0, validator=ge(0.0))
    # About five minutes of trying.
    restarts_limit: int = attrs.field(default=10, validator=ge(0))
    stable_after_s: float = attrs.field(default=60.0, validator=ge(0.0))
    # The loop says ten times a second that it goes round; seconds without a word are no load.
    heartbeat_limit_s: float = attrs.field(default=5.0, validator=gt(0.0))
    # A worker that does its work answers in milliseconds, and whoever asked waits for the slowest.
    answer_timeout_s: float = attrs.field(default=2.0, validator=gt(0.0))
