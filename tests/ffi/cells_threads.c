/* cells.c with threads, under the thread sanitizer. */

#include "check.h"

#include <pthread.h>

enum { ROUNDS = 600000, ADDERS = 3 };

static cells *block;
static uint32_t generation;

/* All bodies begin at once: a thread that is done before the next one starts tests nothing. */
static pthread_barrier_t start;

static void *begin(void *body) {
    pthread_barrier_wait(&start);
    (*(void (*const *)(void))body)();
    return NULL;
}

static void run_beside(void (*const bodies[])(void), int count) {
    pthread_t threads[8];
    CHECK(count <= 8 && pthread_barrier_init(&start, NULL, (unsigned)count) == 0);
    for (int i = 0; i < count; i++)
        CHECK(pthread_create(&threads[i], NULL, begin, (void *)(uintptr_t)&bodies[i]) == 0);
    for (int i = 0; i < count; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(pthread_barrier_destroy(&start) == 0);
}

/* ---- many adders of one cell, and a copy beside them ---- */

static void add(void) {
    for (int i = 0; i < ROUNDS; i++)
        CHECK(cells_add(block, 40, 1) == CELLS_OK);
}

static void copy_growing(void) {
    uint64_t last = 0, now[CAPACITY];
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(cells_copy(block, 0, CAPACITY, now) == CELLS_OK);
        CHECK(now[40] >= last && now[40] <= (uint64_t)ADDERS * ROUNDS);
        last = now[40];
    }
}

static void adders_lose_nothing(void) {
    void (*const bodies[])(void) = {add, add, add, copy_growing};
    run_beside(bodies, 4);
    CHECK(word_at(block, 40) == (uint64_t)ADDERS * ROUNDS);
}

/* ---- one group: every whole copy agrees with itself.  Bucket i only ever gets the value 10 * (i + 1). ---- */

static uint64_t count_of(const uint64_t *copy) {
    uint64_t count = 0, sum = 0;
    for (uint32_t i = 0; i <= BOUND_COUNT; i++) {
        count += copy[i];
        sum += 10 * (i + 1) * copy[i];
    }
    CHECK(sum == copy[BOUND_COUNT + 1]);
    return count;
}

static void observe(void) {
    for (int i = 0; i < ROUNDS; i++) {
        int answer = cells_group_observe(block, GROUP, generation, 10 * (i % 4 + 1));
        CHECK(answer == CELLS_OK || answer == CELLS_BUSY);
    }
}

static void copy_group(void) {
    uint64_t last = 0, copy[BOUND_COUNT + 2];
    for (int i = 0; i < ROUNDS; i++) {
        int answer = cells_group_copy(block, GROUP, BOUND_COUNT, 100, copy);
        CHECK(answer == CELLS_OK || answer == CELLS_TORN);
        if (answer == CELLS_OK) {
            CHECK(count_of(copy) >= last);
            last = count_of(copy);
        }
    }
}

static void groups_are_whole_and_nothing_is_lost_uncounted(void) {
    void (*const bodies[])(void) = {observe, observe, copy_group, copy_group};
    uint64_t copy[BOUND_COUNT + 2];
    generation = make_group(block);
    run_beside(bodies, 4);
    CHECK(cells_group_copy(block, GROUP, BOUND_COUNT, 1, copy) == CELLS_OK);
    CHECK(count_of(copy) + block->observations_refused == 2 * ROUNDS);
}

/* ---- a group that ends and starts while late writers observe: a generation's value is its own ---- */

static _Atomic uint32_t current;

static void restart_group(void) {
    uint64_t copy[BOUND_COUNT + 2];
    for (int i = 0; i < ROUNDS / 10; i++) {
        while (cells_group_end(block, GROUP) == CELLS_BUSY)
            ;
        while (cells_group_start(block, GROUP, BOUNDS, BOUND_COUNT) == CELLS_BUSY)
            ;
        uint32_t started = cells_group_generation(block, GROUP);
        current = started;
        CHECK(cells_group_copy(block, GROUP, BOUND_COUNT, 1000000, copy) == CELLS_OK);
        uint64_t count = copy[0] + copy[1] + copy[2] + copy[3];
        /* Everybody observes the generation that it knows: another's would break the sum. */
        CHECK(copy[BOUND_COUNT + 1] == count * started);
    }
}

static void observe_late(void) {
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t known = current;
        int answer = cells_group_observe(block, GROUP, known, known);
        CHECK(answer == CELLS_OK || answer == CELLS_ENDED || answer == CELLS_BUSY);
    }
}

static void late_observations_go_nowhere(void) {
    void (*const bodies[])(void) = {restart_group, observe_late, observe_late};
    current = make_group(block);
    run_beside(bodies, 3);
}

/* ---- a network slot that stops and starts while late writers store ---- */

static _Atomic uint32_t running;
static _Atomic int is_over;

static void restart_network(void) {
    for (int i = 0; i < ROUNDS / 10; i++) {
        uint32_t started = cells_network_start(block, 7);
        CHECK(started & 1);
        running = started;
        for (int look = 0; look < 20; look++)
            CHECK(cells_network_read(block, 7) >> 32 == started);
        CHECK(cells_network_stop(block, 7, started) == CELLS_OK);
        for (int look = 0; look < 20; look++)
            CHECK(cells_network_read(block, 7) == (uint64_t)(started + 1) << 32);
    }
    is_over = 1;
}

static void store_late(void) {
    while (!is_over) {
        uint32_t known = running;
        int answer = cells_network_store(block, 7, known, known);
        CHECK(answer == CELLS_OK || answer == CELLS_ENDED);
    }
}

static void read_network(void) {
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t word = cells_network_read(block, 7);
        uint32_t seen = (uint32_t)(word >> 32), count = (uint32_t)word;
        CHECK(count == 0 || (seen & 1 && count == seen));
    }
}

static void a_late_store_never_revives_a_network(void) {
    void (*const bodies[])(void) = {restart_network, store_late, read_network};
    run_beside(bodies, 3);
    CHECK((uint32_t)cells_network_read(block, 7) == 0);
}

/* ---- names: who sees the committed length sees the bytes ---- */

/* In whole words: the sanitizer overlooks races of single bytes. */
enum { NAMES_WORDS = NAMES_AREA_BYTES / 8 };

static uint64_t *names_area(void) {
    return (uint64_t *)block + cells_names_offset(block, 0) / 8;
}

static void write_names(void) {
    uint64_t *area = names_area();
    for (uint64_t length = 1; length <= NAMES_WORDS; length++) {
        area[length - 1] = length;
        cells_set_names(block, length);
    }
}

static void read_names(void) {
    const uint64_t *area = names_area();
    uint64_t length = 0;
    while (length < NAMES_WORDS) {
        length = cells_names(block);
        for (uint64_t i = 0; i < length; i++)
            CHECK(area[i] == i + 1);
    }
}

static void committed_names_are_there(void) {
    void (*const bodies[])(void) = {write_names, read_names};
    run_beside(bodies, 2);
}

int main(void) {
    block = make_block();
    adders_lose_nothing();
    groups_are_whole_and_nothing_is_lost_uncounted();
    late_observations_go_nowhere();
    a_late_store_never_revives_a_network();
    committed_names_are_there();
    free(block);
    return 0;
}
