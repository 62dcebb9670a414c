// SPDX-License-Identifier: Apache-2.0
/*
 * The units of a plan of bits: the matrices of a layer that get the same bits, because loaders want
 * them alike (arch_merged), or each kind of matrix by itself where nothing does or target_unit asks
 * for it. Where it asks for experts, a unit of theirs falls into items, one an expert. Any thread.
 */
#pragma once

#include "daemon/pipeline/params/params.h"

#define UNIT_BITS_MAX 4 /* candidates */
#define UNIT_KINDS_MAX (N_GROUPS * GROUP_PARTS_MAX)

/* What a unit has of each layer. */
struct unit_kind {
    unsigned int parts[N_GROUPS]; /* sets of 1 << part of a group's shape */
    double weights;
    int items; /* 1, or the experts */
    int first; /* place of the first one among the items of a layer */
};

/* The units of a model, layer after layer, and what each of them may get. */
struct units {
    struct unit_kind kinds[UNIT_KINDS_MAX];
    int n_kinds;
    int bits[UNIT_BITS_MAX]; /* candidates, growing */
    int n_bits;
    int n;       /* units: layers times kinds */
    int layer;   /* items of a layer */
    int n_items; /* of all layers: what gets bits by itself */
};

/*
 * units_make() - for a job with @params and a model of @config. Return: 0, -ENOMEM, or -EINVAL with
 * the field "target_bits" (no candidate, or all of them above or below a target) or "target_unit"
 * (the format, or the program that the checkpoint is for, wants more alike).
 */
int units_make(const struct params *params, const struct model_config *config,
               struct units *ret_units, struct failure *failure);

/* units_trials() - candidates of all units. */
static inline int units_trials(const struct units *units) {
    return units->n * units->n_bits;
}

/* units_item() - the number of the first item of unit @i. */
static inline int units_item(const struct units *units, int i) {
    return i / units->n_kinds * units->layer + units->kinds[i % units->n_kinds].first;
}

/* unit_modules() - the names of a kind's modules, as rules have them; the caller owns the array;
 * NULL: no memory. */
json_t *unit_modules(const struct model_config *config, const struct unit_kind *kind);

/*
 * units_rules() - rules that give each item the candidate of @choice [n_items], for a job with
 * @wbits; an array as rules_read() takes it, owned by the caller; NULL when out of memory.
 */
json_t *units_rules(const struct units *units, const struct model_config *config,
                    const uint8_t *choice, int wbits);

/* units_warning() - why a choice of @params may be of no use to some loader; NULL: it is not. */
const char *units_warning(const struct params *params);
