// SPDX-License-Identifier: Apache-2.0
#include "api/header/range.h"

#include "base/macros.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* Digits at *@s, which moves behind them; a number that is too large counts as the largest. */
static bool take_number(const char **s, uint64_t *ret_number) {
    uint64_t number = 0;

    if (!isdigit((unsigned char)**s))
        return false;
    for (; isdigit((unsigned char)**s); (*s)++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(**s - '0'), &number))
            number = UINT64_MAX / 10;
    *ret_number = number;
    return true;
}

enum range_kind range_parse(const char *header, uint64_t size, uint64_t *ret_first,
                            uint64_t *ret_length) {
    uint64_t first, last;
    bool has_first, has_last;

    if (!header || strncasecmp(header, "bytes=", 6) != 0)
        return RANGE_ALL;
    header += 6;
    has_first = take_number(&header, &first);
    if (*header++ != '-')
        return RANGE_ALL;
    has_last = take_number(&header, &last);
    if (*header || (!has_first && !has_last) || (has_first && has_last && last < first))
        return RANGE_ALL;

    if (!has_first) {
        if (last == 0 || size == 0)
            return RANGE_UNSATISFIABLE;
        *ret_length = MIN(last, size);
        *ret_first = size - *ret_length;
        return RANGE_PART;
    }
    if (first >= size)
        return RANGE_UNSATISFIABLE;
    if (!has_last || last >= size)
        last = size - 1;
    *ret_first = first;
    *ret_length = last - first + 1;
    return RANGE_PART;
}
