// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/side.h"

#include <stdlib.h>

size_t side_size(const struct run *run) {
    return run_window_bytes(run) * ((size_t)run->calibration->n + run->batch);
}

int side_init(struct side *side, const struct run *run) {
    size_t window = run_window_bytes(run);
    int r = run->b->ops->alloc(run->b, run->calibration->n * window, &side->x);

    side->at = STEP_QKV;
    return r ? r : run->b->ops->alloc(run->b, run->batch * window, &side->batch);
}

void side_done(struct side *side, struct backend *b) {
    b->ops->free(b, &side->left.position);
    b->ops->free(b, &side->left.weights);
    b->ops->free(b, &side->left.activations);
    b->ops->free(b, &side->left.attention);
    free(side->left.offsets);
    b->ops->free(b, &side->batch);
    b->ops->free(b, &side->x);
    forward_work_done(&side->work);
}

/* ---- what passes leave ---- */

/* Of one window, bytes. */
static size_t attention_bytes(const struct run *run) {
    return (size_t)run->seqlen * model_config_q_width(&run->checkpoint->config) *
           dtype_size(run->b->ops->act);
}

static size_t slots_of(const struct run *run) {
    return (size_t)run->seqlen * run->checkpoint->config.num_experts_per_tok;
}

static size_t activation_bytes(const struct run *run) {
    return slots_of(run) * run->checkpoint->config.intermediate_size * dtype_size(run->b->ops->act);
}

size_t sides_left_size(const struct run *run, bool all) {
    size_t of_window = run_sides(run) * attention_bytes(run);

    if (!run->calibration || !run->params->true_sequential)
        return 0;
    if (all)
        of_window += activation_bytes(run) + slots_of(run) * (sizeof(float) + sizeof(int32_t));
    return run->calibration->n * of_window;
}

/* Only of the quantized model: the original's tokens go elsewhere when it is alone. */
static int leave_activations(struct side *side, const struct run *run) {
    size_t n = run->calibration->n, slots = slots_of(run);
    size_t batches = (n + run->batch - 1) / run->batch;
    int r = run->b->ops->alloc(run->b, n * activation_bytes(run), &side->left.activations);

    side->left.offsets =
        calloc(batches * (run->checkpoint->config.num_experts + 1), sizeof(*side->left.offsets));
    if (!side->left.offsets)
        return failure_oom(run->failure);
    if (!r)
        r = run->b->ops->alloc(run->b, n * slots * sizeof(float), &side->left.weights);
    return r ? r : run->b->ops->alloc(run->b, n * slots * sizeof(int32_t), &side->left.position);
}

int sides_leave(struct side *sides, const struct run *run) {
    size_t size = sides_left_size(run, false), all = sides_left_size(run, true);
    struct backend_info info;
    int r = 0;

    run->b->ops->info(run->b, &info);
    if (!size || !batch_fits(2 * size, info.memory_free))
        return 0;
    for (int i = 0; i < run_sides(run) && !r; i++)
        r = run->b->ops->alloc(run->b, run->calibration->n * attention_bytes(run),
                               &sides[i].left.attention);
    return r || !batch_fits(2 * all, info.memory_free) ? r : leave_activations(&sides[0], run);
}

/* Of an array of all windows those from @first on, each of @bytes. */
static struct span part(struct span all, size_t bytes, int first, int count) {
    return span_slice(all, first * bytes, count * bytes);
}

struct forward_work side_work(const struct side *side, const struct run *run, int first,
                              int count) {
    struct forward_work work = side->work;
    const struct left *left = &side->left;
    size_t slots = slots_of(run);

    if (left->attention.at)
        work.attention = part(left->attention, attention_bytes(run), first, count);
    if (!left->activations.at)
        return work;
    work.activations = part(left->activations, activation_bytes(run), first, count);
    work.weights = part(left->weights, slots * sizeof(float), first, count);
    work.position = part(left->position, slots * sizeof(int32_t), first, count);
    work.offsets =
        left->offsets + (size_t)(first / run->batch) * (run->checkpoint->config.num_experts + 1);
    return work;
}
