// SPDX-License-Identifier: Apache-2.0
/*
 * The methods by which a weight is put on its grid, one row each. A method knows the problem it
 * is given and the backend; nothing of runs, files or events.
 */
#pragma once

#include "daemon/pipeline/methods/problem.h"

/* The most elements of each array of struct method_memory over all groups. */
struct method_need {
    size_t u, perm, p, before, after; /* elements */
    size_t scratch;                   /* bytes */
};

/* What a person reads of a stack that did not go as asked for. */
struct notice {
    const char *code; /* of the job.warning: snake_case, stable */
    char text[256];   /* follows the name of the matrix */
};

struct method_ops {
    const char *name;  /* the value of the parameter `method` */
    const char *title; /* what the name stands for, in a line */
    bool needs_hessians;
    int solve_units;  /* what the solver costs a layer, in windows through a layer */
    int refine_units; /* what each sweep that is asked for adds, in all its rounds */

    /* Raise *need to what @p takes, of which b, shape, grid, n_groups and options are set. */
    void (*need)(const struct problem *p, struct method_need *need);
    /* Fill q, dq and every outcome of @p. Return: 0 or -errno; the reason is @p's or @p->b's. */
    int (*solve)(struct problem *p);
    /* Is there something to say of stack @g of a solved problem? Then *ret_notice says it. */
    bool (*explain)(const struct problem *p, int g, struct notice *ret_notice);
};

extern const struct method_ops method_gptq;
extern const struct method_ops method_rtn;

/* methods - all that a job can ask for. */
extern const struct method_ops *const methods[];
extern const size_t n_methods;

/* method_solve_units() - what a layer costs with @refine sweeps, in windows through a layer. */
int method_solve_units(const struct method_ops *method, int refine);

/* method_find() - the method called @name, or NULL; @name NULL is fine. Any thread. */
const struct method_ops *method_find(const char *name);

/* rtn_stack() - round stack @g to nearest: what a method falls back to. Return: 0 or -errno. */
int rtn_stack(struct problem *p, int g);
