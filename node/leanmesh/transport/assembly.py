"""Switches ready to run: on the machine's TCP, or on a host of a network in memory."""

from typing import TYPE_CHECKING

from leanmesh.identity.keys import PrivateKey
from leanmesh.identity.peer_id import PeerId
from leanmesh.transport.memory import MemoryHost, PlainSecurity
from leanmesh.transport.observer import TransportObserver
from leanmesh.transport.params import TransportParams
from leanmesh.transport.switch import Switch
from leanmesh.transport.tcp import TcpCarrier
from leanmesh.transport.upgrade import NoiseSecurity, Security
from leanmesh.transport.upgraded import Carrier, UpgradedTransport

if TYPE_CHECKING:
    from random import Random


def tcp_switch(
    identity: PrivateKey,
    params: TransportParams,
    random: "Random",
    observer: TransportObserver | None = None,
) -> Switch:
    """TCP with Noise and yamux."""
    switch = Switch(identity.peer_id, params, random, observer)
    _add(switch, TcpCarrier(listen_backlog=params.listen_backlog), NoiseSecurity(identity))
    return switch


def memory_switch(
    host: MemoryHost,
    identity: PrivateKey | PeerId,
    params: TransportParams,
    random: "Random",
    observer: TransportObserver | None = None,
) -> Switch:
    """Pipes in memory with yamux; with a key also with Noise, with a peer id alone without."""
    is_key = isinstance(identity, PrivateKey)
    switch = Switch(identity.peer_id if is_key else identity, params, random, observer)
    _add(switch, host, NoiseSecurity(identity) if is_key else PlainSecurity(identity))
    return switch


def _add(switch: Switch, carrier: Carrier, security: Security) -> None:
    transport = UpgradedTransport(
        carrier,
        security,
        switch.local_peer,
        switch.params,
        switch.handlers,
        switch.observer,
        switch.flusher,
    )
    switch.transports.append(transport)
