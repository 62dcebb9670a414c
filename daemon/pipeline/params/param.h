// SPDX-License-Identifier: Apache-2.0
/*
 * The table of parameters: what a request may say in each field. Requests are read and written by
 * it. openapi.json, the options of quantctl, quantctl(1) and README.md have copies in their own
 * form, which tests/unit/pipeline/test_param_copies.c compares with it. Any thread.
 */
#pragma once

#include "base/failure.h"
#include "daemon/pipeline/params/choices.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct params;

enum param_type {
    PARAM_STRING,
    PARAM_INTEGER, /* an int of struct params; 0 stands for null */
    PARAM_SEED,    /* an integer; uint64_t */
    PARAM_NUMBER,  /* double */
    PARAM_BOOLEAN, /* bool */
    PARAM_CHOICE,  /* a string of a table's names */
    PARAM_SETS,    /* names of evaluation texts: an array, or a list with commas */
    PARAM_RULES,   /* struct rules; an array */
    PARAM_NUMBERS, /* struct numbers; an array, each between the limits */
    PARAM_ALIAS,   /* a boolean that stands for a choice: an older spelling */
};

struct param {
    const char *name;
    enum param_type type;
    unsigned int kinds;        /* set of 1 << enum job_kind: jobs that take it */
    const char *default_value; /* JSON; null: the pipeline chooses; NULL: there is none */
    const char *help;          /* one line, no full stop: `quantctl help quantize` prints it */
    const char *hint;          /* with a refusal; may be NULL */
    size_t offset;             /* in struct params; not for choices and aliases */

    /* Limits, for the types that have them. */
    json_int_t least, most;   /* of numbers; bytes of a string */
    bool least_excluded;      /* a number must be above `least` */
    json_int_t step;          /* an integer above 0 must be a multiple of it; 0: any */
    const json_int_t *values; /* the integers that are taken, 0-terminated; NULL: by limits */
    const struct param_choice *choice;

    /* Of an alias: true is `of` = `means`, false is any other. */
    const char *of, *means;
};

/* param_at() - row @i of the table; NULL after the last. */
const struct param *param_at(size_t i);

/* param_find() - the row called @name, or NULL. */
const struct param *param_find(const char *name);

/*
 * param_read() - put @value, which is not null, into @params. A wrong one is refused with the
 * field's name. Not for aliases. Return: 0, -EINVAL or -ENOMEM.
 */
int param_read(const struct param *param, const json_t *value, struct params *params,
               struct failure *failure);

/* param_to_json() - what @params holds, owned by the caller; NULL when out of memory. */
json_t *param_to_json(const struct param *param, const struct params *params);
