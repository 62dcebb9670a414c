// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/pattern.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Far above what names of modules take, and little for a machine. */
#define MATCH_LIMIT 2000
#define HEAP_LIMIT 64 /* KiB */
#define LENGTH_MAX 65536

struct pattern {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *limits;
};

void pattern_free(struct pattern *pattern) {
    if (!pattern)
        return;
    pcre2_match_context_free(pattern->limits);
    pcre2_match_data_free(pattern->data);
    pcre2_code_free(pattern->code);
    free(pattern);
}

DEFINE_CLEANUP(struct pattern *, pattern_freep, pattern_free)

int pattern_new(const char *regex, struct pattern **ret_pattern) {
    cleanup(pattern_freep) struct pattern *pattern = calloc(1, sizeof(*pattern));
    size_t offset;
    int error;

    if (!pattern)
        return -ENOMEM;
    if (strnlen(regex, LENGTH_MAX) == LENGTH_MAX)
        return -EINVAL;
    pattern->code = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED,
                                  PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C, &error, &offset, NULL);
    if (!pattern->code)
        return error == PCRE2_ERROR_NOMEMORY ? -ENOMEM : -EINVAL;
    pattern->data = pcre2_match_data_create(1, NULL);
    pattern->limits = pcre2_match_context_create(NULL);
    if (!pattern->data || !pattern->limits)
        return -ENOMEM;
    pcre2_set_match_limit(pattern->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(pattern->limits, HEAP_LIMIT);
    *ret_pattern = steal_ptr(pattern);
    return 0;
}

int pattern_match(const struct pattern *pattern, const char *name, bool *ret_matches) {
    int n = pcre2_match(pattern->code, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, pattern->data,
                        pattern->limits);

    if (n < 0 && n != PCRE2_ERROR_NOMATCH)
        return n == PCRE2_ERROR_NOMEMORY ? -ENOMEM : -EINVAL;
    *ret_matches = n >= 0;
    return 0;
}
