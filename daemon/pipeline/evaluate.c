// SPDX-License-Identifier: Apache-2.0
/*
 * Perplexity: exp of the mean over windows of the mean negative log likelihood of the tokens
 * 1 .. seqlen-1 of a window, each given those before it. A chunk of windows goes through all
 * layers, then the next; so the layers are read once a chunk.
 */
#include "daemon/pipeline/run.h"

#include "api/wire.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* Hidden states of a chunk, bytes: more on a device whose layers come over a bus. */
#define CHUNK_BYTES ((size_t)256 << 20)
#define CHUNK_BYTES_STREAMED ((size_t)1280 << 20)

struct evaluator {
    struct run *run;
    struct backend *b;
    struct weights_source source;
    struct layer_weights layers[2]; /* the one at work and, when streaming pays, the next */
    bool streams;                   /* it does: the device can, and the layers are plain */
    struct code_memory codes;
    struct outer_weights ends;
    struct forward_work work;
    struct span all;                     /* what follows is in */
    struct span memory;                  /* of work */
    struct span x;                       /* [chunk, seqlen, d] act */
    struct span scratch;                 /* of the head */
    struct span targets, nll, lse, best; /* [batch, seqlen] i32, f32, f32, i32 */
    int chunk;                           /* windows */
    float *host_nll;                     /* [batch, seqlen] */
    int32_t *host_targets;
};

static int chunk_windows(const struct run *run) {
    size_t bytes = run->b->ops->streams ? CHUNK_BYTES_STREAMED : CHUNK_BYTES;
    int longest = 1;

    for (int i = 0; i < run->n_evals; i++)
        longest = MAX(longest, run->evals[i].windows->n);
    return (int)MIN((size_t)longest, MAX(bytes / run_window_bytes(run), (size_t)run->batch));
}

static bool worth_streaming(const struct run *run) {
    return run->b->ops->streams && !run_source(run).quantization->present;
}

/* What is neither layers nor ends. */
static void rest_layout(const struct run *run, struct arena *arena, struct evaluator *e) {
    const struct model_config *c = &run->checkpoint->config;
    size_t T = (size_t)run->batch * run->seqlen;

    if (run_source(run).quantization->present)
        code_memory_take(c, run_source(run).quantization, arena, &e->codes);
    arena_take(arena, &e->memory, 1, 1,
               forward_work_size(c, dtype_size(run->b->ops->act), run->batch * run->seqlen));
    arena_take(arena, &e->x, 1, chunk_windows(run), run_window_bytes(run));
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
    for (int i = 0; i < (worth_streaming(run) ? 2 : 1); i++)
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
    if (r)
        return r;
    rest_layout(e->run, &arena, e);
    r = forward_work_init(&e->run->checkpoint->config, dtype_size(e->b->ops->act), (int)T,
                          e->memory, &e->work);
    return r ? failure_oom(e->run->failure) : 0;
}

static int evaluator_init(struct evaluator *e, struct run *run) {
    const struct model_config *c = &run->checkpoint->config;
    int r = 0;

    *e = (struct evaluator){
        .run = run,
        .b = run->b,
        .source = run_source(run),
        .chunk = chunk_windows(run),
        .streams = worth_streaming(run),
    };
    for (int i = 0; i < (e->streams ? 2 : 1) && !r; i++)
        r = layer_weights_alloc(e->b, c, &e->layers[i]);
    if (!r)
        r = outer_weights_load(e->b, run->checkpoint, true, &e->ends, run->failure);
    return r ? r : rest_alloc(e);
}

static void evaluator_done(struct evaluator *e) {
    e->b->ops->stage_wait(e->b); /* nothing may still read the model or write to its memory */
    e->b->ops->free(e->b, &e->all);
    forward_work_done(&e->work);
    outer_weights_free(e->b, &e->ends);
    for (size_t i = 0; i < ARRAY_SIZE(e->layers); i++)
        layer_weights_free(e->b, &e->layers[i]);
    free(e->host_nll);
    free(e->host_targets);
}

/* The head on @count windows whose hidden states are @x: the mean NLL of each to @ret_means. */
static int score(struct evaluator *e, struct span x, const int32_t *ids, int count,
                 double *ret_means) {
    const struct model_config *c = &e->run->checkpoint->config;
    int seqlen = e->run->seqlen, T = count * seqlen, d = c->hidden_size, r;
    struct backend *b = e->b;

    /* The last position of a window has nothing to predict: its target is any token. */
    for (int i = 0; i < T; i++)
        e->host_targets[i] = (i + 1) % seqlen ? ids[i + 1] : 0;
    r = b->ops->upload(b, span_slice(e->targets, 0, T * sizeof(int32_t)), e->host_targets);
    if (!r)
        r = b->ops->rmsnorm(b, e->work.normed, d, x, d, e->ends.norm, T, d, c->rms_norm_eps);
    if (!r)
        r = b->ops->head(b, e->nll, e->lse, e->best, e->work.normed, e->ends.head, e->targets, T, d,
                         c->vocab_size, e->scratch);
    if (!r)
        r = b->ops->download(b, e->host_nll, span_slice(e->nll, 0, T * sizeof(float)));
    for (int w = 0; w < count && !r; w++) {
        double sum = 0;

        for (int i = 0; i < seqlen - 1; i++)
            sum += e->host_nll[w * seqlen + i];
        ret_means[w] = sum / (seqlen - 1);
    }
    return r;
}

/* Runs @count windows, which are the hidden states e->x, through one layer. */
static int run_layer(struct evaluator *e, const struct layer_weights *layer, int count) {
    struct run *run = e->run;
    size_t window = run_window_bytes(run);

    for (int first = 0; first < count; first += run->batch) {
        int some = MIN(run->batch, count - first), r = run_cancelled(run);

        if (!r)
            r = layer_forward(e->b, &run->checkpoint->config, layer, &e->work,
                              span_slice(e->x, first * window, some * window), some, run->seqlen,
                              NULL);
        if (!r)
            r = e->b->ops->sync(e->b);
        if (!r)
            r = progress_add(&run->progress, some);
        if (r)
            return r;
    }
    return 0;
}

static int stage(struct evaluator *e, int layer) {
    return layer_weights_stage(e->b, &e->source, layer, &e->layers[e->streams ? layer % 2 : 0],
                               &e->codes, e->run->failure);
}

/* All layers over the chunk; where streaming pays, the next one comes while one computes. */
static int run_layers_over(struct evaluator *e, int count) {
    struct run *run = e->run;
    int r = stage(e, 0);

    for (int i = 0; i < run_layers(run) && !r; i++) {
        struct layer_weights *layer = &e->layers[e->streams ? i % 2 : 0];
        bool last = i == run_layers(run) - 1;

        run->progress.layer = i;
        r = layer_weights_ready(e->b, &e->source, i, layer, run->failure);
        if (!r && e->streams && !last)
            r = stage(e, i + 1);
        if (!r)
            r = run_layer(e, layer, count);
        if (!r && !e->streams && !last)
            r = stage(e, i + 1);
    }
    return r;
}

static int run_chunk(struct evaluator *e, const int32_t *ids, int count, double *ret_means) {
    struct run *run = e->run;
    size_t window = run_window_bytes(run);
    int r;

    r = embed_windows(run, e->x, &e->ends, ids, count, run->seqlen);
    if (!r)
        r = run_layers_over(e, count);
    for (int first = 0; first < count && !r; first += run->batch) {
        int some = MIN(run->batch, count - first);

        r = run_cancelled(run);
        if (!r)
            r = score(e, span_slice(e->x, first * window, some * window),
                      ids + (size_t)first * run->seqlen, some, ret_means + first);
        if (!r)
            r = progress_add(&run->progress, some);
    }
    return r;
}

/* The standard error of the mean of the windows, carried through exp. */
static json_t *summarize(const struct windows *windows, const double *means) {
    double mean = 0, variance = 0, value;
    int n = windows->n;

    for (int i = 0; i < n; i++)
        mean += means[i] / n;
    for (int i = 0; i < n; i++)
        variance += n > 1 ? (means[i] - mean) * (means[i] - mean) / (n - 1) : 0;
    value = exp(mean);
    if (!isfinite(value))
        return NULL;
    return json_pack("{s:f s:f s:I s:i s:s}", "value", value, "stderr", value * sqrt(variance / n),
                     "tokens", (json_int_t)n * (windows->seqlen - 1), "windows", n, "sha256",
                     windows->sha256);
}

static int evaluate_set(struct evaluator *e, int i) {
    struct run *run = e->run;
    struct eval_set *set = &run->evals[i];
    struct windows *windows = set->windows;
    cleanup(freep) double *means = calloc(windows->n, sizeof(*means));
    int r;

    if (!means)
        return failure_oom(run->failure);
    for (int first = 0; first < windows->n; first += e->chunk) {
        int count = MIN(e->chunk, windows->n - first);

        r = run_chunk(e, windows->ids + (size_t)first * windows->seqlen, count, means + first);
        if (!r)
            r = run_event(run, WIRE_EVENT_EVAL_PROGRESS,
                          json_pack("{s:s s:i s:i}", "set", set->name, "window", first + count,
                                    "windows", windows->n));
        if (r)
            return r;
    }
    r = run_check_model(run);
    if (r)
        return r;
    set->result = summarize(windows, means);
    if (!set->result)
        return failure_set(run->failure, -ERANGE, "not_finite",
                           "the model may be damaged; evaluate it with wbits 16",
                           "the perplexity on '%s' is not a finite number", set->name);
    return work_keep_eval(run, i);
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
