// SPDX-License-Identifier: Apache-2.0
/*
 * Rules: which matrices are quantized otherwise than the rest. The first rule that fits a matrix
 * holds. A rule is a JSON object, or the same as text, which quantctl's --rule takes:
 *
 *     {"modules": "down_proj", "layers": "0-3,15", "wbits": 4, "groupsize": 64}
 *     layers=0-3,15/down_proj:wbits=4,groupsize=64
 *
 * Before the colon are selectors with slashes between them: names of modules with commas, layers=
 * and experts= with numbers and ranges. What is left out selects all. After it are settings: wbits,
 * groupsize, sym, method; what is left out is as for the whole job. Any thread.
 */
#pragma once

#include "base/failure.h"
#include "daemon/model/arch/scheme.h"

#include <jansson.h>

#define RULES_MAX 1024
#define RULE_MODULES_MAX 9

/* Names of modules that a rule may give, each a part of a matrix's name. */
extern const char *const rule_modules[RULE_MODULES_MAX];

/* Numbers, as ranges. */
struct ranges {
    struct range {
        int first, last;
    } * list; /* owned */
    int n;    /* 0: every number */
};

struct rule {
    unsigned int modules; /* set of 1 << place in the list of names; 0: all */
    struct ranges layers, experts;
    int wbits;     /* 2 3 4 8 or 16, which leaves the matrices as they are; 0: the job's */
    int groupsize; /* 0: the job's */
    int sym;       /* 0 or 1; -1: the job's */
    const struct method_ops *method; /* NULL: the job's */
};

struct rules {
    struct rule *list; /* owned */
    int n;
};

void rules_done(struct rules *rules);

/* rules_read() - from the array @value. Return: 0, -EINVAL with the field "rules", or -ENOMEM. */
int rules_read(const json_t *value, struct rules *ret_rules, struct failure *failure);

/* rules_to_json() - as an array of objects, owned by the caller; NULL when out of memory. */
json_t *rules_to_json(const struct rules *rules);

/*
 * rules_find() - the number of the rule that holds for a matrix, from 0; -1: none does. @expert is
 * -1 where there is none.
 */
int rules_find(const struct rules *rules, const struct arch_tensor *tensor, int layer, int expert);

/*
 * rule_groups() - the groups, as a set of 1 << enum group, of which the rule selects matrices, or,
 * with @whole, all matrices of all layers.
 */
unsigned int rule_groups(const struct rule *rule, bool whole);
