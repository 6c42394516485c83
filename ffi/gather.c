/* Adding up arrays by tables.  See gather.h for the contract. */

#include <stdint.h>

#include "cells.h"
#include "gather.h"

static int is_inside(uint32_t source, uint64_t from_words, uint32_t target, uint64_t into_words) {
    return source < from_words && target < into_words;
}

int gather_sum(const uint64_t *from, uint64_t from_words, const uint32_t *sources, const uint32_t *targets,
               uint32_t count, uint64_t *into, uint64_t into_words) {
    int answer = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (is_inside(sources[i], from_words, targets[i], into_words))
            into[targets[i]] += from[sources[i]];
        else
            answer = -1;
    }
    return answer;
}

/* The sign bit the other way round: two's complement order becomes unsigned order. */
static uint64_t ordered(uint64_t value) {
    return value ^ UINT64_C(1) << 63;
}

int gather_max(const uint64_t *from, uint64_t from_words, const uint32_t *sources, const uint32_t *targets,
               uint32_t count, uint64_t *into, uint64_t into_words) {
    int answer = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!is_inside(sources[i], from_words, targets[i], into_words))
            answer = -1;
        else if (ordered(from[sources[i]]) > ordered(into[targets[i]]))
            into[targets[i]] = from[sources[i]];
    }
    return answer;
}

int gather_min(const uint64_t *from, uint64_t from_words, const uint32_t *sources, const uint32_t *targets,
               uint32_t count, uint64_t *into, uint64_t into_words) {
    int answer = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!is_inside(sources[i], from_words, targets[i], into_words))
            answer = -1;
        else if (ordered(from[sources[i]]) < ordered(into[targets[i]]))
            into[targets[i]] = from[sources[i]];
    }
    return answer;
}

static int is_running(uint64_t slot) {
    return (int)(slot >> 32 & 1);
}

void gather_networks(const uint64_t *from, uint64_t *into) {
    for (uint32_t network_id = 0; network_id < CELLS_MAX_NETWORKS; network_id++) {
        uint64_t count = from[network_id] & UINT32_MAX;
        if (!is_running(from[network_id]))
            continue;
        if (is_running(into[network_id]))
            count += into[network_id] & UINT32_MAX;
        into[network_id] = UINT64_C(1) << 32 | (count < UINT32_MAX ? count : UINT32_MAX);
    }
}
