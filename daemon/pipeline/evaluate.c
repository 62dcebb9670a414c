// SPDX-License-Identifier: Apache-2.0
/*
 * Perplexity: exp of the mean over windows of the mean negative log likelihood of the tokens
 * 1 .. seqlen-1 of a window, each given those before it. A chunk of windows goes through all
 * layers, then the next; so the layers are read once a chunk.
 */
#include "daemon/pipeline/run.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)256 << 20) /* of hidden states */

struct evaluator {
    struct run *run;
    struct backend *b;
    struct olmoe_source source;
    struct olmoe_layer layer;
    struct olmoe_codes codes;
    struct olmoe_ends ends;
    struct olmoe_work work;
    struct span x;                       /* [chunk, seqlen, d] act */
    struct span scratch;                 /* of the head */
    struct span targets, nll, lse, best; /* [batch, seqlen] i32, f32, f32, i32 */
    int chunk;                           /* windows */
    float *host_nll;                     /* [batch, seqlen] */
    int32_t *host_targets;
};

int embed_windows(struct run *run, struct span x, const struct olmoe_ends *ends, const int32_t *ids,
                  int n, int seqlen) {
    const struct model_config *c = &run->checkpoint->config;
    size_t window = (size_t)seqlen * c->hidden_size * dtype_size(run->b->ops->act);
    struct backend *b = run->b;
    struct span device_ids = {};
    int r;

    r = b->ops->alloc(b, (size_t)n * seqlen * sizeof(int32_t), &device_ids);
    if (r)
        return r;
    r = b->ops->upload(b, span_slice(device_ids, 0, (size_t)n * seqlen * sizeof(int32_t)), ids);
    for (int i = 0; i < n && !r; i++)
        r = b->ops->embed(
            b, span_slice(x, i * window, window), ends->embedding,
            span_slice(device_ids, (size_t)i * seqlen * sizeof(int32_t), seqlen * sizeof(int32_t)),
            seqlen, c->hidden_size, c->vocab_size);
    if (!r)
        r = b->ops->sync(b);
    b->ops->free(b, &device_ids);
    return r;
}

static int heads_alloc(struct evaluator *e) {
    const struct model_config *c = &e->run->checkpoint->config;
    size_t T = (size_t)e->run->batch * e->run->seqlen;
    struct backend *b = e->b;
    size_t scratch = b->ops->head_scratch(b, (int)T, c->hidden_size, c->vocab_size);
    int r;

    e->host_nll = calloc(T, sizeof(*e->host_nll));
    e->host_targets = calloc(T, sizeof(*e->host_targets));
    if (!e->host_nll || !e->host_targets)
        return failure_oom(e->run->failure);
    r = b->ops->alloc(b, T * sizeof(int32_t), &e->targets);
    if (!r)
        r = b->ops->alloc(b, T * sizeof(float), &e->nll);
    if (!r)
        r = b->ops->alloc(b, T * sizeof(float), &e->lse);
    if (!r)
        r = b->ops->alloc(b, T * sizeof(int32_t), &e->best);
    if (!r && scratch)
        r = b->ops->alloc(b, scratch, &e->scratch);
    return r;
}

static int evaluator_init(struct evaluator *e, struct run *run) {
    const struct model_config *c = &run->checkpoint->config;
    size_t window = (size_t)run->seqlen * c->hidden_size * dtype_size(run->b->ops->act);
    int r, longest = 0;

    for (int i = 0; i < run->n_evals; i++)
        longest = MAX(longest, run->evals[i].windows->n);
    *e = (struct evaluator){.run = run, .b = run->b, .source = run_source(run)};
    e->chunk = (int)MIN((size_t)longest, MAX(CHUNK_BYTES / window, (size_t)run->batch));
    r = olmoe_layer_alloc(e->b, c, &e->layer);
    if (!r && e->source.quantization->present)
        r = olmoe_codes_alloc(e->b, c, e->source.quantization->groupsize, &e->codes);
    if (!r)
        r = olmoe_ends_load(e->b, run->checkpoint, true, &e->ends, run->failure);
    if (!r)
        r = olmoe_work_alloc(e->b, c, run->batch * run->seqlen, &e->work);
    if (!r)
        r = e->b->ops->alloc(e->b, e->chunk * window, &e->x);
    return r ? r : heads_alloc(e);
}

static void evaluator_done(struct evaluator *e) {
    struct span *spans[] = {&e->targets, &e->nll, &e->lse, &e->best, &e->scratch, &e->x};

    for (size_t i = 0; i < ARRAY_SIZE(spans); i++)
        e->b->ops->free(e->b, spans[i]);
    olmoe_work_free(e->b, &e->work);
    olmoe_ends_free(e->b, &e->ends);
    olmoe_codes_free(e->b, &e->codes);
    olmoe_layer_free(e->b, &e->layer);
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
static int run_layer(struct evaluator *e, int count) {
    struct run *run = e->run;
    size_t window = e->x.size / e->chunk;

    for (int first = 0; first < count; first += run->batch) {
        int some = MIN(run->batch, count - first), r = run_cancelled(run);

        if (!r)
            r = olmoe_layer_forward(e->b, &run->checkpoint->config, &e->layer, &e->work,
                                    span_slice(e->x, first * window, some * window), some,
                                    run->seqlen, NULL);
        if (!r)
            r = e->b->ops->sync(e->b);
        if (!r)
            r = progress_add(run, some);
        if (r)
            return r;
    }
    return 0;
}

static int run_chunk(struct evaluator *e, const int32_t *ids, int count, double *ret_means) {
    struct run *run = e->run;
    size_t window = e->x.size / e->chunk;
    int r;

    r = embed_windows(run, e->x, &e->ends, ids, count, run->seqlen);
    for (int i = 0; i < run_layers(run) && !r; i++) {
        run->progress.layer = i;
        r = olmoe_layer_load(e->b, &e->source, i, &e->layer, &e->codes, run->failure);
        if (!r)
            r = run_layer(e, count);
    }
    for (int first = 0; first < count && !r; first += run->batch) {
        int some = MIN(run->batch, count - first);

        r = run_cancelled(run);
        if (!r)
            r = score(e, span_slice(e->x, first * window, some * window),
                      ids + (size_t)first * run->seqlen, some, ret_means + first);
        if (!r)
            r = progress_add(run, some);
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
    json_t *event;
    int r;

    if (!means)
        return failure_oom(run->failure);
    for (int first = 0; first < windows->n; first += e->chunk) {
        int count = MIN(e->chunk, windows->n - first);

        r = run_chunk(e, windows->ids + (size_t)first * windows->seqlen, count, means + first);
        if (!r)
            r = run_event(run, "eval.progress",
                          json_pack("{s:s s:i s:i}", "set", set->name, "window", first + count,
                                    "windows", windows->n));
        if (r)
            return r;
    }
    set->result = summarize(windows, means);
    if (!set->result)
        return failure_set(run->failure, -ERANGE, "not_finite",
                           "the model may be damaged; evaluate it with wbits 16",
                           "the perplexity on '%s' is not a finite number", set->name);
    r = work_keep_eval(run, i);
    if (r)
        return r;
    event = json_copy(set->result);
    json_object_set_new(event, "perplexity", json_incref(json_object_get(event, "value")));
    json_object_del(event, "value");
    json_object_set_new(event, "set", json_string(set->name));
    return run_event(run, "eval.finished", event);
}

int evaluate_sets(struct run *run) {
    struct evaluator e;
    int r, left = 0;

    for (int i = 0; i < run->n_evals; i++)
        left += run->evals[i].result == NULL;
    if (left == 0)
        return 0;
    r = progress_phase(run, PHASE_EVALUATE);
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
