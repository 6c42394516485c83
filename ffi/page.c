/* Fills pages with numbers.  See page.h for the contract. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "page.h"

_Static_assert(sizeof(page_line) == 12, "metrics/templates.py packs lines of this size");

static const char DIGIT_PAIRS[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051"
    "525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

/* 0.0001 is written as it is, 0.00001 as 1e-05. */
enum { MAX_LEADING_ZEROS = 4 };

/* Writes the digits of `value` so that they end before `end`; answers where they begin. */
static char *write_digits(char *end, uint64_t value) {
    while (value >= 100) {
        unsigned pair = (unsigned)(value % 100) * 2;
        value /= 100;
        *--end = DIGIT_PAIRS[pair + 1];
        *--end = DIGIT_PAIRS[pair];
    }
    if (value >= 10) {
        *--end = DIGIT_PAIRS[value * 2 + 1];
        *--end = DIGIT_PAIRS[value * 2];
    } else {
        *--end = (char)('0' + value);
    }
    return end;
}

/* Writes one number and a newline at `out`, at most PAGE_MAX_NUMBER_BYTES; answers what follows it. */
static char *write_number(char *out, uint64_t value, size_t decimals, int is_signed) {
    char digits[PAGE_MAX_NUMBER_BYTES];
    char *const end = digits + sizeof digits;

    if (is_signed && (int64_t)value < 0) {
        *out++ = '-';
        value = 0 - value;
    }
    while (decimals > 0 && value % 10 == 0) { /* Zeros at the end of the fraction; all of it for 0. */
        decimals = value ? decimals - 1 : 0;
        value /= 10;
    }
    char *begin = write_digits(end, value);
    size_t count = (size_t)(end - begin);
    size_t whole = count; /* Digits before the point. */
    size_t exponent = 0;
    if (decimals >= count + MAX_LEADING_ZEROS) {
        exponent = decimals + 1 - count;
        whole = 1;
    } else if (decimals > 0) {
        for (; count <= decimals; count++) /* 25 with four decimals is 0.0025. */
            *--begin = '0';
        whole = count - decimals;
    }
    memcpy(out, begin, whole);
    out += whole;
    if (whole < count) {
        *out++ = '.';
        memcpy(out, begin + whole, count - whole);
        out += count - whole;
    }
    if (exponent > 0) { /* PAGE_MAX_DECIMALS has two digits, and so has every exponent. */
        *out++ = 'e';
        *out++ = '-';
        *out++ = (char)('0' + exponent / 10);
        *out++ = (char)('0' + exponent % 10);
    }
    *out++ = '\n';
    return out;
}

int64_t page_render(const char *prefixes, uint64_t prefixes_bytes, const page_line *lines, uint32_t line_count,
                    const uint64_t *values, uint64_t value_count, const uint32_t *cut_lines, uint64_t *cut_bytes,
                    uint32_t cut_count, char *out, uint64_t out_bytes) {
    const char *const start = out;
    const char *const stop = out + out_bytes;
    uint64_t prefix_begin = 0;
    uint64_t number = 0;
    uint32_t cut = 0;

    for (uint32_t i = 0; i < line_count; i++) {
        const page_line *line = &lines[i];
        if (line->prefix_bytes > prefixes_bytes - prefix_begin || line->decimals > PAGE_MAX_DECIMALS)
            return -1;
        if ((uint64_t)(stop - out) < (uint64_t)line->prefix_bytes + PAGE_MAX_NUMBER_BYTES)
            return -1;
        if (!(line->flags & PAGE_AGAIN)) {
            if (line->slot >= value_count)
                return -1;
            number = values[line->slot] + (line->flags & PAGE_ADD ? number : 0);
        }
        memcpy(out, prefixes + prefix_begin, line->prefix_bytes);
        prefix_begin += line->prefix_bytes;
        out = write_number(out + line->prefix_bytes, number, line->decimals, line->flags & PAGE_SIGNED);
        for (; cut < cut_count && cut_lines[cut] == i + 1; cut++)
            cut_bytes[cut] = (uint64_t)(out - start);
    }
    if (cut != cut_count)
        return -1;
    assert(out <= stop);
    return out - start;
}
