"""Observers of a network besides its metrics and journal: the ledger, and what the settings ask for."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from leanmesh.gossip.observer import Observer
from leanmesh.identity.peer_id import PeerId
from leanmesh.metrics.cells import Cells
from leanmesh.metrics.duplicate_lag import LagTracker
from leanmesh.metrics.duplicate_lag_source import LagSource
from leanmesh.metrics.params import LagParams
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.service.mesh_ledger import EndedLinks, MeshLedger
from leanmesh.service.params import TraceParams
from leanmesh.service.trace import Trace
from leanmesh.service.trace_file import TraceFile
from leanmesh.transport.interface import Connection


@attrs.frozen(eq=False)
class Watchers:
    """Those of one network.  What is None is off and costs nothing."""

    ledger: MeshLedger
    lag: LagTracker | None = None
    trace: Trace | None = None

    @classmethod
    def only_ledger(cls) -> "Watchers":
        """Nothing that has to be asked for."""
        return cls(MeshLedger(0, EndedLinks()))

    def observers(self) -> Iterator[Observer]:
        """Those that are there."""
        yield self.ledger
        if self.lag is not None:
            yield self.lag
        if self.trace is not None:
            yield self.trace

    def met(self, connection: Connection, agent: str, now_s: float) -> None:
        """A peer is connected and has said who it is."""
        if self.trace is not None:
            self.trace.met(connection, agent, now_s)

    def parted(self, connection: Connection, now_s: float) -> None:
        """A connection has ended."""
        if self.trace is not None:
            self.trace.parted(connection, now_s)

    def close(self, now_s: float) -> None:
        """The network runs no more: no peer is left, also when the core broke before it could say so."""
        self.ledger.close(now_s)
        if self.lag is not None:
            for peer in tuple(self.lag.firsts):
                self.lag.peer_removed(peer, "", now_s)


@attrs.define(eq=False)
class AllWatchers:
    """Those of every network of the process.  What they know goes on when a network is started again."""

    lag_params: LagParams
    trace_file: TraceFile | None = None
    ended: EndedLinks = attrs.field(factory=EndedLinks, init=False)
    _by_id: dict[int, Watchers] = attrs.field(factory=dict[int, Watchers], init=False)
    _trackers: dict[int, LagTracker] = attrs.field(factory=dict[int, LagTracker], init=False)

    @classmethod
    def build(
        cls, lag_params: LagParams, trace_params: TraceParams, snapshotter: Snapshotter, cells: Cells
    ) -> "AllWatchers":
        """Make what the settings ask for, and have it exported.  LocalError when the trace has no file."""
        trace_file = None
        if trace_params.file is not None:
            trace_file = TraceFile(Path(trace_params.file).expanduser(), trace_params, cells)
        watchers = cls(lag_params, trace_file)
        if lag_params.is_on:
            source = LagSource(watchers.trackers, lag_params.has_pairs)
            snapshotter.add_source("duplicate_lag", source.families, source.read)
        return watchers

    @property
    def trackers(self) -> Mapping[int, LagTracker]:
        """The trackers of duplicate lag by network id."""
        return self._trackers

    def of(self, network_id: int, peer: PeerId) -> Watchers:
        """The watchers of one network id, the same each time it is started.  `peer`: who we are there."""
        known = self._by_id.get(network_id)
        if known is None:
            if self.lag_params.is_on:
                self._trackers[network_id] = LagTracker(self.lag_params)
            known = self._by_id[network_id] = Watchers(
                MeshLedger(network_id, self.ended),
                self._trackers.get(network_id),
                None
                if self.trace_file is None
                else Trace(peer, self.trace_file.put, self.trace_file.params.sample_rate),
            )
        return known
