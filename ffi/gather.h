/* Brings values of several arrays together in one, by a table of places.
 *
 * Entry i of a table says that from[sources[i]] goes to into[targets[i]].  An entry
 * that points outside its array is left out, and the answer is -1 instead of 0.
 * `into` must not overlap `from`.  Nothing here knows what a value means.
 */

/* Adds: unsigned or two's complement, modulo 2^64. */
int gather_sum(const uint64_t *from, uint64_t from_words, const uint32_t *sources, const uint32_t *targets,
               uint32_t count, uint64_t *into, uint64_t into_words);

/* Keeps the larger, or the smaller, of two's complement integers. */
int gather_max(const uint64_t *from, uint64_t from_words, const uint32_t *sources, const uint32_t *targets,
               uint32_t count, uint64_t *into, uint64_t into_words);
int gather_min(const uint64_t *from, uint64_t from_words, const uint32_t *sources, const uint32_t *targets,
               uint32_t count, uint64_t *into, uint64_t into_words);

/* Adds the network slots of a block (CELLS_MAX_NETWORKS words, ffi/cells.h) to those in `into`: the
 * counts of running ones, up to UINT32_MAX.  A slot runs in the sum when it runs in any, as generation 1. */
void gather_networks(const uint64_t *from, uint64_t *into);
