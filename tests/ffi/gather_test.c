/* Tests of ffi/gather.h: arrays of exactly their size on the heap, so that a step outside is a report. */

#include <string.h>

#include "check.h"
#include "gather.h"

typedef int gather(const uint64_t *, uint64_t, const uint32_t *, const uint32_t *, uint32_t, uint64_t *, uint64_t);

enum { FROM_WORDS = 3, INTO_WORDS = 2 };

static void expect(gather *call, const uint32_t *sources, const uint32_t *targets, uint32_t count, int answer,
                   uint64_t first, uint64_t second) {
    const uint64_t values[FROM_WORDS] = {5, (uint64_t)-7, UINT64_MAX / 2};
    uint64_t *from = malloc(sizeof values), *into = malloc(INTO_WORDS * sizeof *into);
    CHECK(from && into);
    memcpy(from, values, sizeof values);
    into[0] = 3;
    into[1] = (uint64_t)-3;
    CHECK(call(from, FROM_WORDS, sources, targets, count, into, INTO_WORDS) == answer);
    CHECK(into[0] == first && into[1] == second);
    free(from);
    free(into);
}

static void sums_wrap_and_one_place_may_get_several(void) {
    const uint32_t sources[] = {0, 1, 0, 2}, targets[] = {0, 0, 1, 1};
    expect(gather_sum, sources, targets, 4, 0, 1, 2 + UINT64_MAX / 2);
    expect(gather_sum, sources, targets, 0, 0, 3, (uint64_t)-3);
}

static void extremes_know_signs(void) {
    const uint32_t sources[] = {0, 1, 1, 2}, targets[] = {0, 0, 1, 1};
    expect(gather_max, sources, targets, 4, 0, 5, UINT64_MAX / 2);
    expect(gather_min, sources, targets, 4, 0, (uint64_t)-7, (uint64_t)-7);
}

static void entries_outside_are_left_out_and_the_others_are_not(void) {
    const uint32_t sources[] = {3, UINT32_MAX, 0, 0, 0}, targets[] = {0, 1, 2, UINT32_MAX, 0};
    expect(gather_sum, sources, targets, 5, -1, 8, (uint64_t)-3);
    expect(gather_max, sources, targets, 5, -1, 5, (uint64_t)-3);
    expect(gather_min, sources, targets, 5, -1, 3, (uint64_t)-3);
}

static void a_network_runs_in_the_sum_when_it_runs_in_any(void) {
    uint64_t from[CELLS_MAX_NETWORKS] = {0}, into[CELLS_MAX_NETWORKS] = {0};
    from[0] = UINT64_C(7) << 32 | 4;           /* Runs in one. */
    from[1] = UINT64_C(8) << 32 | 9;           /* Stopped: whatever its count. */
    from[2] = UINT64_C(1) << 32 | UINT32_MAX;  /* Cannot grow further. */
    into[2] = UINT64_C(1) << 32 | 1;
    from[63] = UINT64_C(3) << 32 | 2;
    into[63] = UINT64_C(1) << 32 | 5;
    into[5] = UINT64_C(1) << 32 | 6;
    gather_networks(from, into);
    CHECK(into[0] == (UINT64_C(1) << 32 | 4));
    CHECK(into[1] == 0);
    CHECK(into[2] == (UINT64_C(1) << 32 | UINT32_MAX));
    CHECK(into[5] == (UINT64_C(1) << 32 | 6));
    CHECK(into[63] == (UINT64_C(1) << 32 | 7));
}

int main(void) {
    sums_wrap_and_one_place_may_get_several();
    extremes_know_signs();
    entries_outside_are_left_out_and_the_others_are_not();
    a_network_runs_in_the_sum_when_it_runs_in_any();
    return 0;
}
