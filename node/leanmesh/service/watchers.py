"""Observers of a network besides its metrics and journal: the ledger, and what the settings ask for."""

from collections.abc import Iterator, Mapping

import attrs

from leanmesh.gossip.observer import Observer
from leanmesh.metrics.duplicate_lag import LagTracker
from leanmesh.metrics.duplicate_lag_source import LagSource
from leanmesh.metrics.params import LagParams
from leanmesh.metrics.snapshotter import Snapshotter
from leanmesh.service.mesh_ledger import EndedLinks, MeshLedger


@attrs.frozen(eq=False)
class Watchers:
    """Those of one network.  What is None is off and costs nothing."""

    ledger: MeshLedger
    lag: LagTracker | None = None

    @classmethod
    def only_ledger(cls) -> "Watchers":
        """Nothing that has to be asked for."""
        return cls(MeshLedger(0, EndedLinks()))

    def observers(self) -> Iterator[Observer]:
        """Those that are there."""
        yield self.ledger
        if self.lag is not None:
            yield self.lag

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
    ended: EndedLinks = attrs.field(factory=EndedLinks, init=False)
    _by_id: dict[int, Watchers] = attrs.field(factory=dict[int, Watchers], init=False)
    _trackers: dict[int, LagTracker] = attrs.field(factory=dict[int, LagTracker], init=False)

    @classmethod
    def build(cls, lag_params: LagParams, snapshotter: Snapshotter) -> "AllWatchers":
        """Make what the settings ask for, and have it exported."""
        watchers = cls(lag_params)
        if lag_params.is_on:
            source = LagSource(watchers.trackers, lag_params.has_pairs)
            snapshotter.add_source("duplicate_lag", source.families, source.read)
        return watchers

    @property
    def trackers(self) -> Mapping[int, LagTracker]:
        """The trackers of duplicate lag by network id."""
        return self._trackers

    def of(self, network_id: int) -> Watchers:
        """The watchers of one network id; the same ones each time it is started."""
        known = self._by_id.get(network_id)
        if known is None:
            if self.lag_params.is_on:
                self._trackers[network_id] = LagTracker(self.lag_params)
            known = self._by_id[network_id] = Watchers(
                MeshLedger(network_id, self.ended), self._trackers.get(network_id)
            )
        return known
