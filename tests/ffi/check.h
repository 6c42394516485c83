/* What the C tests share: a check that says where it failed, and a block to test on. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "cells.h"

#define CHECK(condition)                                                                    \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            fprintf(stderr, "%s:%d: %s: failed: %s\n", __FILE__, __LINE__, __func__, #condition); \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

enum { CAPACITY = 64, NAMES_AREA_BYTES = 256 };

/* A formatted block of exactly its size on the heap, so that one byte beyond is a report. */
static inline cells *make_block(void) {
    uint64_t bytes = cells_block_bytes(CAPACITY, NAMES_AREA_BYTES);
    cells *block = calloc(1, bytes);
    CHECK(block != NULL);
    CHECK(cells_format(block, bytes, CAPACITY, NAMES_AREA_BYTES, 77, 4321, 99, 1000) == CELLS_OK);
    return block;
}

static inline uint64_t word_at(const cells *block, uint32_t index) {
    uint64_t word = 0;
    CHECK(cells_copy(block, index, 1, &word) == CELLS_OK);
    return word;
}

/* Bounds 10, 20, 30 at index 1, and a group of them at index 8. */
enum { BOUNDS = 1, BOUND_COUNT = 3, GROUP = 8, GROUP_WORDS = BOUND_COUNT + CELLS_GROUP_OVERHEAD };

static inline uint32_t make_group(cells *block) {
    for (uint32_t i = 0; i < BOUND_COUNT; i++)
        CHECK(cells_store(block, BOUNDS + i, 10 * (i + 1)) == CELLS_OK);
    CHECK(cells_group_start(block, GROUP, BOUNDS, BOUND_COUNT) == CELLS_OK);
    return cells_group_generation(block, GROUP);
}
