// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/evaluate/pass.h"

#include <errno.h>

void pass_take(const struct run *run, struct arena *arena, struct pass *pass) {
    const struct model_config *c = &run->checkpoint->config;
    const struct quantization_config *quantization = run_source(run).quantization;

    if (quantization->present)
        code_memory_take(c, quantization, arena, &pass->codes);
    if (quantization->present && run->b->ops->streams)
        staged_codes_take(c, quantization, arena, &pass->code_room);
    arena_take(arena, &pass->memory, 1, 1,
               forward_work_size(c, dtype_size(run->b->ops->act), run->batch * run->seqlen));
    arena_take(arena, &pass->x, 1, pass->room, run_window_bytes(run));
}

/* Streaming pays where the device can, and the layers are plain. */
int pass_layers(const struct run *run) {
    return run->b->ops->streams && !run_source(run).quantization->present ? 2 : 1;
}

int pass_init(struct pass *pass, struct run *run) {
    const struct model_config *c = &run->checkpoint->config;
    int r;

    pass->run = run;
    pass->b = run->b;
    for (int n = pass_layers(run); pass->n_layers < n; pass->n_layers++) {
        r = layer_weights_alloc(run->b, c, &pass->layers[pass->n_layers]);
        if (r)
            return r;
    }
    r = forward_work_init(c, dtype_size(run->b->ops->act), run->batch * run->seqlen, pass->memory,
                          &pass->work);
    return r ? failure_oom(run->failure) : 0;
}

void pass_done(struct pass *pass) {
    if (!pass->run)
        return;
    pass->b->ops->stage_wait(pass->b); /* nothing may still read the model or write to its memory */
    staged_codes_done(&pass->staged);
    forward_work_done(&pass->work);
    for (size_t i = 0; i < ARRAY_SIZE(pass->layers); i++)
        layer_weights_free(pass->b, &pass->layers[i]);
}

/* What goes through the layers: a model, and parts of a turn. */
struct passage {
    const struct eval_model *model;
    const struct turn_part *parts; /* [n_parts] */
    int n_parts;
};

/* The windows of @part, which are in pass->x, through one layer. As in quantize.c, dispatch()
 * bounds what is queued. */
static int run_part(struct pass *pass, const struct model_config *config,
                    const struct layer_weights *layer, const struct turn_part *part) {
    struct run *run = pass->run;
    size_t window = run_window_bytes(run);

    for (int first = 0; first < part->count; first += run->batch) {
        int some = MIN(run->batch, part->count - first), r = run_cancelled(run);

        if (!r)
            r = layer_forward(pass->b, config, layer, &pass->work,
                              span_slice(pass->x, (part->at + first) * window, some * window), some,
                              run->seqlen, NULL);
        if (!r)
            r = staged_codes_poll(&pass->staged, false, run->failure);
        if (!r)
            r = progress_add(&run->progress, some);
        if (r)
            return r;
    }
    return 0;
}

static int run_layer(struct pass *pass, const struct passage *passage,
                     const struct layer_weights *layer) {
    int r = 0;

    for (int i = 0; i < passage->n_parts && !r; i++)
        r = run_part(pass, passage->model->config, layer, &passage->parts[i]);
    return r;
}

static int stage(struct pass *pass, const struct eval_model *model, int layer,
                 struct layer_weights *memory) {
    return layer_weights_stage(pass->b, &model->source, layer, memory, &pass->codes,
                               pass->run->failure);
}

/* ---- plain layers where streaming pays: the next one comes while one computes ---- */

static int stream_layers(struct pass *pass, const struct passage *passage) {
    const struct eval_model *model = passage->model;
    struct run *run = pass->run;
    int r = stage(pass, model, 0, &pass->layers[0]);

    for (int i = 0; i < run_layers(run) && !r; i++) {
        struct layer_weights *layer = &pass->layers[i % 2];

        run->progress.layer = i;
        r = layer_weights_ready(pass->b, &model->source, i, layer, run->failure);
        if (!r && i + 1 < run_layers(run))
            r = stage(pass, model, i + 1, &pass->layers[(i + 1) % 2]);
        if (!r)
            r = run_layer(pass, passage, layer);
    }
    return r;
}

/* ---- layers one at a time; of quantized ones the next one's codes come meanwhile ---- */

static int begin_codes(struct pass *pass, const struct eval_model *model, int layer) {
    if (!pass->code_room.size || !model->source.quantization->present ||
        layer == run_layers(pass->run))
        return 0;
    return staged_codes_begin(&pass->staged, pass->b, pass->code_room, &model->source, layer,
                              pass->run->failure);
}

/* Has @layer ready. */
static int bring_layer(struct pass *pass, const struct eval_model *model, int layer) {
    struct run *run = pass->run;
    int r = staged_codes_poll(&pass->staged, true, run->failure);

    if (!r)
        r = pass->b->ops->stage_wait(pass->b);
    if (!r)
        r = layer_weights_unpack(pass->b, &model->source, layer, &pass->layers[0], &pass->codes,
                                 &pass->staged, run->failure);
    return r ? r
             : layer_weights_ready(pass->b, &model->source, layer, &pass->layers[0], run->failure);
}

static int bring_layers(struct pass *pass, const struct passage *passage) {
    const struct eval_model *model = passage->model;
    struct run *run = pass->run;
    int r;

    staged_codes_done(&pass->staged);
    r = begin_codes(pass, model, 0);
    for (int i = 0; i < run_layers(run) && !r; i++) {
        run->progress.layer = i;
        r = bring_layer(pass, model, i);
        if (!r)
            r = begin_codes(pass, model, i + 1);
        if (!r)
            r = run_layer(pass, passage, &pass->layers[0]);
    }
    return r;
}

static int embed_part(struct pass *pass, const struct eval_model *model,
                      const struct turn_part *part) {
    const struct windows *windows = pass->run->evals[part->set].windows;
    size_t window = run_window_bytes(pass->run);

    return embed_windows(pass->run, span_slice(pass->x, part->at * window, part->count * window),
                         model->ends, windows->ids + (size_t)part->first * windows->seqlen,
                         part->count, windows->seqlen);
}

int pass_run(struct pass *pass, const struct eval_model *model, const struct turn_part *parts,
             int n_parts) {
    const struct passage passage = {model, parts, n_parts};
    int r = 0;

    for (int i = 0; i < n_parts && !r; i++)
        r = embed_part(pass, model, &parts[i]);
    if (r)
        return r;
    return pass->n_layers == 2 && !model->source.quantization->present
               ? stream_layers(pass, &passage)
               : bring_layers(pass, &passage);
}
