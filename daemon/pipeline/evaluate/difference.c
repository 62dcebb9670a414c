// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/evaluate/difference.h"

#include "base/macros.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

int difference_init(struct difference *difference, int n_windows, int seqlen) {
    *difference = (struct difference){.n_windows = n_windows, .n_tokens = seqlen - 1};
    difference->windows = calloc(n_windows, sizeof(*difference->windows));
    difference->kl = calloc((size_t)n_windows * difference->n_tokens, sizeof(*difference->kl));
    if (difference->windows && difference->kl)
        return 0;
    difference_done(difference);
    return -ENOMEM;
}

void difference_done(struct difference *difference) {
    free(difference->windows);
    free(difference->kl);
    *difference = (struct difference){};
}

void difference_add(struct difference *difference, int window, const struct predictions *tokens) {
    float *kl = difference->kl + (size_t)window * difference->n_tokens;
    struct window_sums sums = {};

    for (int i = 0; i < difference->n_tokens; i++) {
        double base = (double)tokens->base_nll[i], nll = (double)tokens->nll[i];
        double dp = exp(-nll) - exp(-base);

        sums.base_nll += base;
        sums.nll += nll;
        sums.kl += (double)tokens->kl[i];
        sums.dp += dp;
        sums.dp_squared += dp * dp;
        sums.same += tokens->base_best[i] == tokens->best[i];
        kl[i] = tokens->kl[i];
    }
    difference->windows[window] = sums;
}

/* A mean over windows, and its standard error. */
struct estimate {
    double mean, error;
};

/* Of the figure @of a window, for each token of it. */
static struct estimate estimate(const struct difference *d,
                                double (*of)(const struct window_sums *window)) {
    struct estimate e = {};
    double squares = 0;
    int n = d->n_windows;

    for (int i = 0; i < n; i++)
        e.mean += of(&d->windows[i]) / d->n_tokens / n;
    for (int i = 0; i < n; i++) {
        double off = of(&d->windows[i]) / d->n_tokens - e.mean;

        squares += off * off;
    }
    e.error = n > 1 ? sqrt(squares / (n - 1) / n) : 0;
    return e;
}

static double log_ratio(const struct window_sums *window) {
    return window->nll - window->base_nll;
}

static double divergence(const struct window_sums *window) {
    return window->kl;
}

static double same_top(const struct window_sums *window) {
    return window->same;
}

static double change(const struct window_sums *window) {
    return window->dp;
}

static double squared_change(const struct window_sums *window) {
    return window->dp_squared;
}

static int compare(const void *a, const void *b) {
    const float *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* Of @n sorted values, linear between the two nearest. */
static double percentile(const float *sorted, size_t n, double share) {
    double at = share * (double)(n - 1);
    size_t low = (size_t)at, high = MIN(low + 1, n - 1);

    return (double)sorted[low] + (at - (double)low) * ((double)sorted[high] - (double)sorted[low]);
}

int difference_summarize(struct difference *d, json_t **ret_json) {
    struct estimate ratio = estimate(d, log_ratio), kl = estimate(d, divergence);
    struct estimate same = estimate(d, same_top);
    size_t n = (size_t)d->n_windows * d->n_tokens;
    double rms = sqrt(estimate(d, squared_change).mean);

    for (size_t i = 0; i < n; i++) {
        if (!isfinite(d->kl[i]))
            return -ERANGE;
    }
    if (!isfinite(ratio.mean))
        return -ERANGE;
    qsort(d->kl, n, sizeof(*d->kl), compare);
    *ret_json =
        json_pack("{s:f s:f s:f s:f s:f s:f s:f s:f s:f s:f s:f s:f s:f s:f s:I}", "log_ratio",
                  ratio.mean, "log_ratio_stderr", ratio.error, "kl_mean", kl.mean, "kl_stderr",
                  kl.error, "kl_p50", percentile(d->kl, n, 0.5), "kl_p90",
                  percentile(d->kl, n, 0.9), "kl_p95", percentile(d->kl, n, 0.95), "kl_p99",
                  percentile(d->kl, n, 0.99), "kl_p999", percentile(d->kl, n, 0.999), "kl_max",
                  (double)d->kl[n - 1], "same_top", same.mean, "same_top_stderr", same.error,
                  "rms_dp", rms, "mean_dp", estimate(d, change).mean, "tokens", (json_int_t)n);
    return *ret_json ? 0 : -ENOMEM;
}
