"""Types of the C core, as ffi/*.h declare it."""

from typing import Protocol, type_check_only

from typing_extensions import Buffer

@type_check_only
class Pointer(Protocol):
    """A C pointer; it keeps the Python buffer alive that it was made from."""

@type_check_only
class Head(Pointer, Protocol):
    """`cells *`: the fields of the head of a block."""

    magic: int
    abi_version: int
    capacity: int
    names_area_bytes: int
    incarnation: int
    pid: int
    pid_started_ticks: int
    started_unix_ns: int
    heartbeat_ns: int
    names: int
    observations_refused: int
    ended: int

@type_check_only
class Ffi(Protocol):
    """What is used of cffi's FFI object."""

    def from_buffer(self, cdecl: str, python_buffer: Buffer, require_writable: bool = False) -> Head: ...

@type_check_only
class Lib(Protocol):
    """The functions and constants of ffi/*.h."""

    CELLS_OK: int
    CELLS_RANGE: int
    CELLS_ENDED: int
    CELLS_BUSY: int
    CELLS_TORN: int
    CELLS_FOREIGN: int
    CELLS_ABI: int
    CELLS_SIZE: int
    CELLS_ABI_VERSION: int
    CELLS_MAX_NETWORKS: int
    CELLS_MAX_BOUNDS: int
    CELLS_MAX_CAPACITY: int
    CELLS_GROUP_OVERHEAD: int

    def cells_block_bytes(self, capacity: int, names_area_bytes: int) -> int: ...
    def cells_words_offset(self) -> int: ...
    def cells_names_offset(self, head: Head, generation: int) -> int: ...
    def cells_format(
        self,
        head: Head,
        mapped_bytes: int,
        capacity: int,
        names_area_bytes: int,
        incarnation: int,
        pid: int,
        pid_started_ticks: int,
        started_unix_ns: int,
    ) -> int: ...
    def cells_check(self, head: Head, mapped_bytes: int) -> int: ...
    def cells_set_heartbeat(self, head: Head, heartbeat_ns: int) -> None: ...
    def cells_heartbeat(self, head: Head) -> int: ...
    def cells_set_names(self, head: Head, names: int) -> None: ...
    def cells_names(self, head: Head) -> int: ...
    def cells_set_ended(self, head: Head) -> None: ...
    def cells_add(self, head: Head, index: int, count: int) -> int: ...
    def cells_store(self, head: Head, index: int, value: int) -> int: ...
    def cells_copy(self, head: Head, first: int, count: int, into: Pointer) -> int: ...
    def cells_network_start(self, head: Head, network_id: int) -> int: ...
    def cells_network_store(self, head: Head, network_id: int, generation: int, count: int) -> int: ...
    def cells_network_stop(self, head: Head, network_id: int, generation: int) -> int: ...
    def cells_network_read(self, head: Head, network_id: int) -> int: ...
    def cells_networks_copy(self, head: Head, into: Pointer) -> None: ...
    def cells_group_start(self, head: Head, group: int, bounds: int, bound_count: int) -> int: ...
    def cells_group_end(self, head: Head, group: int) -> int: ...
    def cells_group_generation(self, head: Head, group: int) -> int: ...
    def cells_group_observe(self, head: Head, group: int, generation: int, value: int) -> int: ...
    def cells_group_store(
        self, head: Head, group: int, generation: int, bound_count: int, values: Pointer
    ) -> int: ...
    def cells_group_copy(
        self, head: Head, group: int, bound_count: int, tries: int, into: Pointer
    ) -> int: ...
    def cells_groups_copy(
        self,
        head: Head,
        count: int,
        groups: Pointer,
        bound_counts: Pointer,
        positions: Pointer,
        tries: int,
        take_torn: int,
        into: Pointer,
        into_words: int,
        torn: Pointer,
    ) -> int: ...
    PAGE_SIGNED: int
    PAGE_ADD: int
    PAGE_AGAIN: int
    PAGE_MAX_DECIMALS: int
    PAGE_MAX_NUMBER_BYTES: int

    def page_render(
        self,
        prefixes: Pointer,
        prefixes_bytes: int,
        lines: Pointer,
        line_count: int,
        values: Pointer,
        value_count: int,
        cut_lines: Pointer,
        cut_bytes: Pointer,
        cut_count: int,
        out: Pointer,
        out_bytes: int,
    ) -> int: ...
    def gather_sum(
        self,
        from_words: Pointer,
        from_count: int,
        sources: Pointer,
        targets: Pointer,
        count: int,
        into: Pointer,
        into_count: int,
    ) -> int: ...
    def gather_max(
        self,
        from_words: Pointer,
        from_count: int,
        sources: Pointer,
        targets: Pointer,
        count: int,
        into: Pointer,
        into_count: int,
    ) -> int: ...
    def gather_min(
        self,
        from_words: Pointer,
        from_count: int,
        sources: Pointer,
        targets: Pointer,
        count: int,
        into: Pointer,
        into_count: int,
    ) -> int: ...
    def gather_networks(self, from_slots: Pointer, into: Pointer) -> None: ...

ffi: Ffi
lib: Lib
