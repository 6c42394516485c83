/* The block of cells.  See cells.h for the contract and docs/cells.md for what each guarantee rests on. */

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "cells.h"

typedef _Atomic uint64_t atomic_word;

_Static_assert(sizeof(atomic_word) == 8 && _Alignof(atomic_word) == 8, "an atomic word is a plain word");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics need no lock: other processes share none");
_Static_assert(offsetof(cells, networks) == 128, "the layout of ABI version 1");
_Static_assert(sizeof(cells) == 640, "the layout of ABI version 1");

/* "LMCELLS" and a zero, as it stands in memory on a little-endian machine.  Elsewhere it
 * reads as a foreign block, which it is: its words are the other way round. */
#define MAGIC UINT64_C(0x00534C4C45434D4C)

/* How often a writer looks again while another thread is inside the group.  Far
 * longer than one observation; a writer that was preempted inside is waited for
 * no longer than a fraction of a millisecond. */
#define WRITER_TRIES 65536u

static atomic_word *atomic_at(const uint64_t *word) {
    /* Readers map the block read-only: they only load. */
    return (atomic_word *)(uintptr_t)word;
}

static uint64_t load(const uint64_t *word) {
    return atomic_load_explicit(atomic_at(word), memory_order_relaxed);
}

static uint64_t load_acquire(const uint64_t *word) {
    return atomic_load_explicit(atomic_at(word), memory_order_acquire);
}

static void store(uint64_t *word, uint64_t value) {
    atomic_store_explicit(atomic_at(word), value, memory_order_relaxed);
}

static void store_release(uint64_t *word, uint64_t value) {
    atomic_store_explicit(atomic_at(word), value, memory_order_release);
}

static int exchange(uint64_t *word, uint64_t *expected, uint64_t value) {
    return atomic_compare_exchange_strong_explicit(atomic_at(word), expected, value, memory_order_acq_rel,
                                                   memory_order_acquire);
}

static uint64_t *words_of(const cells *self) {
    return (uint64_t *)(uintptr_t)(self + 1);
}

static int is_in_block(const cells *self, uint64_t first, uint64_t count) {
    uint64_t capacity = self->capacity;
    return first <= capacity && count <= capacity - first;
}

/* ---- the block ---- */

uint64_t cells_block_bytes(uint64_t capacity, uint64_t names_area_bytes) {
    if (capacity == 0 || capacity > CELLS_MAX_CAPACITY || names_area_bytes > UINT32_MAX || names_area_bytes % 8)
        return 0;
    return sizeof(cells) + capacity * sizeof(uint64_t) + 2 * names_area_bytes;
}

uint64_t cells_words_offset(void) {
    return sizeof(cells);
}

uint64_t cells_names_offset(const cells *self, uint32_t generation) {
    return sizeof(cells) + self->capacity * sizeof(uint64_t) + (generation & 1) * self->names_area_bytes;
}

int cells_format(cells *self, uint64_t mapped_bytes, uint64_t capacity, uint64_t names_area_bytes,
                 uint64_t incarnation, uint64_t pid, uint64_t pid_started_ticks, uint64_t started_unix_ns) {
    uint64_t bytes = cells_block_bytes(capacity, names_area_bytes);
    assert((uintptr_t)self % sizeof(uint64_t) == 0);
    if (bytes == 0 || mapped_bytes < bytes)
        return CELLS_SIZE;
    self->abi_version = CELLS_ABI_VERSION;
    self->capacity = capacity;
    self->names_area_bytes = names_area_bytes;
    self->incarnation = incarnation;
    self->pid = pid;
    self->pid_started_ticks = pid_started_ticks;
    self->started_unix_ns = started_unix_ns;
    store_release(&self->magic, MAGIC);
    return CELLS_OK;
}

int cells_check(const cells *self, uint64_t mapped_bytes) {
    uint64_t bytes;
    assert((uintptr_t)self % sizeof(uint64_t) == 0);
    if (mapped_bytes < sizeof(uint64_t) || load_acquire(&self->magic) != MAGIC)
        return CELLS_FOREIGN;
    if (mapped_bytes < sizeof(cells))
        return CELLS_SIZE;
    if (self->abi_version != CELLS_ABI_VERSION)
        return CELLS_ABI;
    bytes = cells_block_bytes(self->capacity, self->names_area_bytes);
    return bytes == 0 || mapped_bytes < bytes ? CELLS_SIZE : CELLS_OK;
}

void cells_set_heartbeat(cells *self, uint64_t heartbeat_ns) {
    store_release(&self->heartbeat_ns, heartbeat_ns);
}

uint64_t cells_heartbeat(const cells *self) {
    return load_acquire(&self->heartbeat_ns);
}

void cells_set_names(cells *self, uint64_t names) {
    store_release(&self->names, names);
}

uint64_t cells_names(const cells *self) {
    return load_acquire(&self->names);
}

void cells_set_ended(cells *self) {
    store_release(&self->ended, 1);
}

/* ---- independent cells ---- */

int cells_add(cells *self, uint32_t index, uint64_t count) {
    if (!is_in_block(self, index, 1))
        return CELLS_RANGE;
    atomic_fetch_add_explicit(atomic_at(words_of(self) + index), count, memory_order_relaxed);
    return CELLS_OK;
}

int cells_store(cells *self, uint32_t index, uint64_t value) {
    if (!is_in_block(self, index, 1))
        return CELLS_RANGE;
    store(words_of(self) + index, value);
    return CELLS_OK;
}

int cells_copy(const cells *self, uint32_t first, uint32_t count, uint64_t *into) {
    const uint64_t *from = words_of(self) + first;
    if (!is_in_block(self, first, count))
        return CELLS_RANGE;
    for (uint32_t i = 0; i < count; i++)
        into[i] = load(from + i);
    return CELLS_OK;
}

/* ---- network slots: the generation and the count change in one word, so neither is ever seen without the other ---- */

static uint32_t generation_of(uint64_t word) {
    return (uint32_t)(word >> 32);
}

static uint64_t slot_word(uint32_t generation, uint32_t count) {
    return (uint64_t)generation << 32 | count;
}

uint32_t cells_network_start(cells *self, uint32_t network_id) {
    uint64_t seen;
    uint32_t generation;
    if (network_id >= CELLS_MAX_NETWORKS)
        return 0;
    seen = load_acquire(&self->networks[network_id]);
    do {
        generation = generation_of(seen);
        if (generation & 1)
            return 0;
    } while (!exchange(&self->networks[network_id], &seen, slot_word(generation + 1, 0)));
    return generation + 1;
}

static int replace_running(cells *self, uint32_t network_id, uint32_t generation, uint64_t word) {
    uint64_t seen;
    if (network_id >= CELLS_MAX_NETWORKS)
        return CELLS_RANGE;
    seen = load_acquire(&self->networks[network_id]);
    do {
        if (generation_of(seen) != generation || !(generation & 1))
            return CELLS_ENDED;
    } while (!exchange(&self->networks[network_id], &seen, word));
    return CELLS_OK;
}

int cells_network_store(cells *self, uint32_t network_id, uint32_t generation, uint32_t count) {
    return replace_running(self, network_id, generation, slot_word(generation, count));
}

int cells_network_stop(cells *self, uint32_t network_id, uint32_t generation) {
    return replace_running(self, network_id, generation, slot_word(generation + 1, 0));
}

uint64_t cells_network_read(const cells *self, uint32_t network_id) {
    return network_id < CELLS_MAX_NETWORKS ? load_acquire(&self->networks[network_id]) : 0;
}

void cells_networks_copy(const cells *self, uint64_t *into) {
    for (uint32_t network_id = 0; network_id < CELLS_MAX_NETWORKS; network_id++)
        into[network_id] = load_acquire(&self->networks[network_id]);
}

/* ---- groups: a sequence lock whose data are atomic, so no fence is needed.  The data are stored with release order
 * after the odd sequence, and loaded with acquire order before the second look at it: whoever saw new data sees that
 * the sequence moved. ---- */

static uint64_t next_sequence(uint64_t word) {
    /* The sequence wraps within its 32 bits and never carries into the generation. */
    return (word & ~(uint64_t)UINT32_MAX) | (uint32_t)(word + 1);
}

/* Makes the sequence odd, and answers it, or 0 with the reason in `error`. */
static uint64_t enter(uint64_t *group, const uint32_t *generation, int *error) {
    uint64_t seen = load_acquire(group);
    for (uint32_t i = 0; i < WRITER_TRIES; i++) {
        if (generation != NULL && generation_of(seen) != *generation) {
            *error = CELLS_ENDED;
            return 0;
        }
        if (seen & 1)
            seen = load_acquire(group);
        else if (exchange(group, &seen, next_sequence(seen)))
            return next_sequence(seen);
    }
    *error = CELLS_BUSY;
    return 0;
}

int cells_group_start(cells *self, uint32_t group, uint32_t bounds, uint32_t bound_count) {
    uint64_t *words = words_of(self);
    uint64_t entered;
    int error;
    if (bound_count == 0 || bound_count > CELLS_MAX_BOUNDS || !is_in_block(self, bounds, bound_count) ||
        !is_in_block(self, group, (uint64_t)bound_count + CELLS_GROUP_OVERHEAD))
        return CELLS_RANGE;
    entered = enter(words + group, NULL, &error);
    if (entered == 0)
        return error;
    store_release(words + group + 1, (uint64_t)bounds << 32 | bound_count);
    for (uint32_t i = 0; i < bound_count + 2; i++)
        store_release(words + group + 2 + i, 0);
    store_release(words + group, slot_word(generation_of(entered) + 1, (uint32_t)(entered + 1)));
    return CELLS_OK;
}

int cells_group_end(cells *self, uint32_t group) {
    uint64_t *words = words_of(self);
    uint64_t entered;
    int error;
    if (!is_in_block(self, group, CELLS_GROUP_OVERHEAD))
        return CELLS_RANGE;
    entered = enter(words + group, NULL, &error);
    if (entered == 0)
        return error;
    store_release(words + group, slot_word(generation_of(entered) + 1, (uint32_t)(entered + 1)));
    return CELLS_OK;
}

uint32_t cells_group_generation(const cells *self, uint32_t group) {
    return is_in_block(self, group, 1) ? generation_of(load_acquire(words_of(self) + group)) : 0;
}

int cells_group_observe(cells *self, uint32_t group, uint32_t generation, int64_t value) {
    uint64_t *words = words_of(self);
    uint64_t entered, shape;
    uint32_t bounds, bound_count, bucket = 0;
    int error = CELLS_OK;
    if (!is_in_block(self, group, CELLS_GROUP_OVERHEAD))
        return CELLS_RANGE;
    /* Looked up before entering, so that readers find the group busy for two stores only.  A late
     * writer may look at a successor's bounds, and then it is not let in. */
    shape = load_acquire(words + group + 1);
    bounds = (uint32_t)(shape >> 32);
    bound_count = (uint32_t)shape;
    assert(is_in_block(self, bounds, bound_count));
    assert(is_in_block(self, group, (uint64_t)bound_count + CELLS_GROUP_OVERHEAD));
    while (bucket < bound_count && value > (int64_t)load(words + bounds + bucket))
        bucket++;
    entered = enter(words + group, &generation, &error);
    if (entered == 0) {
        if (error == CELLS_BUSY)
            atomic_fetch_add_explicit(atomic_at(&self->observations_refused), 1, memory_order_relaxed);
        return error;
    }
    store_release(words + group + 2 + bucket, load(words + group + 2 + bucket) + 1);
    store_release(words + group + 3 + bound_count, load(words + group + 3 + bound_count) + (uint64_t)value);
    store_release(words + group, next_sequence(entered));
    return CELLS_OK;
}

int cells_group_store(cells *self, uint32_t group, uint32_t generation, uint32_t bound_count, const uint64_t *values) {
    uint64_t *words = words_of(self);
    uint64_t entered;
    int error = CELLS_OK;
    if (!is_in_block(self, group, (uint64_t)bound_count + CELLS_GROUP_OVERHEAD))
        return CELLS_RANGE;
    entered = enter(words + group, &generation, &error);
    if (entered == 0)
        return error;
    if ((uint32_t)load(words + group + 1) != bound_count)
        error = CELLS_RANGE;
    for (uint32_t i = 0; error == CELLS_OK && i < bound_count + 2; i++)
        store_release(words + group + 2 + i, values[i]);
    store_release(words + group, next_sequence(entered));
    return error;
}

int cells_group_copy(const cells *self, uint32_t group, uint32_t bound_count, uint32_t tries, uint64_t *into) {
    const uint64_t *words = words_of(self);
    uint64_t before, after = 0;
    if (bound_count > CELLS_MAX_BOUNDS || !is_in_block(self, group, (uint64_t)bound_count + CELLS_GROUP_OVERHEAD))
        return CELLS_RANGE;
    do {
        before = load_acquire(words + group);
        for (uint32_t i = 0; i < bound_count + 2; i++)
            into[i] = load_acquire(words + group + 2 + i);
        after = load(words + group);
        if (before == after && !(before & 1))
            return CELLS_OK;
    } while (tries-- > 1);
    return CELLS_TORN;
}

uint32_t cells_groups_copy(const cells *self, uint32_t count, const uint32_t *groups, const uint32_t *bound_counts,
                           const uint32_t *positions, uint32_t tries, int take_torn, uint64_t *into,
                           uint64_t into_words, uint8_t *torn) {
    uint64_t whole[CELLS_MAX_BOUNDS + 2];
    uint32_t not_whole = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t length = (uint64_t)bound_counts[i] + 2;
        int error = CELLS_RANGE;
        if (positions[i] <= into_words && length <= into_words - positions[i])
            error = cells_group_copy(self, groups[i], bound_counts[i], tries, whole);
        torn[i] = (uint8_t)error;
        not_whole += error != CELLS_OK;
        if (error != CELLS_OK && !(error == CELLS_TORN && take_torn))
            continue;
        for (uint64_t word = 0; word < length; word++)
            into[positions[i] + word] = whole[word];
    }
    return not_whole;
}
