// SPDX-License-Identifier: Apache-2.0
/*
 * The units of a plan of bits: the matrices of a layer that get the same bits, because loaders want
 * them alike (arch_merged), or each kind of matrix by itself where nothing does. Any thread.
 */
#pragma once

#include "daemon/pipeline/params/params.h"

#define UNIT_BITS_MAX 4 /* candidates */
#define UNIT_KINDS_MAX (N_GROUPS * GROUP_PARTS_MAX)

/* What a unit has of each layer. */
struct unit_kind {
    unsigned int parts[N_GROUPS]; /* sets of 1 << part of a group's shape */
    double weights;
};

/* The units of a model, layer after layer, and what each of them may get. */
struct units {
    struct unit_kind kinds[UNIT_KINDS_MAX];
    int n_kinds;
    int bits[UNIT_BITS_MAX]; /* candidates, growing */
    int n_bits;
    int n; /* units: layers times kinds */
};

/*
 * units_make() - for a job with @params and a model of @config. Return: 0, or -EINVAL with the
 * field "target_bits": no candidate, or all of them above or below the target.
 */
int units_make(const struct params *params, const struct model_config *config,
               struct units *ret_units, struct failure *failure);

/* units_trials() - candidates of all units. */
static inline int units_trials(const struct units *units) {
    return units->n * units->n_bits;
}

/* unit_modules() - the names of a kind's modules, as rules have them; the caller owns the array;
 * NULL: no memory. */
json_t *unit_modules(const struct model_config *config, const struct unit_kind *kind);

/*
 * units_rules() - rules that give each unit the candidate of @choice [n], for a job with @wbits;
 * an array as rules_read() takes it, owned by the caller; NULL when out of memory.
 */
json_t *units_rules(const struct units *units, const struct model_config *config,
                    const uint8_t *choice, int wbits);
