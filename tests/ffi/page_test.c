/* Tests of ffi/page.h: numbers at their edges, and tables of exactly their size on the heap. */

#include <string.h>

#include "check.h"
#include "page.h"

enum { LINES_LIMIT = 8 };

/* Renders lines with the prefix "x " into `out_bytes`, and compares; NULL: must be refused. */
static void expect(const char *expected, const page_line *lines, uint32_t line_count, const uint64_t *values,
                   uint32_t value_count, uint64_t out_bytes) {
    uint64_t prefixes_bytes = 2 * (uint64_t)line_count;
    char *prefixes = malloc(prefixes_bytes);
    page_line *own_lines = malloc(line_count * sizeof *lines);
    uint64_t *own_values = malloc(value_count * sizeof *values);
    char *out = malloc(out_bytes + 1);
    uint32_t cut_line = line_count;
    uint64_t cut_byte = 0;
    CHECK(prefixes && own_lines && own_values && out);
    for (uint32_t i = 0; i < line_count; i++)
        memcpy(prefixes + 2 * (size_t)i, "x ", 2);
    memcpy(own_lines, lines, line_count * sizeof *lines);
    memcpy(own_values, values, value_count * sizeof *values);

    int64_t written = page_render(prefixes, prefixes_bytes, own_lines, line_count, own_values, value_count, &cut_line,
                                  &cut_byte, 1, out, out_bytes);
    if (expected == NULL) {
        CHECK(written == -1);
    } else {
        CHECK(written == (int64_t)strlen(expected));
        CHECK(memcmp(out, expected, strlen(expected)) == 0);
        CHECK(cut_byte == (uint64_t)written);
    }
    free(prefixes);
    free(own_lines);
    free(own_values);
    free(out);
}

static void expect_number(const char *expected, uint64_t value, uint8_t decimals, uint8_t flags) {
    page_line line = {.prefix_bytes = 2, .decimals = decimals, .flags = flags};
    expect(expected, &line, 1, &value, 1, 2 + PAGE_MAX_NUMBER_BYTES);
}

static void integers_are_written_in_full(void) {
    expect_number("x 0\n", 0, 0, 0);
    expect_number("x 99\n", 99, 0, 0);
    expect_number("x 100\n", 100, 0, 0);
    expect_number("x 18446744073709551615\n", UINT64_MAX, 0, 0);
    expect_number("x -1\n", UINT64_MAX, 0, PAGE_SIGNED);
    expect_number("x -9223372036854775808\n", (uint64_t)INT64_MIN, 0, PAGE_SIGNED);
}

static void fractions_have_no_zeros_at_the_end(void) {
    expect_number("x 0\n", 0, 9, 0);
    expect_number("x 1\n", 1000000000, 9, 0);
    expect_number("x 1.5\n", 1500000000, 9, 0);
    expect_number("x 0.0024\n", 2400000, 9, 0);
    expect_number("x -0.0024\n", (uint64_t)-2400000, 9, PAGE_SIGNED);
    expect_number("x 1.8446744073709551615\n", UINT64_MAX, PAGE_MAX_DECIMALS, 0);
    expect_number("x -0.9223372036854775808\n", (uint64_t)INT64_MIN, PAGE_MAX_DECIMALS, PAGE_SIGNED);
}

static void small_fractions_have_an_exponent(void) {
    expect_number("x 0.0001\n", 100000, 9, 0);
    expect_number("x 9.9999e-05\n", 99999, 9, 0);
    expect_number("x 5e-05\n", 50000, 9, 0);
    expect_number("x -1e-19\n", UINT64_MAX, PAGE_MAX_DECIMALS, PAGE_SIGNED);
    expect_number("x -9.9999999999999e-06\n", (uint64_t)-99999999999999, PAGE_MAX_DECIMALS, PAGE_SIGNED);
}

static void bands_become_buckets(void) {
    const page_line lines[] = {
        {.prefix_bytes = 2, .slot = 1},
        {.prefix_bytes = 2, .slot = 2, .flags = PAGE_ADD},
        {.prefix_bytes = 2, .slot = 0, .flags = PAGE_ADD},
        {.prefix_bytes = 2, .slot = UINT32_MAX, .flags = PAGE_AGAIN},
    };
    const uint64_t values[] = {5, 2, 0};
    expect("x 2\nx 2\nx 7\nx 7\n", lines, 4, values, 3, 4 * (2 + PAGE_MAX_NUMBER_BYTES));
}

static void what_points_outside_is_refused(void) {
    const uint64_t value = 7;
    const uint64_t room = LINES_LIMIT * (2 + PAGE_MAX_NUMBER_BYTES);
    const page_line slot = {.prefix_bytes = 2, .slot = 1};
    const page_line prefix = {.prefix_bytes = 3};
    const page_line decimals = {.prefix_bytes = 2, .decimals = PAGE_MAX_DECIMALS + 1};
    const page_line good = {.prefix_bytes = 2};
    expect(NULL, &slot, 1, &value, 1, room);
    expect(NULL, &prefix, 1, &value, 1, room);
    expect(NULL, &decimals, 1, &value, 1, room);
    expect(NULL, &good, 1, &value, 1, 2 + PAGE_MAX_NUMBER_BYTES - 1);
    expect("x 7\n", &good, 1, &value, 1, 2 + PAGE_MAX_NUMBER_BYTES);
}

static void a_cut_behind_the_last_line_is_refused(void) {
    const page_line line = {.prefix_bytes = 1};
    const uint64_t value = 7;
    const uint32_t cut_line = 2;
    uint64_t cut_byte = 0;
    char out[64];
    CHECK(page_render("x", 1, &line, 1, &value, 1, &cut_line, &cut_byte, 1, out, sizeof out) == -1);
}

static void no_lines_are_no_bytes(void) {
    char out[1];
    CHECK(page_render("", 0, NULL, 0, NULL, 0, NULL, NULL, 0, out, 0) == 0);
}

int main(void) {
    integers_are_written_in_full();
    fractions_have_no_zeros_at_the_end();
    small_fractions_have_an_exponent();
    bands_become_buckets();
    what_points_outside_is_refused();
    a_cut_behind_the_last_line_is_refused();
    no_lines_are_no_bytes();
    return 0;
}
