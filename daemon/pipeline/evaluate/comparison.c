// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/evaluate/comparison.h"

#include "base/clock.h"
#include "daemon/pipeline/evaluate/original.h"

#include <errno.h>
#include <stdlib.h>

static bool has_room(struct backend *b, size_t size) {
    struct backend_info info;

    b->ops->info(b, &info);
    return batch_fits(size, info.memory_free);
}

/* Are embedding, norm and head of the original other ones than those of the run's model? */
static bool has_own_ends(const struct run *run) {
    return run->original->own || run_rounds_ends(run);
}

static void layout(const struct run *run, struct arena *arena, struct comparison *c) {
    const struct model_config *config = &run->checkpoint->config;
    size_t T = (size_t)run->batch * run->seqlen;

    arena_take(arena, &c->kl, sizeof(float), 1, T);
    arena_take(arena, &c->nll, sizeof(float), 1, T);
    arena_take(arena, &c->best, sizeof(int32_t), 1, T);
    arena_take(arena, &c->scratch, 1, 1,
               run->b->ops->head_difference_scratch(run->b, (int)T, config->hidden_size,
                                                    config->vocab_size));
}

/* A second layer pays when the run's model needs one at a time and the original's come plain. */
static size_t second_layer_size(const struct run *run) {
    return run->b->ops->streams && pass_layers(run) == 1
               ? layer_weights_size(&run->checkpoint->config, dtype_size(run->b->ops->act))
               : 0;
}

size_t comparison_size(const struct run *run, bool own) {
    struct arena arena = {}, of_pass = {};
    struct comparison c = {};
    struct pass pass = {};
    size_t size;

    pass_take(run, &of_pass, &pass);
    layout(run, &arena, &c);
    size = arena_size(&arena) + pass.chunk * run_window_bytes(run) + second_layer_size(run);
    if (own || run_rounds_ends(run))
        size += outer_weights_size(&run->checkpoint->config, dtype_size(run->b->ops->act), true);
    return size;
}

/* Where the kept states are; a second layer, so that layers come while others compute. */
static int use_free_memory(struct comparison *c) {
    struct run *run = c->pass->run;
    size_t kept = c->pass->chunk * run_window_bytes(run), layer = second_layer_size(run);
    int r = 0;

    if (has_room(run->b, kept)) {
        r = run->b->ops->alloc(run->b, kept, &c->kept);
    } else {
        c->host_kept = malloc(kept);
        if (!c->host_kept)
            return failure_oom(run->failure);
    }
    if (!r && layer && has_room(run->b, layer)) {
        r = layer_weights_alloc(run->b, &run->checkpoint->config, &c->pass->layers[1]);
        c->pass->n_layers += !r;
    }
    run->original_on_host = !c->kept.at;
    return r;
}

static int host_alloc(struct comparison *c) {
    size_t T = (size_t)c->pass->run->batch * c->pass->run->seqlen;

    c->host_kl = calloc(T, sizeof(*c->host_kl));
    c->host_base_nll = calloc(T, sizeof(*c->host_base_nll));
    c->host_nll = calloc(T, sizeof(*c->host_nll));
    c->host_base_best = calloc(T, sizeof(*c->host_base_best));
    c->host_best = calloc(T, sizeof(*c->host_best));
    return c->host_kl && c->host_base_nll && c->host_nll && c->host_base_best && c->host_best
               ? 0
               : failure_oom(c->pass->run->failure);
}

/* Embedding, norm and head of the original, when they are not those of the run's model. */
static int load_ends(struct comparison *c, const struct outer_weights *ends) {
    struct run *run = c->pass->run;

    c->base.ends = ends;
    if (!has_own_ends(run))
        return 0;
    c->base.ends = &c->ends;
    return outer_weights_load(run->b, original_checkpoint(run), true, false, &c->ends,
                              run->failure);
}

int comparison_init(struct comparison *c, struct pass *pass, const struct outer_weights *ends) {
    static const struct quantization_config plain = {};
    struct run *run = pass->run;
    struct arena arena = {};
    size_t need;
    int r = original_learn(run);

    *c = (struct comparison){.pass = pass};
    if (r || !run->original)
        return r;
    layout(run, &arena, c);
    need = arena_size(&arena);
    if (has_own_ends(run))
        need += outer_weights_size(&run->checkpoint->config, dtype_size(run->b->ops->act), true);
    if (!has_room(run->b, need)) {
        original_drop(run, "the device has no room for %zu MiB beside the model", need >> 20);
        return 0;
    }
    c->base.config = &original_checkpoint(run)->config;
    c->base.source = (struct weights_source){original_checkpoint(run), &plain, NULL};
    c->on = true;
    r = load_ends(c, ends);
    if (!r)
        r = arena_alloc(run->b, &arena, &c->all);
    if (r)
        return r;
    layout(run, &arena, c);
    r = host_alloc(c);
    return r ? r : use_free_memory(c);
}

void comparison_done(struct comparison *c) {
    if (!c->pass)
        return;
    c->pass->b->ops->free(c->pass->b, &c->all);
    c->pass->b->ops->free(c->pass->b, &c->kept);
    outer_weights_free(c->pass->b, &c->ends);
    difference_done(&c->difference);
    states_done(&c->states);
    free(c->host_kept);
    free(c->host_kl);
    free(c->host_base_nll);
    free(c->host_nll);
    free(c->host_base_best);
    free(c->host_best);
}

int comparison_begin(struct comparison *c, const struct windows *windows) {
    struct run *run = c->pass->run;

    difference_done(&c->difference);
    states_done(&c->states);
    if (difference_init(&c->difference, windows->n, windows->seqlen))
        return failure_oom(run->failure);
    return states_begin(&c->states, run, windows, c->pass->chunk);
}

int comparison_end(struct comparison *c) {
    return states_end(&c->states);
}

/* The original's pass. */
static int compute_kept(struct comparison *c, const int32_t *ids, int count) {
    struct run *run = c->pass->run;
    size_t size = count * run_window_bytes(run);
    struct span x = span_slice(c->pass->x, 0, size);
    int r = pass_run(c->pass, &c->base, ids, count);

    if (!r && c->kept.at)
        r = run->b->ops->copy(run->b, span_slice(c->kept, 0, size), x);
    else if (!r)
        r = run->b->ops->download(run->b, c->host_kept, x);
    return r ? r : run->b->ops->sync(run->b);
}

int comparison_keep(struct comparison *c, const int32_t *ids, int number, int count) {
    struct run *run = c->pass->run;
    double started = clock_monotonic();
    int r;

    states_wait(&c->states); /* for the chunk before */
    r = states_read(&c->states, number, count, c->kept, c->host_kept);
    if (r == -ENOENT) {
        r = compute_kept(c, ids, count);
    } else if (!r) {
        run->original_cached += count;
        r = progress_add(&run->progress, (double)count * run_layers(run));
    }
    run->original_seconds += clock_monotonic() - started;
    return r;
}

/* The original's hidden states of some kept windows, normed, in memory of the pass. */
static int bring_kept(struct comparison *c, int first, int count, struct span *ret_x) {
    struct run *run = c->pass->run;
    size_t window = run_window_bytes(run), size = count * window;
    struct span normed = span_slice(c->pass->work.slots, 0, size), from = normed;
    int d = c->base.config->hidden_size, r = 0;

    if (c->kept.at)
        from = span_slice(c->kept, first * window, size);
    else
        r = run->b->ops->upload(run->b, normed, c->host_kept + first * window);
    *ret_x = normed;
    return r ? r
             : run->b->ops->rmsnorm(run->b, normed, d, from, d, c->base.ends->norm,
                                    count * run->seqlen, d, c->base.config->rms_norm_eps);
}

/* Keeps for later jobs what this one has computed. */
static int write_kept(struct comparison *c, int first, int number, int count) {
    size_t window = run_window_bytes(c->pass->run);
    struct span kept =
        c->kept.at ? span_slice(c->kept, first * window, count * window) : (struct span){};

    return states_write(&c->states, number, count, kept,
                        c->kept.at ? NULL : c->host_kept + first * window);
}

static int download(struct comparison *c, const struct scored *scored, size_t T) {
    struct backend *b = c->pass->b;
    size_t size = T * sizeof(float);
    int r = b->ops->download(b, c->host_kl, span_slice(c->kl, 0, size));

    if (!r)
        r = b->ops->download(b, c->host_base_nll, span_slice(c->nll, 0, size));
    if (!r)
        r = b->ops->download(b, c->host_nll, span_slice(scored->nll, 0, size));
    if (!r)
        r = b->ops->download(b, c->host_base_best, span_slice(c->best, 0, size));
    return r ? r : b->ops->download(b, c->host_best, span_slice(scored->best, 0, size));
}

int comparison_score(struct comparison *c, const struct scored *scored, int first, int number,
                     int count) {
    const struct model_config *config = c->base.config;
    struct run *run = c->pass->run;
    size_t T = (size_t)count * run->seqlen;
    struct head_side base = {.w = c->base.ends->head, .nll = c->nll, .best = c->best};
    struct head_side other = {scored->x, scored->head, scored->nll, scored->best};
    int r = write_kept(c, first, number, count);

    if (!r)
        r = bring_kept(c, first, count, &base.x);
    if (!r)
        r = run->b->ops->head_difference(run->b, c->kl, &base, &other, scored->targets, (int)T,
                                         config->hidden_size, config->vocab_size, c->scratch);
    if (!r)
        r = download(c, scored, T);
    for (int w = 0; w < count && !r; w++) {
        size_t at = (size_t)w * run->seqlen;
        const struct predictions tokens = {c->host_base_nll + at, c->host_nll + at, c->host_kl + at,
                                           c->host_base_best + at, c->host_best + at};

        difference_add(&c->difference, number + w, &tokens);
    }
    return r;
}
