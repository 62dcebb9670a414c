// SPDX-License-Identifier: Apache-2.0
/*
 * Perplexity: exp of the mean over windows of the mean negative log likelihood of the tokens
 * 1 .. seqlen-1 of a window, each given those before it. A chunk of windows goes through all
 * layers, then the next; so the layers are read once a chunk. When there is an original to compare
 * with, the chunk goes through it first.
 */
#include "daemon/pipeline/evaluate/comparison.h"
#include "daemon/pipeline/evaluate/original.h"
#include "daemon/pipeline/evaluate/pass.h"

#include "api/wire.h"

#include <errno.h>
#include <math.h>
#include <string.h>

struct evaluator {
    struct run *run;
    struct backend *b;
    struct pass pass;
    struct eval_model model;
    struct outer_weights ends;
    struct comparison comparison;
    struct span all;                     /* what follows is in, and memory of the pass */
    struct span scratch;                 /* of the head */
    struct span targets, nll, lse, best; /* [batch, seqlen] i32, f32, f32, i32 */
    float *host_nll;                     /* [batch, seqlen] */
    int32_t *host_targets;
};

/* What is neither layers nor ends. */
static void rest_layout(const struct run *run, struct arena *arena, struct evaluator *e) {
    const struct model_config *c = &run->checkpoint->config;
    size_t T = (size_t)run->batch * run->seqlen;

    pass_take(run, arena, &e->pass);
    arena_take(arena, &e->targets, sizeof(int32_t), 1, T);
    arena_take(arena, &e->nll, sizeof(float), 1, T);
    arena_take(arena, &e->lse, sizeof(float), 1, T);
    arena_take(arena, &e->best, sizeof(int32_t), 1, T);
    arena_take(arena, &e->scratch, 1, 1,
               run->b->ops->head_scratch(run->b, (int)T, c->hidden_size, c->vocab_size));
}

size_t evaluate_size(const struct run *run) {
    const struct model_config *c = &run->checkpoint->config;
    size_t act = dtype_size(run->b->ops->act), total = 0;
    struct evaluator e = {};
    struct arena arena = {};
    bool failed = false;

    if (run->n_evals == 0)
        return 0;
    rest_layout(run, &arena, &e);
    for (int i = 0; i < pass_layers(run); i++)
        failed |= checked_add(total, layer_weights_size(c, act), &total);
    failed |= checked_add(total, outer_weights_size(c, act, true), &total);
    failed |= checked_add(total, arena_size(&arena), &total);
    return failed ? SIZE_MAX : total;
}

static int rest_alloc(struct evaluator *e) {
    size_t T = (size_t)e->run->batch * e->run->seqlen;
    struct arena arena = {};
    int r;

    e->host_nll = calloc(T, sizeof(*e->host_nll));
    e->host_targets = calloc(T, sizeof(*e->host_targets));
    if (!e->host_nll || !e->host_targets)
        return failure_oom(e->run->failure);
    rest_layout(e->run, &arena, e);
    r = arena_alloc(e->b, &arena, &e->all);
    if (!r)
        rest_layout(e->run, &arena, e);
    return r;
}

static int evaluator_init(struct evaluator *e, struct run *run) {
    int r;

    *e = (struct evaluator){
        .run = run,
        .b = run->b,
        .model = {&run->checkpoint->config, run_source(run), &e->ends},
    };
    r = rest_alloc(e);
    if (!r)
        r = pass_init(&e->pass, run);
    if (!r)
        r = outer_weights_load(e->b, run->checkpoint, true, run_rounds_ends(run), &e->ends,
                               run->failure);
    return r ? r : comparison_init(&e->comparison, &e->pass, &e->ends);
}

static void evaluator_done(struct evaluator *e) {
    comparison_done(&e->comparison);
    pass_done(&e->pass);
    e->b->ops->free(e->b, &e->all);
    outer_weights_free(e->b, &e->ends);
    free(e->host_nll);
    free(e->host_targets);
}

/* The head alone on @T tokens whose normed states are in the pass's memory. */
static int score_alone(struct evaluator *e, int T) {
    const struct model_config *c = e->model.config;
    struct backend *b = e->b;
    int r = b->ops->head(b, e->nll, e->lse, e->best, e->pass.work.normed, e->ends.head, e->targets,
                         T, c->hidden_size, c->vocab_size, e->scratch);

    return r ? r : b->ops->download(b, e->host_nll, span_slice(e->nll, 0, T * sizeof(float)));
}

/* Windows first .. first + count - 1 of the chunk, whose window 0 is @number of the set. */
static int score(struct evaluator *e, const int32_t *ids, int first, int number, int count,
                 double *ret_means) {
    const struct model_config *c = e->model.config;
    size_t window = run_window_bytes(e->run);
    struct span x = span_slice(e->pass.x, first * window, count * window);
    int seqlen = e->run->seqlen, T = count * seqlen, d = c->hidden_size, r;
    const struct scored scored = {e->pass.work.normed, e->ends.head, e->nll, e->best, e->targets};
    const float *nll = e->comparison.on ? e->comparison.host_nll : e->host_nll;
    struct backend *b = e->b;

    /* The last position of a window has nothing to predict: its target is any token. */
    for (int i = 0; i < T; i++)
        e->host_targets[i] = (i + 1) % seqlen ? ids[i + 1] : 0;
    r = b->ops->upload(b, span_slice(e->targets, 0, T * sizeof(int32_t)), e->host_targets);
    if (!r)
        r = b->ops->rmsnorm(b, e->pass.work.normed, d, x, d, e->ends.norm, T, d, c->rms_norm_eps);
    if (!r)
        r = e->comparison.on
                ? comparison_score(&e->comparison, &scored, first, number + first, count)
                : score_alone(e, T);
    for (int w = 0; w < count && !r; w++) {
        double sum = 0;

        for (int i = 0; i < seqlen - 1; i++)
            sum += (double)nll[w * seqlen + i];
        ret_means[w] = sum / (seqlen - 1);
    }
    return r;
}

/* Windows number .. number + count - 1 of a set. */
static int run_chunk(struct evaluator *e, const struct windows *windows, int number, int count,
                     double *means) {
    const int32_t *ids = windows->ids + (size_t)number * windows->seqlen;
    struct run *run = e->run;
    int r = 0;

    if (e->comparison.on)
        r = comparison_keep(&e->comparison, ids, number, count);
    if (!r)
        r = pass_run(&e->pass, &e->model, ids, count);
    for (int first = 0; first < count && !r; first += run->batch) {
        int some = MIN(run->batch, count - first);

        r = run_cancelled(run);
        if (!r)
            r = score(e, ids + (size_t)first * run->seqlen, first, number, some,
                      means + number + first);
        if (!r)
            r = progress_add(&run->progress, some);
    }
    return r;
}

/* The perplexity of @n windows, and the standard error of their mean, carried through exp. */
static double perplexity(const double *means, int n, double *ret_error) {
    double mean = 0, variance = 0;

    for (int i = 0; i < n; i++)
        mean += means[i] / n;
    for (int i = 0; i < n; i++)
        variance += n > 1 ? (means[i] - mean) * (means[i] - mean) / (n - 1) : 0;
    *ret_error = exp(mean) * sqrt(variance / n);
    return exp(mean);
}

static json_t *summarize(const struct windows *windows, const double *means) {
    int n = windows->n;
    double error, value = perplexity(means, n, &error);

    if (!isfinite(value))
        return NULL;
    return json_pack("{s:f s:f s:I s:i s:s}", "value", value, "stderr", error, "tokens",
                     (json_int_t)n * (windows->seqlen - 1), "windows", n, "sha256",
                     windows->sha256);
}

/* The original's perplexity comes from its pass. */
static int add_difference(struct evaluator *e, struct eval_set *set) {
    struct difference *d = &e->comparison.difference;
    cleanup(freep) double *means = calloc(d->n_windows, sizeof(*means));
    json_t *difference = NULL;
    double error;
    int r;

    if (!means)
        return failure_oom(e->run->failure);
    for (int i = 0; i < d->n_windows; i++)
        means[i] = d->windows[i].base_nll / d->n_tokens;
    r = difference_summarize(d, &difference);
    if (r == -ERANGE) {
        original_drop(e->run, "the original's predictions on '%s' are not finite", set->name);
        e->comparison.on = false;
        return 0;
    }
    if (r || json_object_set_new(set->details, "difference", difference) ||
        json_object_set_new(set->details, "baseline",
                            json_real(perplexity(means, d->n_windows, &error))))
        return failure_oom(e->run->failure);
    return 0;
}

/* set->details: the mean NLL of each window, and what the comparison gave. */
static int keep_details(struct evaluator *e, struct eval_set *set, const double *means) {
    cleanup(json_decrefp) json_t *nll = json_array();

    for (int i = 0; i < set->windows->n; i++) {
        if (json_array_append_new(nll, json_real(means[i])))
            return failure_oom(e->run->failure);
    }
    set->details = json_pack("{s:O}", "nll", nll);
    if (!set->details)
        return failure_oom(e->run->failure);
    return e->comparison.on ? add_difference(e, set) : 0;
}

static int evaluate_set(struct evaluator *e, int i) {
    struct run *run = e->run;
    struct eval_set *set = &run->evals[i];
    struct windows *windows = set->windows;
    cleanup(freep) double *means = calloc(windows->n, sizeof(*means));
    int r;

    if (!means)
        return failure_oom(run->failure);
    r = e->comparison.on ? comparison_begin(&e->comparison, windows) : 0;
    for (int first = 0; first < windows->n && !r; first += e->pass.chunk) {
        int count = MIN(e->pass.chunk, windows->n - first);

        r = run_chunk(e, windows, first, count, means);
        if (!r)
            r = run_event(run, WIRE_EVENT_EVAL_PROGRESS,
                          json_pack("{s:s s:i s:i}", "set", set->name, "window", first + count,
                                    "windows", windows->n));
    }
    if (!r)
        r = run_check_model(run);
    if (!r && e->comparison.on)
        r = original_check(run);
    if (r)
        return r;
    set->result = summarize(windows, means);
    if (!set->result)
        return failure_set(run->failure, -ERANGE, "not_finite",
                           "the model may be damaged; evaluate it with wbits 16",
                           "the perplexity on '%s' is not a finite number", set->name);
    r = keep_details(e, set, means);
    if (!r && e->comparison.on)
        r = comparison_end(&e->comparison);
    return r ? r : work_keep_eval(run, i);
}

int evaluate_sets(struct run *run) {
    struct evaluator e;
    int r, left = 0;

    for (int i = 0; i < run->n_evals; i++)
        left += run->evals[i].result == NULL;
    if (left == 0)
        return 0;
    r = progress_phase(&run->progress, PHASE_EVALUATE);
    if (r)
        return r;
    r = evaluator_init(&e, run);
    for (int i = 0; i < run->n_evals && !r; i++) {
        if (!run->evals[i].result)
            r = evaluate_set(&e, i);
    }
    evaluator_done(&e);
    return r;
}
