// SPDX-License-Identifier: Apache-2.0
/*
 * A knapsack by dynamic programming: best[i][b] is the least divergence of the first i units with
 * at most b steps of bits above the fewest candidate. A step is the greatest common divisor of the
 * units' sizes, or coarser where there would be too many steps; then sizes are rounded up, so that
 * a budget is never exceeded.
 */
#include "daemon/pipeline/bits/choose.h"

#include "base/cleanup.h"
#include "base/macros.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CELLS_MAX ((size_t)32 << 20)

struct choices {
    const struct choice_unit *units; /* borrowed */
    int bits[UNIT_BITS_MAX];
    int n_units, n_bits;
    double weights; /* of all units */
    double step;    /* weights times bits */
    size_t n_steps; /* budgets: 0 .. n_steps - 1 */
    uint8_t *taken; /* [n_units, n_steps]: the candidate of the unit, in the best choice */
};

void choices_free(struct choices *choices) {
    if (!choices)
        return;
    free(choices->taken);
    free(choices);
}

DEFINE_CLEANUP(struct choices *, choices_freep, choices_free)

static double common_divisor(double a, double b) {
    while (b > 0) {
        double rest = fmod(a, b);

        a = b;
        b = rest;
    }
    return a;
}

/* Steps that candidate @c of @unit takes beyond the fewest bits. */
static size_t cost(const struct choices *choices, const struct choice_unit *unit, int c) {
    return (size_t)ceil(unit->weights * (choices->bits[c] - choices->bits[0]) / choices->step);
}

/* Adds @unit to the best of the units before it: @best [n_steps], in place. */
static void add_unit(const struct choices *choices, const struct choice_unit *unit, double *best,
                     uint8_t *taken) {
    for (size_t b = choices->n_steps; b-- > 0;) {
        double least = best[b] + unit->kl[0];

        taken[b] = 0;
        for (int c = 1; c < choices->n_bits; c++) {
            size_t steps = cost(choices, unit, c);

            if (steps > b || best[b - steps] + unit->kl[c] >= least)
                continue;
            least = best[b - steps] + unit->kl[c];
            taken[b] = (uint8_t)c;
        }
        best[b] = least;
    }
}

int choices_make(const struct choice_unit *units, int n_units, const int *bits, int n_bits,
                 struct choices **ret_choices) {
    cleanup(choices_freep) struct choices *choices = calloc(1, sizeof(*choices));
    cleanup(freep) double *best = NULL;
    size_t most = MAX(CELLS_MAX / (size_t)n_units, 4 * (size_t)n_units);
    double all, divisor = 0;

    if (!choices)
        return -ENOMEM;
    choices->units = units;
    choices->n_units = n_units;
    choices->n_bits = n_bits;
    memcpy(choices->bits, bits, n_bits * sizeof(*bits));
    for (int i = 0; i < n_units; i++) {
        choices->weights += units[i].weights;
        divisor = common_divisor(units[i].weights, divisor);
    }
    all = choices->weights * (bits[n_bits - 1] - bits[0]);
    choices->step = MAX(divisor, all / (double)(most - (size_t)n_units - 1));
    choices->n_steps = (size_t)(all / choices->step) + (size_t)n_units + 1;
    choices->taken = malloc((size_t)n_units * choices->n_steps);
    best = calloc(choices->n_steps, sizeof(*best));
    if (!choices->taken || !best)
        return -ENOMEM;
    for (int i = 0; i < n_units; i++)
        add_unit(choices, &units[i], best, choices->taken + (size_t)i * choices->n_steps);
    *ret_choices = steal_ptr(choices);
    return 0;
}

double choices_at(const struct choices *choices, double target, uint8_t *ret_choice) {
    double budget = choices->weights * (target - choices->bits[0]) / choices->step, kl = 0;
    /* What rounding took from a whole number of steps is no reason to lose one. */
    size_t b = (size_t)MAX(floor(budget * (1 + 1e-12) + 1e-9), 0);

    b = MIN(b, choices->n_steps - 1);
    for (int i = choices->n_units - 1; i >= 0; i--) {
        const struct choice_unit *unit = &choices->units[i];

        ret_choice[i] = choices->taken[(size_t)i * choices->n_steps + b];
        kl += unit->kl[ret_choice[i]];
        b -= cost(choices, unit, ret_choice[i]);
    }
    return kl;
}
