/* cells.c by itself, under the address and undefined-behaviour sanitizers. */

#include "check.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_block_has_the_size_it_says(void) {
    CHECK(cells_block_bytes(CAPACITY, NAMES_AREA_BYTES) == 640 + 8 * CAPACITY + 2 * NAMES_AREA_BYTES);
    CHECK(cells_block_bytes(0, 8) == 0);
    CHECK(cells_block_bytes(1, 0) == 648);
    CHECK(cells_block_bytes(1, 7) == 0);
    CHECK(cells_block_bytes((uint64_t)CELLS_MAX_CAPACITY, 8) != 0);
    CHECK(cells_block_bytes((uint64_t)CELLS_MAX_CAPACITY + 1, 8) == 0);
    CHECK(cells_block_bytes(UINT64_MAX / 8 + 2, 8) == 0);
    CHECK(cells_block_bytes(1, UINT64_MAX - 7) == 0);
}

static void a_fresh_block_says_who_writes_it(void) {
    cells *block = make_block();
    CHECK(cells_check(block, cells_block_bytes(CAPACITY, NAMES_AREA_BYTES)) == CELLS_OK);
    CHECK(block->abi_version == CELLS_ABI_VERSION && block->capacity == CAPACITY);
    CHECK(block->incarnation == 77 && block->pid == 4321 && block->pid_started_ticks == 99);
    CHECK(block->started_unix_ns == 1000 && cells_heartbeat(block) == 0 && cells_names(block) == 0);
    cells_set_heartbeat(block, 5);
    cells_set_names(block, UINT64_C(3) << 32 | 9);
    cells_set_ended(block);
    CHECK(cells_heartbeat(block) == 5 && cells_names(block) == (UINT64_C(3) << 32 | 9) && block->ended == 1);
    CHECK(cells_names_offset(block, 2) == 640 + 8 * CAPACITY);
    CHECK(cells_names_offset(block, 3) == 640 + 8 * CAPACITY + NAMES_AREA_BYTES);
    free(block);
}

static void a_mapping_too_small_is_not_formatted(void) {
    cells *block = calloc(1, sizeof(cells));
    CHECK(block != NULL);
    CHECK(cells_format(block, sizeof(cells), CAPACITY, 8, 1, 1, 1, 1) == CELLS_SIZE);
    CHECK(cells_format(block, UINT64_MAX, 0, 8, 1, 1, 1, 1) == CELLS_SIZE);
    CHECK(block->magic == 0);
    free(block);
}

static void what_is_no_block_is_told_apart(void) {
    cells *block = make_block();
    uint64_t bytes = cells_block_bytes(CAPACITY, NAMES_AREA_BYTES);
    CHECK(cells_check(block, 0) == CELLS_FOREIGN);
    CHECK(cells_check(block, 8) == CELLS_SIZE);
    CHECK(cells_check(block, bytes - 1) == CELLS_SIZE);
    block->capacity = UINT64_MAX;
    CHECK(cells_check(block, bytes) == CELLS_SIZE);
    block->capacity = 0;
    CHECK(cells_check(block, bytes) == CELLS_SIZE);
    block->capacity = CAPACITY;
    block->names_area_bytes = UINT64_MAX;
    CHECK(cells_check(block, bytes) == CELLS_SIZE);
    block->abi_version = CELLS_ABI_VERSION + 1;
    CHECK(cells_check(block, bytes) == CELLS_ABI);
    block->magic++;
    CHECK(cells_check(block, bytes) == CELLS_FOREIGN);
    free(block);
}

static void cells_count_and_copy(void) {
    uint64_t copy[CAPACITY];
    cells *block = make_block();
    CHECK(cells_add(block, 0, 5) == CELLS_OK && cells_add(block, 0, 2) == CELLS_OK);
    CHECK(cells_store(block, CAPACITY - 1, UINT64_MAX) == CELLS_OK);
    CHECK(cells_add(block, CAPACITY - 1, 3) == CELLS_OK);
    CHECK(cells_copy(block, 0, CAPACITY, copy) == CELLS_OK);
    CHECK(copy[0] == 7 && copy[1] == 0 && copy[CAPACITY - 1] == 2);
    free(block);
}

static void an_index_outside_is_refused_and_touches_nothing(void) {
    uint64_t copy[2] = {42, 42};
    cells *block = make_block();
    CHECK(cells_add(block, CAPACITY, 1) == CELLS_RANGE);
    CHECK(cells_store(block, UINT32_MAX, 1) == CELLS_RANGE);
    CHECK(cells_copy(block, CAPACITY - 1, 2, copy) == CELLS_RANGE);
    CHECK(cells_copy(block, UINT32_MAX, UINT32_MAX, copy) == CELLS_RANGE);
    CHECK(copy[0] == 42 && copy[1] == 42);
    CHECK(cells_copy(block, CAPACITY, 0, copy) == CELLS_OK);
    CHECK(cells_group_start(block, CAPACITY - GROUP_WORDS + 1, BOUNDS, BOUND_COUNT) == CELLS_RANGE);
    CHECK(cells_group_start(block, GROUP, CAPACITY - 2, BOUND_COUNT) == CELLS_RANGE);
    CHECK(cells_group_start(block, GROUP, BOUNDS, 0) == CELLS_RANGE);
    CHECK(cells_group_start(block, 0, BOUNDS, CELLS_MAX_BOUNDS + 1) == CELLS_RANGE);
    CHECK(cells_group_end(block, CAPACITY) == CELLS_RANGE);
    CHECK(cells_group_observe(block, CAPACITY, 1, 5) == CELLS_RANGE);
    CHECK(cells_group_copy(block, CAPACITY - 5, BOUND_COUNT, 1, copy) == CELLS_RANGE);
    CHECK(cells_group_copy(block, 0, UINT32_MAX, 1, copy) == CELLS_RANGE);
    CHECK(cells_group_generation(block, CAPACITY) == 0);
    for (uint32_t i = 0; i < CAPACITY; i++)
        CHECK(word_at(block, i) == 0);
    free(block);
}

static void a_slot_runs_once_and_a_late_store_is_lost(void) {
    cells *block = make_block();
    uint32_t first = cells_network_start(block, 5), second;
    CHECK(first == 1);
    CHECK(cells_network_start(block, 5) == 0);
    CHECK(cells_network_store(block, 5, first, UINT32_MAX) == CELLS_OK);
    CHECK(cells_network_read(block, 5) == (UINT64_C(1) << 32 | UINT32_MAX));
    CHECK(cells_network_stop(block, 5, first) == CELLS_OK);
    CHECK(cells_network_stop(block, 5, first) == CELLS_ENDED);
    CHECK(cells_network_store(block, 5, first, 9) == CELLS_ENDED);
    CHECK(cells_network_store(block, 5, first + 1, 9) == CELLS_ENDED);
    CHECK(cells_network_read(block, 5) == UINT64_C(2) << 32);
    second = cells_network_start(block, 5);
    CHECK(second == 3 && cells_network_store(block, 5, first, 9) == CELLS_ENDED);
    CHECK(cells_network_store(block, 5, second, 4) == CELLS_OK);
    CHECK(cells_network_read(block, 5) == (UINT64_C(3) << 32 | 4));
    free(block);
}

static void a_slot_survives_the_last_generation(void) {
    cells *block = make_block();
    uint32_t last;
    block->networks[0] = (uint64_t)(UINT32_MAX - 1) << 32;
    last = cells_network_start(block, 0);
    CHECK(last == UINT32_MAX);
    CHECK(cells_network_stop(block, 0, last) == CELLS_OK);
    CHECK(cells_network_read(block, 0) == 0 && cells_network_start(block, 0) == 1);
    free(block);
}

static void an_unknown_network_reads_zero_and_writes_nothing(void) {
    uint64_t slots[CELLS_MAX_NETWORKS];
    cells *block = make_block();
    const uint32_t unknown[] = {CELLS_MAX_NETWORKS, UINT32_MAX};
    for (int i = 0; i < 2; i++) {
        CHECK(cells_network_start(block, unknown[i]) == 0);
        CHECK(cells_network_store(block, unknown[i], 1, 5) == CELLS_RANGE);
        CHECK(cells_network_stop(block, unknown[i], 1) == CELLS_RANGE);
        CHECK(cells_network_read(block, unknown[i]) == 0);
    }
    CHECK(cells_network_start(block, CELLS_MAX_NETWORKS - 1) == 1);
    cells_networks_copy(block, slots);
    for (int i = 0; i < CELLS_MAX_NETWORKS - 1; i++)
        CHECK(slots[i] == 0);
    CHECK(slots[CELLS_MAX_NETWORKS - 1] == UINT64_C(1) << 32 && word_at(block, 0) == 0);
    free(block);
}

static void upper_bounds_are_inclusive(void) {
    uint64_t copy[BOUND_COUNT + 2];
    cells *block = make_block();
    uint32_t generation = make_group(block);
    const int64_t values[] = {INT64_MIN, -5, 10, 11, 20, 30, 31, INT64_MAX};
    int64_t sum = -5 + 10 + 11 + 20 + 30 + 31 - 1; /* The two extremes are -1 together. */
    for (int i = 0; i < 8; i++)
        CHECK(cells_group_observe(block, GROUP, generation, values[i]) == CELLS_OK);
    CHECK(cells_group_copy(block, GROUP, BOUND_COUNT, 1, copy) == CELLS_OK);
    CHECK(copy[0] == 3 && copy[1] == 2 && copy[2] == 1 && copy[3] == 2 && (int64_t)copy[4] == sum);
    free(block);
}

static void bounds_may_be_negative(void) {
    uint64_t copy[BOUND_COUNT + 2];
    cells *block = make_block();
    uint32_t generation = make_group(block);
    CHECK(cells_store(block, BOUNDS, (uint64_t)INT64_C(-10)) == CELLS_OK);
    CHECK(cells_group_observe(block, GROUP, generation, -10) == CELLS_OK);
    CHECK(cells_group_observe(block, GROUP, generation, -9) == CELLS_OK);
    CHECK(cells_group_copy(block, GROUP, BOUND_COUNT, 1, copy) == CELLS_OK);
    CHECK(copy[0] == 1 && copy[1] == 1 && (int64_t)copy[4] == -19);
    free(block);
}

static void an_ended_group_counts_nothing_and_starts_from_zero(void) {
    uint64_t copy[BOUND_COUNT + 2];
    cells *block = make_block();
    uint32_t first = make_group(block), second;
    CHECK(cells_group_observe(block, GROUP, first, 1) == CELLS_OK);
    CHECK(cells_group_end(block, GROUP) == CELLS_OK);
    CHECK(cells_group_observe(block, GROUP, first, 1) == CELLS_ENDED);
    second = make_group(block);
    CHECK(second != first && cells_group_observe(block, GROUP, first, 1) == CELLS_ENDED);
    CHECK(cells_group_observe(block, GROUP, second, 15) == CELLS_OK);
    CHECK(cells_group_copy(block, GROUP, BOUND_COUNT, 1, copy) == CELLS_OK);
    CHECK(copy[0] == 0 && copy[1] == 1 && copy[2] == 0 && copy[3] == 0 && copy[4] == 15);
    free(block);
}

static void a_stored_group_is_replaced_whole_or_not_at_all(void) {
    const uint64_t values[BOUND_COUNT + 2] = {4, 3, 2, 1, (uint64_t)-9};
    uint64_t copy[BOUND_COUNT + 2];
    cells *block = make_block();
    uint32_t generation = make_group(block);
    CHECK(cells_group_observe(block, GROUP, generation, 15) == CELLS_OK);
    CHECK(cells_group_store(block, GROUP, generation, BOUND_COUNT, values) == CELLS_OK);
    CHECK(cells_group_copy(block, GROUP, BOUND_COUNT, 1, copy) == CELLS_OK);
    CHECK(memcmp(copy, values, sizeof values) == 0);
    CHECK(cells_group_store(block, GROUP, generation, BOUND_COUNT - 1, values) == CELLS_RANGE);
    CHECK(cells_group_store(block, CAPACITY - 2, generation, BOUND_COUNT, values) == CELLS_RANGE);
    CHECK(cells_group_store(block, GROUP, generation, UINT32_MAX, values) == CELLS_RANGE);
    CHECK(cells_group_end(block, GROUP) == CELLS_OK);
    CHECK(cells_group_store(block, GROUP, generation, BOUND_COUNT, values + 1) == CELLS_ENDED);
    CHECK(cells_group_copy(block, GROUP, BOUND_COUNT, 1, copy) == CELLS_OK);
    CHECK(memcmp(copy, values, sizeof values) == 0);
    free(block);
}

static void the_sequence_wraps_within_its_half(void) {
    cells *block = make_block();
    uint32_t generation = make_group(block);
    CHECK(cells_store(block, GROUP, (uint64_t)generation << 32 | (UINT32_MAX - 1)) == CELLS_OK);
    CHECK(cells_group_observe(block, GROUP, generation, 1) == CELLS_OK);
    CHECK(word_at(block, GROUP) == (uint64_t)generation << 32);
    CHECK(cells_group_observe(block, GROUP, generation, 1) == CELLS_OK);
    free(block);
}

static void a_group_whose_writer_was_killed_is_torn_never_good(void) {
    uint64_t into[2 * (BOUND_COUNT + 2)] = {0};
    uint8_t torn[3] = {9, 9, 9};
    const uint32_t groups[] = {GROUP, GROUP + 16, GROUP}, counts[] = {BOUND_COUNT, BOUND_COUNT, BOUND_COUNT};
    const uint32_t positions[] = {0, 5, 6};
    cells *block = make_block();
    uint32_t generation = make_group(block);
    CHECK(cells_group_start(block, GROUP + 16, BOUNDS, BOUND_COUNT) == CELLS_OK);
    CHECK(cells_group_observe(block, GROUP, generation, 1) == CELLS_OK);
    CHECK(cells_group_observe(block, GROUP + 16, 1, 25) == CELLS_OK);
    CHECK(cells_add(block, GROUP, 1) == CELLS_OK); /* Odd, as SIGKILL leaves it. */
    CHECK(cells_group_copy(block, GROUP, BOUND_COUNT, 3, into) == CELLS_TORN);
    CHECK(cells_group_copy(block, GROUP, BOUND_COUNT, 0, into) == CELLS_TORN);
    memset(into, 7, sizeof into);
    /* The third would reach beyond `into`. */
    CHECK(cells_groups_copy(block, 3, groups, counts, positions, 3, 0, into, 10, torn) == 2);
    CHECK(torn[0] == CELLS_TORN && torn[1] == CELLS_OK && torn[2] == CELLS_RANGE);
    CHECK(into[0] == UINT64_C(0x0707070707070707) && into[7] == 1 && into[9] == 25);
    CHECK(cells_groups_copy(block, 1, groups, counts, positions, 3, 1, into, 10, torn) == 1);
    CHECK(torn[0] == CELLS_TORN && into[0] == 1 && into[4] == 1);
    memset(into, 7, sizeof into);
    CHECK(cells_groups_copy(block, 1, groups, counts, positions, 3, 1, into, 4, torn) == 1);
    CHECK(torn[0] == CELLS_RANGE && into[0] == UINT64_C(0x0707070707070707));
    CHECK(cells_group_observe(block, GROUP, generation, 1) == CELLS_BUSY && block->observations_refused == 1);
    CHECK(cells_group_end(block, GROUP) == CELLS_BUSY);
    CHECK(cells_group_start(block, GROUP, BOUNDS, BOUND_COUNT) == CELLS_BUSY);
    CHECK(word_at(block, GROUP + 2) == 1);
    free(block);
}

static void broken_bounds_stop_the_process_before_they_are_followed(void) {
    cells *block = make_block();
    uint32_t generation = make_group(block);
    pid_t child = fork();
    int status = 0;
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(freopen("/dev/null", "w", stderr) != NULL);
        cells_store(block, GROUP + 1, UINT64_C(1000) << 32 | BOUND_COUNT);
        cells_group_observe(block, GROUP, generation, 1);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    free(block);
}

int main(void) {
    a_block_has_the_size_it_says();
    a_fresh_block_says_who_writes_it();
    a_mapping_too_small_is_not_formatted();
    what_is_no_block_is_told_apart();
    cells_count_and_copy();
    an_index_outside_is_refused_and_touches_nothing();
    a_slot_runs_once_and_a_late_store_is_lost();
    a_slot_survives_the_last_generation();
    an_unknown_network_reads_zero_and_writes_nothing();
    upper_bounds_are_inclusive();
    bounds_may_be_negative();
    an_ended_group_counts_nothing_and_starts_from_zero();
    a_stored_group_is_replaced_whole_or_not_at_all();
    the_sequence_wraps_within_its_half();
    a_group_whose_writer_was_killed_is_torn_never_good();
    broken_bounds_stop_the_process_before_they_are_followed();
    return 0;
}
