"""The numbers of the transports: timeouts, buffers, limits.  Each with its reason."""

import ipaddress

import attrs

from leanmesh.wire.yamux_params import YamuxParams

# What the system call carries.
LISTEN_BACKLOG_LIMIT = 2**31 - 1


@attrs.frozen(kw_only=True)
class ConnectionParams:
    """What holds for one connection."""

    yamux: YamuxParams = attrs.field(factory=YamuxParams)
    # Queued for the network and not yet taken by it.  Twice a yamux window keeps a fast stream busy.
    send_limit_bytes: int = 512 * 1024
    # Frames of yamux itself (credit, answers) on top of that; a peer that makes us exceed it reads nothing.
    control_limit_bytes: int = 64 * 1024
    # A stream's multistream-select, in each direction.  10 s is what go-libp2p and rust-libp2p give it.
    negotiation_timeout_s: float = 10.0
    # Silence for this long is answered with a ping, silence on the ping ends the connection.
    keepalive_interval_s: float = 15.0
    keepalive_timeout_s: float = 10.0
    # The network takes nothing of what we send for this long: the peer does not read.
    write_timeout_s: float = 30.0
    # Without any stream for this long, a connection serves nobody.
    idle_timeout_s: float = 300.0
    # How long a clean end may take: sending what is queued, or handlers reading what has arrived.
    close_timeout_s: float = 1.0
    # A stream that we closed is kept this long for the peer to close it, and reset then.
    stream_linger_s: float = 30.0

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(ConnectionParams):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value <= 0:
                raise ValueError(f"{field.name} must be above 0, not {value}")


@attrs.frozen(kw_only=True)
class TransportParams:
    """What holds for all connections of a network."""

    connection: ConnectionParams = attrs.field(factory=ConnectionParams)
    # In all, both directions; each costs a descriptor and up to what docs/transports.md states.
    connections_limit: int = 512
    # Inbound, from an IPv4 address or an IPv6 /56, and eight times that from a /48; 8 is go-libp2p's figure.
    # Loopback and `exempt_networks` do not count.
    connections_per_ip_limit: int = 8
    exempt_networks: tuple[str, ...] = ()
    # Peers may hold several connections (simultaneous dials, restarts); beyond this the oldest is closed.
    connections_per_peer_limit: int = 4
    # Connections from strangers that have not yet proved who they are.
    handshakes_limit: int = 128
    # From the connected socket to the usable connection.
    handshake_timeout_s: float = 10.0
    connect_timeout_s: float = 5.0
    resolve_timeout_s: float = 5.0
    # Of the addresses that names resolve to, and of the names behind names.
    resolved_addresses_limit: int = 32
    dnsaddr_depth_limit: int = 4
    # After a failed dial an address rests: the first time this long, doubled each time, up to the limit.
    backoff_initial_s: float = 1.0
    backoff_limit_s: float = 300.0
    # Part of the rest that is left to chance, so that nodes that fell together do not come back together.
    backoff_jitter: float = 0.25
    backoff_entries_limit: int = 4096
    # Of two connections that both sides dialed, the redundant one goes when it had no stream this long.
    duplicate_linger_s: float = 10.0
    # Timeouts are looked after this often, for all connections at once.
    sweep_interval_s: float = 1.0
    # Connections that the kernel holds for us; it cuts larger numbers to its own limit.
    listen_backlog: int = 128

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(TransportParams):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value <= 0:
                raise ValueError(f"{field.name} must be above 0, not {value}")
        if self.backoff_initial_s > self.backoff_limit_s:
            raise ValueError(f"backoff_initial_s <= backoff_limit_s fails: {self}")
        if self.listen_backlog > LISTEN_BACKLOG_LIMIT:
            raise ValueError(f"listen_backlog = {self.listen_backlog} exceeds {LISTEN_BACKLOG_LIMIT}")
        if self.backoff_jitter >= 1:
            raise ValueError(f"backoff_jitter is a part of the rest, below 1: {self.backoff_jitter}")
        for network in self.exempt_networks:
            ipaddress.ip_network(network)
