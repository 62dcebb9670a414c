// SPDX-License-Identifier: Apache-2.0
/*
 * Which bits for which matrices: the choice of least predicted divergence among those that a budget
 * allows. Pure functions; any thread.
 */
#pragma once

#include "daemon/pipeline/params/units.h"

#include <stdint.h>

/* Matrices that get the same bits. */
struct choice_unit {
    double weights;           /* how many; at least 1 */
    double kl[UNIT_BITS_MAX]; /* the divergence that each candidate alone causes, nats */
};

struct choices; /* the best for every budget */

/*
 * choices_make() - for @n_units units and the candidates @bits [n_bits], which grow. Divergences
 * add up, by assumption. The caller owns *ret_choices. Return: 0 or -ENOMEM.
 */
int choices_make(const struct choice_unit *units, int n_units, const int *bits, int n_bits,
                 struct choices **ret_choices);
void choices_free(struct choices *choices); /* NULL is fine */

/*
 * choices_at() - the choice of least divergence whose mean bits a weight are at most @target, which
 * is at least the fewest candidate: @ret_choice [n_units] gets places in @bits. Return: its
 * divergence.
 */
double choices_at(const struct choices *choices, double target, uint8_t *ret_choice);
