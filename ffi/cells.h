/* A block of 64-bit cells in shared memory: the whole contract.
 *
 *     header | networks | words (capacity of them) | names, first area | names, second area
 *
 * One process writes a block; any number of processes map it read-only and
 * read while it is written, after its writer hung, or after it was killed.
 * Nothing here allocates, waits or knows what a number means.
 *
 * A word is one of three things.
 * - An independent cell: one writer, one aligned 8-byte store, read alone.
 * - Part of a group, whose numbers must agree with each other.  A group is
 *   written by cells_group_* only, under the sequence in its first word.
 * - A bound of a histogram: written before its first group, then constant.
 *
 * A group is: sequence | bounds | one count for each bound and one for +Inf | sum.
 * Its sequence word is `generation << 32 | sequence`, an odd sequence while it
 * is written.  Its bounds word is `index of the first bound << 32 | number of
 * bounds`.  Bounds, values and sums are two's complement integers.
 *
 * Every function answers 0 (CELLS_OK) or one of the errors below; those that
 * answer something else say so.  An index outside the block is CELLS_RANGE and
 * touches nothing.
 */

enum {
    CELLS_OK = 0,
    CELLS_RANGE = 1,    /* An index, count or id outside the block. */
    CELLS_ENDED = 2,    /* The generation is over: a late writer; nothing was written. */
    CELLS_BUSY = 3,     /* Another thread was writing the group all the time; nothing was written. */
    CELLS_TORN = 4,     /* No consistent copy within the tries. */
    CELLS_FOREIGN = 5,  /* No block of ours: the magic number is missing. */
    CELLS_ABI = 6,      /* A block of another layout. */
    CELLS_SIZE = 7      /* The sizes in the header do not fit the mapping. */
};

enum {
    CELLS_ABI_VERSION = 1,
    CELLS_MAX_NETWORKS = 64,
    CELLS_MAX_BOUNDS = 255,
    CELLS_MAX_CAPACITY = 16777216,
    CELLS_GROUP_OVERHEAD = 4  /* Words of a group besides one for each bound. */
};

/* The head of a block.  What the writer changes after cells_format is read and
 * written with atomic operations only. */
typedef struct {
    uint64_t magic;                 /* Written last: a block without it is not finished. */
    uint64_t abi_version;
    uint64_t capacity;              /* Words. */
    uint64_t names_area_bytes;      /* Of each of the two areas; a multiple of 8. */
    uint64_t incarnation;           /* Random: tells two lives of one name, pid or slot apart. */
    uint64_t pid;
    uint64_t pid_started_ticks;     /* Tells two processes with one pid apart; 0: not known. */
    uint64_t started_unix_ns;
    uint64_t heartbeat_ns;          /* Monotonic clock of the machine. */
    uint64_t names;                 /* generation << 32 | committed bytes of area generation & 1. */
    uint64_t observations_refused;  /* Observations that met CELLS_BUSY. */
    uint64_t ended;                 /* 1 once the writer has closed the block itself. */
    uint64_t reserved[4];
    uint64_t networks[64];          /* generation << 32 | count; an odd generation is running. */
} cells;

/* Bytes of a block, for the mapping; 0 when the capacity or the area is out of range. */
uint64_t cells_block_bytes(uint64_t capacity, uint64_t names_area_bytes);

/* Where the words and the names areas begin, in bytes from the head. */
uint64_t cells_words_offset(void);
uint64_t cells_names_offset(const cells *self, uint32_t generation);

/* Writes the head of a zeroed block, the magic number last. */
int cells_format(cells *self, uint64_t mapped_bytes, uint64_t capacity, uint64_t names_area_bytes,
                 uint64_t incarnation, uint64_t pid, uint64_t pid_started_ticks, uint64_t started_unix_ns);

/* Whether `mapped_bytes` at `self` are a block that this code can read. */
int cells_check(const cells *self, uint64_t mapped_bytes);

/* Heartbeat and committed names.  Stores release, loads acquire: who sees the
 * new names word sees the bytes that it commits. */
void cells_set_heartbeat(cells *self, uint64_t heartbeat_ns);
uint64_t cells_heartbeat(const cells *self);
void cells_set_names(cells *self, uint64_t names);
uint64_t cells_names(const cells *self);
void cells_set_ended(cells *self);

/* Independent cells, for writers in C.  cells_add may be called by many threads. */
int cells_add(cells *self, uint32_t index, uint64_t count);
int cells_store(cells *self, uint32_t index, uint64_t value);

/* Copies `count` words from `first` on, each by itself. */
int cells_copy(const cells *self, uint32_t first, uint32_t count, uint64_t *into);

/* Network slots.  Start answers the generation, or 0 when the id is out of
 * range or the slot is running.  A store counts only while that generation runs. */
uint32_t cells_network_start(cells *self, uint32_t network_id);
int cells_network_store(cells *self, uint32_t network_id, uint32_t generation, uint32_t count);
int cells_network_stop(cells *self, uint32_t network_id, uint32_t generation);

/* The whole word of one slot, in one load; 0 for an id out of range. */
uint64_t cells_network_read(const cells *self, uint32_t network_id);

/* The words of all CELLS_MAX_NETWORKS slots, each loaded by itself. */
void cells_networks_copy(const cells *self, uint64_t *into);

/* Makes a group of `bound_count` + CELLS_GROUP_OVERHEAD words at `group`: zeros,
 * under a new generation.  Whoever holds the old generation is a late writer.
 * The bounds stand at `bounds`, rising.  CELLS_BUSY when a writer of the old
 * generation never left. */
int cells_group_start(cells *self, uint32_t group, uint32_t bounds, uint32_t bound_count);

/* Ends the group's generation: later observations are CELLS_ENDED. */
int cells_group_end(cells *self, uint32_t group);

uint32_t cells_group_generation(const cells *self, uint32_t group);

/* Counts one value in the first bucket whose inclusive upper bound holds it, and adds it to the sum. */
int cells_group_observe(cells *self, uint32_t group, uint32_t generation, int64_t value);

/* Replaces counts and sum (`bound_count` + 2 words): for totals that are kept elsewhere.  CELLS_RANGE when
 * the group has another number of bounds. */
int cells_group_store(cells *self, uint32_t group, uint32_t generation, uint32_t bound_count, const uint64_t *values);

/* Copies counts and sum (`bound_count` + 2 words) as they stood at one moment,
 * or answers CELLS_TORN after `tries`, with whatever was there in `into`. */
int cells_group_copy(const cells *self, uint32_t group, uint32_t bound_count, uint32_t tries, uint64_t *into);

/* Copies many groups: group i, of bound_counts[i] bounds, goes to
 * into[positions[i]] and on.  torn[i] is what cells_group_copy answered; a group
 * that is not whole leaves its part of `into` as it was, unless `take_torn`:
 * for a writer whose death is certain.  Answers how many were not whole. */
uint32_t cells_groups_copy(const cells *self, uint32_t count, const uint32_t *groups, const uint32_t *bound_counts,
                           const uint32_t *positions, uint32_t tries, int take_torn, uint64_t *into,
                           uint64_t into_words, uint8_t *torn);
