"""Sources: callables that answer the values of whole families at each refresh.

A family has one owner: the cells, or one source that declared it.
"""

from collections.abc import Callable, Iterable, Sequence, Set

import attrs

from leanmesh.contain import ContainedErrors
from leanmesh.errors import LocalError
from leanmesh.metrics.family import FamilySpec
from leanmesh.metrics.sample import Family, Sample, Series, fold

ReadSamples = Callable[[], Iterable[Sample]]


@attrs.define(eq=False)
class SourceHandle:
    """What adding a source hands out: the way to take it back."""

    name: str
    specs: tuple[FamilySpec, ...]
    read: ReadSamples
    _holders: "dict[str, SourceHandle]"

    def remove(self) -> None:
        """Take the source out: its families end with the next refresh."""
        if self._holders.get(self.name) is self:
            del self._holders[self.name]


@attrs.define(eq=False)
class Sources:
    """The sources of one snapshotter, by name."""

    errors: ContainedErrors = attrs.field(factory=ContainedErrors)
    # Label sets that were put under `other`, by family.
    dropped: dict[str, int] = attrs.field(factory=dict[str, int])
    _by_name: dict[str, SourceHandle] = attrs.field(factory=dict[str, SourceHandle], init=False)
    # When each series was first seen, for OpenMetrics.
    _created: dict[tuple[str, tuple[str, ...]], float] = attrs.field(
        factory=dict[tuple[str, tuple[str, ...]], float], init=False
    )

    @property
    def specs(self) -> tuple[FamilySpec, ...]:
        """All families that sources declared."""
        return tuple(spec for source in self._by_name.values() for spec in source.specs)

    def specs_of(self, name: str) -> tuple[FamilySpec, ...]:
        """The families that one source declared; none when there is no such source."""
        source = self._by_name.get(name)
        return () if source is None else source.specs

    def add(self, name: str, specs: Sequence[FamilySpec], read: ReadSamples) -> SourceHandle:
        """Have `read()` asked for the values of `specs`; LocalError when a name is taken already."""
        if name in self._by_name:
            raise LocalError(f"a source named {name!r} was added already")
        taken = {spec.name for spec in self.specs} & {spec.name for spec in specs}
        if taken:
            raise LocalError(f"other sources own the families {sorted(taken)}; {name!r} cannot")
        handle = SourceHandle(name, tuple(specs), read, self._by_name)
        self._by_name[name] = handle
        self.errors.counts.setdefault(name, 0)
        return handle

    def read(self, owned: Set[str], created_unix_s: float) -> list[Family] | None:
        """Ask every source.  None when one of them failed: a snapshot is whole or is not taken.

        All are asked even then, so that each error is counted.  Series not seen before
        are marked as created at `created_unix_s`.  `owned` are the families of the cells: a
        source that declared one of those fails, too, because no page can have a family twice.
        """
        families: list[Family] = []
        has_failed = False
        for source in list(self._by_name.values()):
            answer = self._ask(source, owned, created_unix_s)
            if answer is None:
                has_failed = True
            else:
                families.extend(answer)
        if has_failed:
            return None
        current = {(family.spec.name, series.labels) for family in families for series in family.series}
        for gone in self._created.keys() - current:
            del self._created[gone]
        return families

    def _ask(self, source: SourceHandle, owned: Set[str], created_unix_s: float) -> list[Family] | None:
        with self.errors.contain(source.name):
            doubles = owned & {spec.name for spec in source.specs}
            if doubles:
                raise LocalError(f"{source.name!r} declared {sorted(doubles)}, which have cells")
            return [
                Family(
                    spec,
                    tuple(
                        Series(labels, value, self._created.setdefault((spec.name, labels), created_unix_s))
                        for labels, value in series.items()
                    ),
                )
                for spec, series in fold(source.specs, source.read(), self.dropped).items()
                if series
            ]
        return None
