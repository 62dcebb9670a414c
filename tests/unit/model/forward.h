// SPDX-License-Identifier: Apache-2.0
/*
 * Runs one window of tokens through a model on the cpu backend and holds all that can be seen of
 * it to a file of reference figures:
 *   ids [T]; nll [T - 1]; mean_nll; argmax [T]; logsumexp [T]; logits [T][some];
 *   hidden_l2 [layers + 1][T]: of the embedding, after each layer, the last after the final norm
 */
#pragma once

#include "base/json.h"
#include "daemon/model/arch/forward.h"
#include "daemon/model/weights.h"
#include "kernels/backend.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define LOGIT_TOLERANCE 1e-3 /* absolute, of logits and what is made of them */
#define MEAN_TOLERANCE 1e-4  /* absolute, of the mean NLL */
#define NORM_TOLERANCE 1e-4  /* relative, of the norm of a hidden state */

struct forward {
    const json_t *expected;
    struct checkpoint *checkpoint;
    struct backend *b;
    const struct backend_ops *ops;
    struct weights_source source;
    struct layer_weights layer;
    struct code_memory codes;
    struct outer_weights ends;
    struct forward_work work;
    struct span x, ids, targets, nll, lse, best, logits, scratch, memory;
    int32_t *host; /* [T] ids, then [T] the next ones */
    int T, d, n_logits;
};

#define forward_ok(call)                                                                           \
    do {                                                                                           \
        int _r = (call);                                                                           \
        if (_r)                                                                                    \
            fail_msg("%s: %d %s %s", #call, _r, failure.detail, f->ops->failure(f->b)->detail);    \
    } while (0)

static inline double forward_number(const struct forward *f, const char *key, int i) {
    json_t *value = json_array_get(json_object_get(f->expected, key), i);

    assert_true(json_is_number(value));
    return json_number_value(value);
}

static inline void forward_expect(double value, double expected, double tolerance, const char *what,
                                  int i) {
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%s %d: %.7g, not %.7g", what, i, value, expected);
}

static inline void forward_open(struct forward *f, const char *dir, const json_t *expected) {
    const json_t *ids = json_object_get(expected, "ids");
    struct failure failure = {};

    *f = (struct forward){.expected = expected, .ops = &backend_cpu};
    f->T = (int)json_array_size(ids);
    f->n_logits =
        (int)json_array_size(json_array_get(json_object_get(expected, "logits_first8"), 0));
    assert_true(f->T > 1 && f->n_logits > 0);
    forward_ok(f->ops->open(0, &f->b, &failure));
    if (checkpoint_open(NULL, dir, &f->checkpoint, &failure))
        fail_msg("%s: %s", dir, failure.detail);
    f->d = f->checkpoint->config.hidden_size;
    f->source = (struct weights_source){f->checkpoint, &f->checkpoint->config.quantization, NULL};
    f->host = calloc(2 * f->T, sizeof(*f->host));
    assert_non_null(f->host);
    for (int i = 0; i < f->T; i++)
        f->host[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    memcpy(f->host + f->T, f->host + 1, (f->T - 1) * sizeof(*f->host));
}

static inline void forward_alloc(struct forward *f) {
    const struct model_config *c = &f->checkpoint->config;
    size_t T = f->T, scratch = f->ops->head_scratch(f->b, f->T, f->d, c->vocab_size);
    size_t work = forward_work_size(c, sizeof(float), f->T);
    struct arena sizing = {}, arena = {};
    struct failure failure = {};
    const struct {
        struct span *span;
        size_t size;
    } all[] = {
        {&f->x, T * f->d * sizeof(float)},
        {&f->ids, T * sizeof(int32_t)},
        {&f->targets, T * sizeof(int32_t)},
        {&f->nll, T * sizeof(float)},
        {&f->lse, T * sizeof(float)},
        {&f->best, T * sizeof(int32_t)},
        {&f->scratch, MAX(scratch, 1)},
        {&f->memory, work},
        {&f->logits, T * f->n_logits * sizeof(float)},
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        forward_ok(f->ops->alloc(f->b, all[i].size, all[i].span));
        all[i].span->size = all[i].size;
    }
    forward_ok(layer_weights_alloc(f->b, c, &f->layer));
    if (c->quantization.present) {
        code_memory_take(c, &c->quantization, &sizing, &f->codes);
        forward_ok(arena_alloc(f->b, &sizing, &arena.all));
        code_memory_take(c, &c->quantization, &arena, &f->codes);
    }
    forward_ok(outer_weights_load(f->b, f->checkpoint, true, false, &f->ends, &failure));
    forward_ok(forward_work_init(c, sizeof(float), f->T, f->memory, &f->work));
    forward_ok(f->ops->upload(f->b, f->ids, f->host));
    forward_ok(f->ops->upload(f->b, f->targets, f->host + f->T));
}

/* Every token's hidden state, as it is now, against row @at of hidden_l2. */
static inline void forward_check_norms(struct forward *f, int at) {
    const json_t *row = json_array_get(json_object_get(f->expected, "hidden_l2"), at);
    cleanup(freep) float *x = malloc(f->x.size);
    struct failure failure = {};

    assert_non_null(x);
    forward_ok(f->ops->download(f->b, x, f->x));
    for (int i = 0; i < f->T; i++) {
        double sum = 0, expected = json_number_value(json_array_get(row, i));

        for (int j = 0; j < f->d; j++)
            sum += (double)x[(size_t)i * f->d + j] * x[(size_t)i * f->d + j];
        forward_expect(sqrt(sum), expected, 1e-6 + NORM_TOLERANCE * expected,
                       at ? "norm after a layer, token" : "norm of the embedding, token", i);
    }
}

static inline void forward_layers(struct forward *f) {
    const struct model_config *c = &f->checkpoint->config;
    struct failure failure = {};

    forward_ok(f->ops->embed(f->b, f->x, f->ends.embedding, f->ids, f->T, f->d, c->vocab_size));
    forward_ok(f->ops->sync(f->b));
    for (int i = 0; i < c->num_hidden_layers; i++) {
        forward_check_norms(f, i);
        forward_ok(layer_weights_load(f->b, &f->source, i, &f->layer, &f->codes, &failure));
        forward_ok(layer_forward(f->b, c, &f->layer, &f->work, f->x, 1, f->T, NULL));
        forward_ok(f->ops->sync(f->b));
    }
    forward_ok(
        f->ops->rmsnorm(f->b, f->x, f->d, f->x, f->d, f->ends.norm, f->T, f->d, c->rms_norm_eps));
    forward_ok(f->ops->sync(f->b));
    forward_check_norms(f, c->num_hidden_layers);
}

/* The head as the pipeline uses it, and the first logits by a plain product. */
static inline void forward_check_head(struct forward *f) {
    struct span rows = span_slice(f->ends.head, 0, (size_t)f->n_logits * f->d * sizeof(float));
    cleanup(freep) float *values = calloc(f->T, (2 + f->n_logits) * sizeof(*values));
    cleanup(freep) int32_t *best = calloc(f->T, sizeof(*best));
    struct failure failure = {};
    float *lse = values + f->T, *logits = lse + f->T;
    double sum = 0;

    forward_ok(f->ops->head(f->b, f->nll, f->lse, f->best, f->x, f->ends.head, f->targets, f->T,
                            f->d, f->checkpoint->config.vocab_size, f->scratch));
    forward_ok(f->ops->linear(f->b, f->logits, f->x, rows, f->T, f->d, f->n_logits, false));
    forward_ok(f->ops->download(f->b, values, f->nll));
    forward_ok(f->ops->download(f->b, lse, f->lse));
    forward_ok(f->ops->download(f->b, logits, f->logits));
    forward_ok(f->ops->download(f->b, best, f->best));
    for (int i = 0; i < f->T; i++) {
        const json_t *row = json_array_get(json_object_get(f->expected, "logits_first8"), i);

        forward_expect(lse[i], forward_number(f, "logsumexp", i), LOGIT_TOLERANCE, "logsumexp", i);
        forward_expect(best[i], forward_number(f, "argmax", i), 0, "argmax", i);
        for (int j = 0; j < f->n_logits; j++)
            forward_expect(logits[i * f->n_logits + j], json_number_value(json_array_get(row, j)),
                           LOGIT_TOLERANCE, "logits of token", i);
        if (i == f->T - 1)
            break;
        forward_expect(values[i], forward_number(f, "nll", i), LOGIT_TOLERANCE, "nll", i);
        sum += values[i];
    }
    forward_expect(sum / (f->T - 1), json_number_value(json_object_get(f->expected, "mean_nll")),
                   MEAN_TOLERANCE, "mean nll", 0);
}

/* forward_compare() - the model in @dir must compute the figures @expected. */
static inline void forward_compare(const char *dir, const json_t *expected) {
    struct forward f;

    forward_open(&f, dir, expected);
    forward_alloc(&f);
    forward_layers(&f);
    forward_check_head(&f);
    free(f.host);
    forward_work_done(&f.work);
    checkpoint_free(f.checkpoint);
    f.ops->close(f.b); /* frees every span */
}
