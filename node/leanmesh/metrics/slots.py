"""Network slots: how many peers each network of this process has in its meshes, safe against late writers.

One 64-bit word per network holds the generation and the count.  A store
names the generation it was made for, so what a stopped network's tasks still
store goes nowhere.
"""

from typing import TYPE_CHECKING

import attrs

from leanmesh.errors import LocalError
from leanmesh.metrics._cells import lib
from leanmesh.metrics.cells_copy import unpack_slot

if TYPE_CHECKING:
    from leanmesh.metrics._cells import Head

MAX_NETWORKS = lib.CELLS_MAX_NETWORKS
COUNT_LIMIT = (1 << 32) - 1


@attrs.frozen
class NetworkHandle:
    """The right to store counts for one run of one network."""

    network_id: int
    generation: int


@attrs.define(eq=False)
class NetworkSlots:
    """The slots of one block."""

    _head: "Head"

    def start(self, network_id: int) -> NetworkHandle:
        """Claim a slot, its count 0.  LocalError when the id is out of range or the slot is running."""
        if not 0 <= network_id < MAX_NETWORKS:
            raise LocalError(
                f"network id {network_id} is outside 0 to {MAX_NETWORKS - 1}: "
                f"a process runs at most MAX_NETWORKS = {MAX_NETWORKS} networks"
            )
        generation = lib.cells_network_start(self._head, network_id)
        if not generation:
            raise LocalError(
                f"network {network_id} is running already; each of the at most "
                f"MAX_NETWORKS = {MAX_NETWORKS} networks has a slot of its own"
            )
        return NetworkHandle(network_id, generation)

    def store(self, handle: NetworkHandle, count: int) -> bool:
        """Set the count; False, and nothing happens, when that run is over."""
        if not 0 <= count <= COUNT_LIMIT:
            raise LocalError(f"a count of {count} peers in network {handle.network_id}")
        return _is_known(handle) and not lib.cells_network_store(
            self._head, handle.network_id, handle.generation, count
        )

    def stop(self, handle: NetworkHandle) -> bool:
        """End the run, its count 0; False when it was over before."""
        return _is_known(handle) and not lib.cells_network_stop(
            self._head, handle.network_id, handle.generation
        )

    def read(self, network_id: int) -> tuple[bool, int]:
        """Whether a network runs, and its count, from one load.  Unknown ids read (False, 0)."""
        if not 0 <= network_id < MAX_NETWORKS:
            return False, 0
        return unpack_slot(lib.cells_network_read(self._head, network_id))

    def total(self) -> int:
        """The sum over all networks."""
        return sum(self.read(network_id)[1] for network_id in range(MAX_NETWORKS))


def _is_known(handle: NetworkHandle) -> bool:
    # cffi raises OverflowError for what no uint32_t holds; such a handle is merely unknown.
    return 0 <= handle.network_id < MAX_NETWORKS and 0 <= handle.generation <= COUNT_LIMIT
