// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/readers/schemes.h"

#include "base/macros.h"
#include "base/str.h"
#include "daemon/model/readers/pattern.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OVERRIDES_MAX 4096

void overrides_done(struct overrides *overrides) {
    for (size_t i = 0; i < overrides->n; i++) {
        free(overrides->list[i].name);
        pattern_free(overrides->list[i].pattern);
    }
    free(overrides->list);
    *overrides = (struct overrides){};
}

/* The next one, zeroed but for its scheme; NULL with *ret_r set. */
static struct override *append(struct overrides *overrides, const struct scheme *scheme,
                               int *ret_r) {
    *ret_r = overrides->n == OVERRIDES_MAX ? -EINVAL : -ENOMEM;
    if (overrides->n == OVERRIDES_MAX)
        return NULL;
    if (overrides->n == overrides->capacity) {
        size_t capacity = MAX(2 * overrides->capacity, (size_t)16);
        struct override *grown = reallocarray(overrides->list, capacity, sizeof(*grown));

        if (!grown)
            return NULL;
        overrides->list = grown;
        overrides->capacity = capacity;
    }
    overrides->list[overrides->n] = (struct override){.scheme = *scheme};
    *ret_r = 0;
    return &overrides->list[overrides->n++];
}

int overrides_add_name(struct overrides *overrides, const char *name, const struct scheme *scheme) {
    int r;
    struct override *override = append(overrides, scheme, &r);

    if (!override)
        return r;
    override->name = strdup(name);
    return override->name ? 0 : -ENOMEM;
}

int overrides_add_pattern(struct overrides *overrides, const char *regex,
                          const struct scheme *scheme) {
    int r;
    struct override *override = append(overrides, scheme, &r);

    return override ? pattern_new(regex, &override->pattern) : r;
}

int overrides_find(const struct overrides *overrides, const char *name,
                   const struct scheme **ret_scheme) {
    *ret_scheme = NULL;
    for (size_t i = 0; i < overrides->n; i++) {
        const struct override *override = &overrides->list[i];
        bool fits = str_equal(override->name, name);
        int r = override->pattern ? pattern_match(override->pattern, name, &fits) : 0;

        if (r)
            return r;
        if (fits) {
            *ret_scheme = &override->scheme;
            return 0;
        }
    }
    return 0;
}
