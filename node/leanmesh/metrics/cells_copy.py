"""An immutable copy of all cells of a block, taken at one moment."""

from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from leanmesh.metrics._cells import ffi, lib
from leanmesh.metrics.family import FamilySpec, GaugeSpec, HistogramSpec
from leanmesh.metrics.layout import CellsLayout, EndedSeries, FamilyLayout

if TYPE_CHECKING:
    from leanmesh.metrics._cells import Head

# A group is written for well under a microsecond; a copy of one takes about a tenth.
GROUP_TRIES = 1000
WORDS = 1 << 64

# In stored steps: a counter's or gauge's value, or a histogram's counts (not cumulative, +Inf last) and sum.
Value = int | tuple[tuple[int, ...], int]


@attrs.frozen(eq=False)
class CellsCopy:
    """Values of one moment.  `layout` says what they are; nothing in here changes any more.

    `words` and `group_words` have format "Q".  Sums and gauges are signed:
    read those through the signed views of the same memory.
    """

    layout: CellsLayout
    incarnation: int
    heartbeat_ns: int
    words: memoryview
    group_words: memoryview
    network_words: memoryview
    # (family, label values) of groups that could not be read whole: they hold the values of
    # the copy before, or zeros.  With `take_torn`, what was there.
    torn: tuple[tuple[str, tuple[str, ...]], ...]
    # Positions of the torn groups that hold zeros, since no copy before had them.
    never_whole: frozenset[int] = frozenset()
    # Counters and histograms that ended since the reader's copy before: none of them is in this one.
    ended: tuple[EndedSeries, ...] = ()

    @property
    def layout_version(self) -> int:
        """Changes when a label set comes or goes; while it stays, so do all positions."""
        return self.layout.version

    @cached_property
    def signed_words(self) -> memoryview:
        """`words` with format "q"."""
        return self.words.cast("B").cast("q")

    @cached_property
    def signed_group_words(self) -> memoryview:
        """`group_words` with format "q"."""
        return self.group_words.cast("B").cast("q")

    def families(self) -> Iterator[tuple[FamilySpec, list[tuple[tuple[str, ...], Value]]]]:
        """Every family with a label set, and its label sets in the order in which they came."""
        for family in self.layout.families:
            yield family.spec, list(zip(family.label_values, self._values(family), strict=True))

    def value(self, spec: FamilySpec, *label_values: str) -> Value | None:
        """One value, or None when the copy has no such label set.  For tests and tools: it searches."""
        for family in self.layout.families:
            if family.spec.name == spec.name and label_values in family.label_values:
                return dict(zip(family.label_values, self._values(family), strict=True))[label_values]
        return None

    def words_of(self, spec: FamilySpec, serial: int) -> tuple[int, ...] | None:
        """The words of one counter or histogram, or None when the copy has no such serial.  It searches."""
        for family in self.layout.families:
            if family.spec == spec and serial in family.serials:
                position = family.positions[family.serials.index(serial)]
                if isinstance(spec, HistogramSpec):
                    return tuple(self.group_words[position : position + len(spec.bounds) + 2])
                return (self.words[position],)
        return None

    def _values(self, family: FamilyLayout) -> list[Value]:
        spec = family.spec
        if isinstance(spec, HistogramSpec):
            counts = len(spec.bounds) + 1
            return [
                (
                    tuple(self.group_words[position : position + counts]),
                    self.signed_group_words[position + counts],
                )
                for position in family.positions
            ]
        words = self.signed_words if isinstance(spec, GaugeSpec) else self.words
        return [words[position] for position in family.positions]

    def network(self, network_id: int) -> tuple[bool, int]:
        """Whether a network runs, and its count.  Unknown ids read (False, 0)."""
        if not 0 <= network_id < len(self.network_words):
            return False, 0
        return unpack_slot(self.network_words[network_id])


def unpack_slot(word: int) -> tuple[bool, int]:
    """A network slot's word as (is running, count)."""
    return bool(word >> 32 & 1), word & 0xFFFFFFFF


def take_copy(
    head: "Head", layout: CellsLayout, previous: CellsCopy | None, *, take_torn: bool = False
) -> CellsCopy:
    """Copy what `layout` names.  `previous` is the copy before, of the same block.

    `take_torn` is for a writer whose death is certain: a group it was
    killed in is taken as it lies there.
    """
    words = bytearray(8 * layout.word_count)
    groups = bytearray(8 * layout.group_word_count)
    networks = bytearray(8 * lib.CELLS_MAX_NETWORKS)
    torn_flags = bytearray(len(layout.groups))
    error = lib.cells_copy(head, 0, layout.word_count, ffi.from_buffer("uint64_t *", words))
    assert error == lib.CELLS_OK, error
    torn_count = lib.cells_groups_copy(
        head,
        len(layout.groups),
        ffi.from_buffer("uint32_t *", layout.groups),
        ffi.from_buffer("uint32_t *", layout.group_bound_counts),
        ffi.from_buffer("uint32_t *", layout.group_positions),
        GROUP_TRIES,
        take_torn,
        ffi.from_buffer("uint64_t *", groups),
        layout.group_word_count,
        ffi.from_buffer("uint8_t *", torn_flags),
    )
    lib.cells_networks_copy(head, ffi.from_buffer("uint64_t *", networks))
    torn: tuple[tuple[str, tuple[str, ...]], ...] = ()
    never_whole: frozenset[int] = frozenset()
    if torn_count:
        flagged = [i for i, flag in enumerate(torn_flags) if flag]
        torn = _names_of_groups(layout, flagged)
        if not take_torn:
            never_whole = _hold_previous(layout, flagged, previous, memoryview(groups).cast("Q"))
    return CellsCopy(
        layout,
        head.incarnation,
        lib.cells_heartbeat(head),
        memoryview(words).toreadonly().cast("Q"),
        memoryview(groups).toreadonly().cast("Q"),
        memoryview(networks).toreadonly().cast("Q"),
        torn,
        never_whole,
    )


def read_group(head: "Head", group: int, bound_count: int) -> list[int]:
    """The counts and the sum of one group, as they lie there."""
    words = bytearray(8 * (bound_count + 2))
    lib.cells_group_copy(head, group, bound_count, GROUP_TRIES, ffi.from_buffer("uint64_t *", words))
    return memoryview(words).cast("Q").tolist()


def store_group(head: "Head", group: int, generation: int, words: Sequence[int]) -> int:
    """Replace the counts and the sum of one group; CELLS_OK, or an error and nothing happened."""
    values = array("Q", [word % WORDS for word in words])
    return lib.cells_group_store(
        head, group, generation, len(values) - 2, ffi.from_buffer("uint64_t *", values)
    )


def _names_of_groups(layout: CellsLayout, flagged: list[int]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    names = [
        (family.spec.name, values)
        for family in layout.families
        if family.is_grouped
        for values in family.label_values
    ]
    return tuple(names[i] for i in flagged)


def _hold_previous(
    layout: CellsLayout, flagged: list[int], previous: CellsCopy | None, into: memoryview
) -> frozenset[int]:
    """Put the values of the copy before into torn groups; the positions for which it had none."""
    held: dict[int, int] = {}
    if previous is not None:
        held = dict(zip(previous.layout.group_serials, previous.layout.group_positions, strict=True))
    never_whole: set[int] = set()
    for i in flagged:
        position = layout.group_positions[i]
        before = held.get(layout.group_serials[i])
        if previous is None or before is None or before in previous.never_whole:
            never_whole.add(position)
            continue
        words = layout.group_bound_counts[i] + 2
        into[position : position + words] = previous.group_words[before : before + words]
    return frozenset(never_whole)
