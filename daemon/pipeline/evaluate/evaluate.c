// SPDX-License-Identifier: Apache-2.0
/*
 * Perplexity: exp of the mean over windows of the mean negative log likelihood of the tokens
 * 1 .. seqlen-1 of a window, each given those before it. The sets of a job share turns over the
 * layers (turn.h): the windows of a turn go through all layers of the original, when there is one
 * to compare with, then through those of the model, then through the head, set by set. A set is
 * reported as soon as its last window is known.
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
    double *means[PARAMS_EVALS_MAX]; /* [n windows]: mean NLL of each; owned; NULL: not begun */
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
    e.pass.room = turn_chunk(run);
    rest_layout(run, &arena, &e);
    for (int i = 0; i < pass_layers(run); i++)
        failed |= checked_add(total, layer_weights_size(c, act), &total);
    failed |= checked_add(total, outer_weights_size(c, act, true), &total);
    failed |= checked_add(total, arena_size(&arena), &total);
    return failed ? SIZE_MAX : total;
}

size_t evaluate_more_size(const struct run *run, bool compares) {
    size_t more = run->n_evals ? (size_t)(turn_room(run) - turn_chunk(run)) : 0;

    return more * run_window_bytes(run) * (compares ? 2 : 1);
}

/* Windows of a turn: as many as pay, when the device has room for them beside all else. */
static int choose_room(const struct run *run) {
    bool compares = run->original != NULL;
    size_t size = evaluate_size(run) + evaluate_more_size(run, compares);
    struct backend_info info;

    run->b->ops->info(run->b, &info);
    size += compares ? comparison_size(run, run->original->own != NULL) : 0;
    return batch_fits(size, info.memory_free) ? turn_room(run) : turn_chunk(run);
}

static int rest_alloc(struct evaluator *e) {
    size_t T = (size_t)e->run->batch * e->run->seqlen;
    struct arena arena = {};
    int r;

    e->host_nll = calloc(T, sizeof(*e->host_nll));
    e->host_targets = calloc(T, sizeof(*e->host_targets));
    if (!e->host_nll || !e->host_targets)
        return failure_oom(e->run->failure);
    e->pass.room = choose_room(e->run);
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
    for (size_t i = 0; i < ARRAY_SIZE(e->means); i++)
        free(e->means[i]);
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

/* Windows first .. first + count - 1 of @part, a batch. */
static int score(struct evaluator *e, const struct turn_part *part, int first, int count) {
    const struct windows *windows = e->run->evals[part->set].windows;
    const struct model_config *c = e->model.config;
    size_t window = run_window_bytes(e->run);
    struct span x = span_slice(e->pass.x, (part->at + first) * window, count * window);
    int seqlen = e->run->seqlen, T = count * seqlen, d = c->hidden_size, r;
    const struct scored scored = {e->pass.work.normed, e->ends.head, e->nll, e->best, e->targets};
    const float *nll = e->comparison.on ? e->comparison.host_nll : e->host_nll;
    const int32_t *ids = windows->ids + (size_t)(part->first + first) * seqlen;
    double *means = e->means[part->set] + part->first + first;
    struct backend *b = e->b;

    /* The last position of a window has nothing to predict: its target is any token. */
    for (int i = 0; i < T; i++)
        e->host_targets[i] = (i + 1) % seqlen ? ids[i + 1] : 0;
    r = b->ops->upload(b, span_slice(e->targets, 0, T * sizeof(int32_t)), e->host_targets);
    if (!r)
        r = b->ops->rmsnorm(b, e->pass.work.normed, d, x, d, e->ends.norm, T, d, c->rms_norm_eps);
    if (!r)
        r = e->comparison.on ? comparison_score(&e->comparison, &scored, part, first, count)
                             : score_alone(e, T);
    for (int w = 0; w < count && !r; w++) {
        double sum = 0;

        for (int i = 0; i < seqlen - 1; i++)
            sum += (double)nll[w * seqlen + i];
        means[w] = sum / (seqlen - 1);
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
static int add_difference(struct evaluator *e, int i) {
    struct difference *d = &e->comparison.sets[i].difference;
    struct eval_set *set = &e->run->evals[i];
    cleanup(freep) double *means = calloc(d->n_windows, sizeof(*means));
    json_t *difference = NULL;
    double error;
    int r;

    if (!means)
        return failure_oom(e->run->failure);
    for (int w = 0; w < d->n_windows; w++)
        means[w] = d->windows[w].base_nll / d->n_tokens;
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
static int keep_details(struct evaluator *e, int i) {
    cleanup(json_decrefp) json_t *nll = json_array();
    struct eval_set *set = &e->run->evals[i];

    for (int w = 0; w < set->windows->n; w++) {
        if (json_array_append_new(nll, json_real(e->means[i][w])))
            return failure_oom(e->run->failure);
    }
    set->details = json_pack("{s:O}", "nll", nll);
    if (!set->details)
        return failure_oom(e->run->failure);
    return e->comparison.on ? add_difference(e, i) : 0;
}

/* Every window of set @i is known. */
static int finish_set(struct evaluator *e, int i) {
    struct run *run = e->run;
    struct eval_set *set = &run->evals[i];
    int r = run_check_model(run);

    if (!r && e->comparison.on)
        r = original_check(run);
    if (r)
        return r;
    set->result = summarize(set->windows, e->means[i]);
    if (!set->result)
        return failure_set(run->failure, -ERANGE, "not_finite",
                           "the model may be damaged; evaluate it with wbits 16",
                           "the perplexity on '%s' is not a finite number", set->name);
    r = keep_details(e, i);
    if (!r && e->comparison.on)
        r = comparison_end(&e->comparison, i);
    return r ? r : work_keep_eval(run, i);
}

static int score_part(struct evaluator *e, const struct turn_part *part) {
    const struct eval_set *set = &e->run->evals[part->set];
    int last = part->first + part->count, r = 0;
    struct run *run = e->run;

    for (int first = 0; first < part->count && !r; first += run->batch) {
        int some = MIN(run->batch, part->count - first);

        r = run_cancelled(run);
        if (!r)
            r = score(e, part, first, some);
        if (!r)
            r = progress_add(&run->progress, some);
    }
    if (!r)
        r = run_event(run, WIRE_EVENT_EVAL_PROGRESS,
                      json_pack("{s:s s:i s:i}", "set", set->name, "window", last, "windows",
                                set->windows->n));
    return r || last < set->windows->n ? r : finish_set(e, part->set);
}

static int begin_set(struct evaluator *e, int i) {
    e->means[i] = calloc(e->run->evals[i].windows->n, sizeof(*e->means[i]));
    if (!e->means[i])
        return failure_oom(e->run->failure);
    return e->comparison.on ? comparison_begin(&e->comparison, i) : 0;
}

static int evaluate_turn(struct evaluator *e, const struct turn *turn) {
    int r = 0;

    for (int i = 0; i < turn->n_parts && !r; i++)
        r = turn->parts[i].first == 0 ? begin_set(e, turn->parts[i].set) : 0;
    if (!r && e->comparison.on)
        r = comparison_keep(&e->comparison, turn);
    if (!r)
        r = pass_run(&e->pass, &e->model, turn->parts, turn->n_parts);
    for (int i = 0; i < turn->n_parts && !r; i++)
        r = score_part(e, &turn->parts[i]);
    return r;
}

static int evaluate_all(struct evaluator *e) {
    cleanup(turn_done) struct turn turn = {};

    for (;;) {
        int r = turn_next(&turn, e->run, e->pass.room) ? failure_oom(e->run->failure) : 0;

        if (!r && turn.n_parts > 0)
            r = evaluate_turn(e, &turn);
        if (r || turn.n_parts == 0)
            return r;
    }
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
    if (!r)
        r = evaluate_all(&e);
    evaluator_done(&e);
    return r;
}
