// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/evaluate/comparison.h"

#include "base/clock.h"
#include "daemon/pipeline/evaluate/original.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
    struct comparison c = {};
    struct arena arena = {};
    size_t size;

    layout(run, &arena, &c);
    size = arena_size(&arena) + turn_chunk(run) * run_window_bytes(run) + second_layer_size(run);
    if (own || run_rounds_ends(run))
        size += outer_weights_size(&run->checkpoint->config, dtype_size(run->b->ops->act), true);
    return size;
}

/* Where the kept states are; a second layer, so that layers come while others compute. */
static int use_free_memory(struct comparison *c) {
    struct run *run = c->pass->run;
    size_t kept = c->pass->room * run_window_bytes(run), layer = second_layer_size(run);
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
    size_t buffer = states_buffer_size(c->pass->run);

    if (buffer)
        c->buffer = malloc(buffer);
    c->host_kl = calloc(T, sizeof(*c->host_kl));
    c->host_base_nll = calloc(T, sizeof(*c->host_base_nll));
    c->host_nll = calloc(T, sizeof(*c->host_nll));
    c->host_base_best = calloc(T, sizeof(*c->host_base_best));
    c->host_best = calloc(T, sizeof(*c->host_best));
    return c->host_kl && c->host_base_nll && c->host_nll && c->host_base_best && c->host_best &&
                   (c->buffer || !buffer)
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

static void forget(struct compared *set) {
    difference_done(&set->difference);
    states_done(&set->states);
}

void comparison_done(struct comparison *c) {
    if (!c->pass)
        return;
    c->pass->b->ops->free(c->pass->b, &c->all);
    c->pass->b->ops->free(c->pass->b, &c->kept);
    outer_weights_free(c->pass->b, &c->ends);
    for (size_t i = 0; i < ARRAY_SIZE(c->sets); i++)
        forget(&c->sets[i]);
    free(c->host_kept);
    free(c->buffer);
    free(c->host_kl);
    free(c->host_base_nll);
    free(c->host_nll);
    free(c->host_base_best);
    free(c->host_best);
}

int comparison_begin(struct comparison *c, int set) {
    struct run *run = c->pass->run;
    const struct windows *windows = run->evals[set].windows;

    if (difference_init(&c->sets[set].difference, windows->n, windows->seqlen))
        return failure_oom(run->failure);
    return states_begin(&c->sets[set].states, run, windows, turn_chunk(run), c->buffer);
}

int comparison_end(struct comparison *c, int set) {
    int r = states_end(&c->sets[set].states);

    forget(&c->sets[set]);
    return r;
}

/* Some of the kept windows: on the device, or empty when they are on the host. */
static struct span device_kept(const struct comparison *c, int at, int count) {
    size_t window = run_window_bytes(c->pass->run);

    return c->kept.at ? span_slice(c->kept, at * window, count * window) : (struct span){};
}

static unsigned char *host_kept(const struct comparison *c, int at) {
    return c->host_kept ? c->host_kept + at * run_window_bytes(c->pass->run) : NULL;
}

/* The original's pass. */
static int compute_kept(struct comparison *c, const struct turn_part *parts, int n_parts) {
    size_t window = run_window_bytes(c->pass->run);
    struct backend *b = c->pass->b;
    int r = pass_run(c->pass, &c->base, parts, n_parts);

    for (int i = 0; i < n_parts && !r; i++) {
        const struct turn_part *part = &parts[i];
        struct span x = span_slice(c->pass->x, part->at * window, part->count * window);

        if (c->kept.at)
            r = b->ops->copy(b, device_kept(c, part->at, part->count), x);
        else
            r = b->ops->download(b, host_kept(c, part->at), x);
    }
    return r ? r : b->ops->sync(b);
}

/* Takes what an earlier job has computed. -ENOENT: it is to be computed. */
static int read_kept(struct comparison *c, const struct turn_part *part) {
    struct run *run = c->pass->run;
    int r = states_read(&c->sets[part->set].states, part->first, part->count,
                        device_kept(c, part->at, part->count), host_kept(c, part->at));

    if (r)
        return r;
    run->original_cached += part->count;
    return progress_add(&run->progress, (double)part->count * run_layers(run));
}

/* Moves to the front of @parts those that are to be computed: *@n_parts. */
static int read_all(struct comparison *c, struct turn_part *parts, int *n_parts) {
    int missing = 0;

    for (int i = 0; i < *n_parts; i++) {
        int r = read_kept(c, &parts[i]);

        if (r == -ENOENT)
            parts[missing++] = parts[i];
        else if (r)
            return r;
    }
    *n_parts = missing;
    return 0;
}

int comparison_keep(struct comparison *c, const struct turn *turn) {
    size_t size = turn->n_parts * sizeof(*turn->parts);
    cleanup(freep) struct turn_part *parts = malloc(size);
    struct run *run = c->pass->run;
    double started = clock_monotonic();
    int n_parts = turn->n_parts, r;

    if (!parts)
        return failure_oom(run->failure);
    memcpy(parts, turn->parts, size);
    for (int i = 0; i < n_parts; i++)
        states_wait(&c->sets[parts[i].set].states); /* for the turn before */
    r = read_all(c, parts, &n_parts);
    if (!r && n_parts > 0)
        r = compute_kept(c, parts, n_parts);
    run->original_seconds += clock_monotonic() - started;
    return r;
}

/* The original's hidden states of kept windows, normed, in memory of the pass. */
static int bring_kept(struct comparison *c, int at, int count, struct span *ret_x) {
    struct run *run = c->pass->run;
    struct span normed = span_slice(c->pass->work.slots, 0, count * run_window_bytes(run));
    struct span from = c->kept.at ? device_kept(c, at, count) : normed;
    int d = c->base.config->hidden_size, r = 0;

    if (!c->kept.at)
        r = run->b->ops->upload(run->b, normed, host_kept(c, at));
    *ret_x = normed;
    return r ? r
             : run->b->ops->rmsnorm(run->b, normed, d, from, d, c->base.ends->norm,
                                    count * run->seqlen, d, c->base.config->rms_norm_eps);
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

int comparison_score(struct comparison *c, const struct scored *scored,
                     const struct turn_part *part, int first, int count) {
    struct compared *set = &c->sets[part->set];
    const struct model_config *config = c->base.config;
    struct run *run = c->pass->run;
    size_t T = (size_t)count * run->seqlen;
    struct head_side base = {.w = c->base.ends->head, .nll = c->nll, .best = c->best};
    struct head_side other = {scored->x, scored->head, scored->nll, scored->best};
    int at = part->at + first, number = part->first + first;
    int r = states_write(&set->states, number, count, device_kept(c, at, count), host_kept(c, at));

    if (!r)
        r = bring_kept(c, at, count, &base.x);
    if (!r)
        r = run->b->ops->head_difference(run->b, c->kl, &base, &other, scored->targets, (int)T,
                                         config->hidden_size, config->vocab_size, c->scratch);
    if (!r)
        r = download(c, scored, T);
    for (int w = 0; w < count && !r; w++) {
        size_t t = (size_t)w * run->seqlen;
        const struct predictions tokens = {c->host_base_nll + t, c->host_nll + t, c->host_kl + t,
                                           c->host_base_best + t, c->host_best + t};

        difference_add(&set->difference, number + w, &tokens);
    }
    return r;
}
