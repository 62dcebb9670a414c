// SPDX-License-Identifier: Apache-2.0
/*
 * How the matrices of a model are quantized when not all are alike: a list of schemes and, for each
 * matrix, its place in the list (daemon/model/arch/scheme.h). Any thread.
 */
#pragma once

#include "base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHEMES_MAX 255
#define SCHEME_PLAIN 16 /* wbits of a matrix that is not quantized */

struct method_ops;

struct scheme {
    int wbits;     /* 2 3 4 8, or SCHEME_PLAIN */
    int groupsize; /* -1 or a positive number */
    bool sym, desc_act;
    const struct method_ops *method; /* that quantizes it; NULL: of a checkpoint that is read */
    int sub_bits;                    /* of a K grid (struct grid); 0: of no super-blocks */
};

/* scheme_equal() - do both make the same of a matrix? */
static inline bool scheme_equal(const struct scheme *a, const struct scheme *b) {
    return a->wbits == b->wbits &&
           (a->wbits == SCHEME_PLAIN ||
            (a->groupsize == b->groupsize && a->sym == b->sym && a->desc_act == b->desc_act &&
             a->method == b->method && a->sub_bits == b->sub_bits));
}

struct schemes {
    struct scheme list[SCHEMES_MAX]; /* the first is that of the model as a whole */
    int n;
    size_t n_matrices;
    uint8_t of[]; /* [n_matrices]: places in the list */
};

/* What a quantization_config says of modules beyond the rest. Zero-initialise. */
struct override {
    char *name;              /* of one module, or NULL */
    struct pattern *pattern; /* what a name begins with */
    struct scheme scheme;
};

struct overrides {
    struct override *list; /* owned; the first that fits a module holds */
    size_t n, capacity;
};

void overrides_done(struct overrides *overrides);

/* overrides_add_name(), overrides_add_pattern() - append @scheme for the module called @name, or
 * for those whose name a match of the regular expression @regex begins.
 * Return: 0; -EINVAL: no expression, or too many of them; -ENOMEM. */
int overrides_add_name(struct overrides *overrides, const char *name, const struct scheme *scheme);
int overrides_add_pattern(struct overrides *overrides, const char *regex,
                          const struct scheme *scheme);

/*
 * overrides_find() - what holds for the module called @name; *ret_scheme is NULL when nothing does.
 * Return: 0, or -EINVAL: an expression takes too long.
 */
int overrides_find(const struct overrides *overrides, const char *name,
                   const struct scheme **ret_scheme);
