/* One fault for each sanitizer, on a block of cells: a run that reports nothing proves that nothing is watched. */

#include "check.h"

#include <limits.h>
#include <pthread.h>
#include <string.h>

static void *write_unordered(void *word) {
    for (int i = 0; i < 1000; i++)
        ++*(uint64_t *)word;
    return NULL;
}

int main(int count, char **arguments) {
    cells *block = make_block();
    const char *fault = count == 2 ? arguments[1] : "";
    if (strcmp(fault, "address") == 0) {
        uint64_t *words = (uint64_t *)(block + 1);
        volatile uint64_t beyond = cells_block_bytes(CAPACITY, NAMES_AREA_BYTES) / 8 - sizeof(cells) / 8;
        words[beyond] = 1;
    } else if (strcmp(fault, "undefined") == 0) {
        volatile int64_t sum = INT64_MAX;
        sum = sum + 1;
    } else if (strcmp(fault, "thread") == 0) {
        pthread_t threads[2];
        for (int i = 0; i < 2; i++)
            CHECK(pthread_create(&threads[i], NULL, write_unordered, block + 1) == 0);
        for (int i = 0; i < 2; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
    } else {
        return 2;
    }
    free(block);
    return 0;
}
