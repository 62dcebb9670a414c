// SPDX-License-Identifier: Apache-2.0
/* Each weight goes to the nearest point of its grid. */
#include "daemon/pipeline/methods/method.h"

static void need_nothing(const struct problem *p, struct method_need *need) {
    (void)p, (void)need;
}

/* The grid that was asked for, by the search that needs no Hessian. */
static struct grid grid_alone(const struct problem *p) {
    struct grid grid = p->grid;

    if (grid.fit == GRID_HESSIAN)
        grid.fit = GRID_MSE;
    return grid;
}

int rtn_stack(struct problem *p, int g) {
    struct quantized q = quantized_of(p, g);
    struct grid grid = grid_alone(p);

    p->outcomes[g].method = &method_rtn;
    return p->b->ops->rtn(p->b, &q, weights_of(p, p->dq, g), weights_of(p, p->weights, g), &grid, 1,
                          p->shape.rows, p->shape.n);
}

static int rtn_solve(struct problem *p) {
    const struct group_shape *shape = &p->shape;
    struct grid grid = grid_alone(p);

    for (int g = 0; g < shape->G; g++)
        p->outcomes[g].method = &method_rtn;
    return p->b->ops->rtn(p->b, &p->q, p->dq, p->weights, &grid, shape->G, shape->rows, shape->n);
}

static bool rtn_explain(const struct problem *p, int g, struct notice *ret_notice) {
    (void)p, (void)g, (void)ret_notice;
    return false;
}

const struct method_ops method_rtn = {
    .name = "rtn",
    .title = "round to nearest, without calibration",
    .needs_hessians = false,
    .solve_units = 64,
    .need = need_nothing,
    .solve = rtn_solve,
    .explain = rtn_explain,
};
