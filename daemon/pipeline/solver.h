// SPDX-License-Identifier: Apache-2.0
/*
 * Puts the matrices of one group on their grids by the job's method, reports them and keeps the
 * result. The thread of the backend.
 */
#pragma once

#include "daemon/pipeline/keep.h"
#include "daemon/pipeline/report.h"

/*
 * Device memory that serves every group in turn; nothing in it lasts beyond the layer, but for what
 * the keeper has, which is fetched while the next thing is computed.
 */
struct solver {
    struct code_memory codes;
    struct keeper keeper;
    struct span dq; /* [G, rows, n] act */
    struct method_memory memory;
    struct error_memory error;
};

/* solver_size() - bytes of device memory; SIZE_MAX when they do not fit. */
size_t solver_size(const struct run *run);
/*
 * solver_init() - lay it out in @memory of solver_size() bytes, and @kept of keeper_size(), which
 * are borrowed.
 */
void solver_init(struct solver *solver, const struct run *run, struct span memory,
                 struct span kept);

/* solver_begin_layer() - the layer before has been fetched: its memory may be used again. */
void solver_begin_layer(struct solver *solver);

/*
 * solver_group() - quantize @group of @layer: its matrices in @weights become what the grid can
 * say, their codes and grids go to @kept and a report of each to the array @matrices. The codes
 * are there after the next fetch_wait(). @gram is NULL when the method needs no Hessians. Return: 0
 * or -errno.
 */
int solver_group(struct solver *solver, struct run *run, int layer, enum group group,
                 struct span weights, const struct gram *gram, struct kept_layer *kept,
                 json_t *matrices);

/*
 * solver_try() - put all matrices of @group on grids of @wbits by the job's method, without drift
 * and refinement: @ret_weights [G, rows, n] act is what the grids can say of @weights. Nothing is
 * reported or kept. @ret_errors [G, rows], on the host: the squared error of each row's outputs,
 * summed over the tokens of @gram; NULL: not asked for. Return: 0 or -errno.
 */
int solver_try(struct solver *solver, struct run *run, enum group group, int wbits,
               struct span weights, const struct gram *gram, struct span ret_weights,
               float *ret_errors);
