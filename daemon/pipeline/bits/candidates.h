// SPDX-License-Identifier: Apache-2.0
/*
 * The matrices of a layer at each candidate, as the job's method makes them of the inputs that the
 * original model gives: Hessians of some calibration windows, without drift and refinement, which
 * would take as long again for each candidate. And how the error of a kind of matrix spreads over
 * the experts. The thread of the backend.
 */
#pragma once

#include "daemon/pipeline/grams.h"
#include "daemon/pipeline/params/units.h"
#include "daemon/pipeline/solver.h"

struct candidates {
    struct run *run;
    int windows; /* that the Hessians are of, from the run's window `first` on */
    int first;
    struct forward_work *work; /* borrowed */
    struct grams grams;
    struct span x;               /* [windows, seqlen, d] act: hidden states */
    struct span batch;           /* [batch, seqlen, d] act: a copy to run ahead with */
    struct layer_weights solved; /* of the last candidate; what is not quantized is not set */
    struct solver solver;
    struct span shared; /* of solver */
    float *errors;      /* [G, rows] of the largest group, on the host; NULL: not asked for */
    /*
     * [experts], on the host: the sum of the squared router weights of the tokens of each expert,
     * which its errors are multiplied with; NULL: not asked for.
     */
    double *weights;
};

/*
 * candidates_windows() - calibration windows that are looked at. They are not the first
 * @measured ones when there are enough without: what is measured on windows that a method has seen
 * looks better than it is.
 */
int candidates_windows(const struct run *run, int measured);

/* candidates_size() - bytes of device memory; SIZE_MAX when they do not fit. */
size_t candidates_size(const struct run *run, int measured);

/* candidates_init() - @work is borrowed. With x the caller sets what the first layer is given. */
int candidates_init(struct candidates *candidates, struct run *run, int measured,
                    struct forward_work *work);
void candidates_done(struct candidates *candidates);

/* candidates_gather() - the Hessians of @layer. */
int candidates_gather(struct candidates *candidates, const struct layer_weights *layer);

/*
 * candidates_solve() - set the matrices of solved to those of @layer at @wbits. @ret_shares
 * [N_GROUPS * GROUP_PARTS_MAX, experts], on the host: of each part of each group, the share of each
 * expert in the error of all; NULL: not asked for.
 */
int candidates_solve(struct candidates *candidates, const struct layer_weights *layer, int wbits,
                     double *ret_shares);

/* candidates_advance() - run the hidden states through @layer. */
int candidates_advance(struct candidates *candidates, const struct layer_weights *layer);
