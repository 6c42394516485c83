/* Sample lines of a page: prefixes that are ready, and the numbers that go behind them.
 *
 * A line is `prefix number \n`.  Nothing here knows what a prefix says: the
 * caller makes the prefixes once and renders them with new numbers again and again.
 *
 * A number is an integer divided by a power of ten.  It is written exactly, without
 * trailing zeros, and with an exponent below 0.0001, as Python and Go write
 * it: one value has one text.
 */

enum {
    PAGE_SIGNED = 1,  /* The integer is two's complement. */
    PAGE_ADD = 2,     /* The number is the one of the line before plus this value: bands become buckets. */
    PAGE_AGAIN = 4    /* The number of the line before once more; the slot is not read. */
};

enum {
    PAGE_MAX_DECIMALS = 19,
    PAGE_MAX_NUMBER_BYTES = 28  /* Sign, 20 digits, point, leading zero or exponent, newline. */
};

typedef struct {
    uint32_t prefix_bytes;  /* Its prefix begins where that of the line before ends. */
    uint32_t slot;          /* Index of its value. */
    uint8_t decimals;       /* The value is divided by ten to this power. */
    uint8_t flags;          /* PAGE_SIGNED and so on. */
    uint16_t unused;
} page_line;

/* Renders `line_count` lines into `out` and answers the bytes written, or -1 when a line points
 * outside its tables, has too many decimals, or `out` is too small: prefixes_bytes +
 * line_count * PAGE_MAX_NUMBER_BYTES is enough.  After the lines cut_lines[i], rising, the bytes
 * written so far go to cut_bytes[i]. */
int64_t page_render(const char *prefixes, uint64_t prefixes_bytes, const page_line *lines, uint32_t line_count,
                    const uint64_t *values, uint64_t value_count, const uint32_t *cut_lines, uint64_t *cut_bytes,
                    uint32_t cut_count, char *out, uint64_t out_bytes);
