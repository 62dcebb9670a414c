// SPDX-License-Identifier: Apache-2.0
/*
 * How a quantized model's predictions differ from the original's, token by token, on the windows
 * of one set. Sums are in double, in the order of the windows. Any thread; one at a time.
 */
#pragma once

#include "base/cleanup.h"

#include <jansson.h>
#include <stdint.h>

/* Sums over the tokens of one window, of which the first has no prediction. */
struct window_sums {
    double base_nll, nll;  /* nats: of the original, of the quantized model */
    double kl;             /* nats */
    double dp, dp_squared; /* change of the probability of the token that came */
    double same;           /* tokens of which both give the same one most probability */
};

struct difference {
    int n_windows, n_tokens;     /* n_tokens: predictions of a window, seqlen - 1 */
    struct window_sums *windows; /* [n_windows]; owned */
    float *kl;                   /* [n_windows, n_tokens]; owned */
};

/* What both models say of the tokens of one window; all [n_tokens], borrowed. */
struct predictions {
    const float *base_nll, *nll, *kl;
    const int32_t *base_best, *best;
};

/* difference_init() - for @n_windows of @seqlen tokens. Return: 0 or -ENOMEM. */
int difference_init(struct difference *difference, int n_windows, int seqlen);
void difference_done(struct difference *difference); /* a zeroed one is fine */

/* difference_add() - take in window @window. */
void difference_add(struct difference *difference, int window, const struct predictions *tokens);

/*
 * difference_summarize() - what is known once every window was added; sorts difference->kl.
 * Errors are standard errors of a mean of windows; percentiles are linear between tokens. The
 * caller owns *ret_json: {log_ratio, log_ratio_stderr, kl_mean, kl_stderr, kl_p50, kl_p90, kl_p95,
 * kl_p99, kl_p999, kl_max, same_top, same_top_stderr, rms_dp, mean_dp, tokens}.
 * Return: 0; -ERANGE: a figure is not finite; or -ENOMEM.
 */
int difference_summarize(struct difference *difference, json_t **ret_json);
