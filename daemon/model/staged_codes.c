// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/staged_codes.h"

#include "daemon/model/arch/scheme.h"

#include <errno.h>
#include <string.h>

#define ALIGNMENT 256 /* of each array on the device */

/* Bytes of d or dmin of a matrix on a K grid. */
static size_t units_bytes(int rows, int n) {
    return (size_t)n / GRID_SUPER * rows * sizeof(uint16_t);
}

/* Bytes of the grids of a matrix, each array aligned. */
static size_t grids_bytes(int rows, int n, int n_groups) {
    size_t grids = (size_t)n_groups * rows;

    return ALIGN_UP(grids * sizeof(uint16_t), ALIGNMENT) + ALIGN_UP(grids, ALIGNMENT) +
           ALIGN_UP(n * sizeof(int32_t), ALIGNMENT);
}

void staged_codes_take(const struct model_config *config, const struct quantization_config *q,
                       struct arena *arena, struct span *ret_memory) {
    int groupsize = quantization_least_groupsize(q), bits = quantization_most_bits(q);
    size_t size = 0;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(config, i, &shape);
        for (int p = 0; p < shape.n_parts; p++) {
            size_t codes = (size_t)shape.parts[p].rows * shape.n * bits / 8;
            int n_groups = groupsize > 0 ? MAX(shape.n / groupsize, 1) : 1;

            size += shape.G * (ALIGN_UP(codes, ALIGNMENT) +
                               grids_bytes(shape.parts[p].rows, shape.n, n_groups));
            if (quantization_has_k_grids(q))
                size +=
                    shape.G * 2 * ALIGN_UP(units_bytes(shape.parts[p].rows, shape.n), ALIGNMENT);
        }
    }
    arena_take(arena, ret_memory, 1, 1, size);
}

/* ---- in the task's thread ---- */

static int read_matrix(struct staged_codes *s, const struct group_shape *shape, int g, int p,
                       struct staged_matrix *staged) {
    const struct weights_source *source = &s->source;
    const struct tensor_finder tensors = weights_finder(source, s->layer);
    const struct quantization_config one = quantization_as(
        source->quantization,
        scheme_of_part(&source->checkpoint->config, source->quantization, s->layer, shape, g, p));
    char name[MATRIX_NAME_SIZE];
    int r;

    group_matrix_name(shape, s->layer, g, p, name);
    if (!source->quantization->reader->has(&tensors, name))
        return 0;
    r = source->quantization->reader->read(&tensors, &one, name, shape->parts[p].rows, shape->n,
                                           &staged->matrix, &s->failure);
    staged->quantized = r == 0 && !staged->matrix.values;
    s->has_values = r == 0 && !staged->quantized;
    if (s->has_values)
        quantized_matrix_done(&staged->matrix);
    return r;
}

static size_t take(size_t *at, size_t size) {
    size_t taken = *at;

    *at += ALIGN_UP(size, ALIGNMENT);
    return taken;
}

static void place_grids(struct staged_matrix *staged, size_t *at) {
    const struct quantized_matrix *m = &staged->matrix;
    size_t grids = (size_t)m->n_groups * m->rows;

    staged->scales = take(at, grids * sizeof(*m->scales));
    staged->zeros = take(at, grids);
    staged->g_idx = take(at, m->n * sizeof(*m->g_idx));
    staged->d = take(at, m->d ? units_bytes(m->rows, m->n) : 0);
    staged->dmin = take(at, m->dmin ? units_bytes(m->rows, m->n) : 0);
}

static void copy_grids(unsigned char *to, const struct staged_matrix *staged) {
    const struct quantized_matrix *m = &staged->matrix;
    size_t grids = (size_t)m->n_groups * m->rows;

    memcpy(to + staged->scales, m->scales, grids * sizeof(*m->scales));
    memcpy(to + staged->zeros, m->zeros, grids);
    memcpy(to + staged->g_idx, m->g_idx, m->n * sizeof(*m->g_idx));
    if (m->d)
        memcpy(to + staged->d, m->d, units_bytes(m->rows, m->n));
    if (m->dmin)
        memcpy(to + staged->dmin, m->dmin, units_bytes(m->rows, m->n));
}

/* What is to be done with each quantized matrix of the layer. */
static void each_matrix(struct staged_codes *s,
                        void (*visit)(struct staged_codes *s, struct staged_matrix *staged)) {
    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(&s->source.checkpoint->config, i, &shape);
        for (int j = 0; s->matrices[i] && j < shape.G * shape.n_parts; j++) {
            if (s->matrices[i][j].quantized)
                visit(s, &s->matrices[i][j]);
        }
    }
}

static void add_grids(struct staged_codes *s, struct staged_matrix *staged) {
    place_grids(staged, &s->size);
}

static void add_words(struct staged_codes *s, struct staged_matrix *staged) {
    staged->words = take(&s->size, quantized_matrix_bytes(&staged->matrix));
}

static void keep_grids(struct staged_codes *s, struct staged_matrix *staged) {
    copy_grids(s->grids, staged);
}

/* The grids of all matrices stand in front, as one copy brings them. */
static int place_all(struct staged_codes *s) {
    s->size = 0;
    each_matrix(s, add_grids);
    s->grids_size = s->size;
    each_matrix(s, add_words);
    s->grids = calloc(1, MAX(s->grids_size, (size_t)1));
    if (!s->grids)
        return failure_oom(&s->failure);
    each_matrix(s, keep_grids);
    return 0;
}

static int read_layer(void *ctx) {
    struct staged_codes *s = ctx;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;
        int n;

        group_shape(&s->source.checkpoint->config, i, &shape);
        n = shape.G * shape.n_parts;
        s->matrices[i] = calloc(n, sizeof(*s->matrices[i]));
        if (!s->matrices[i])
            return failure_oom(&s->failure);
        for (int j = 0; j < n && !s->has_values; j++) {
            int r =
                read_matrix(s, &shape, j / shape.n_parts, j % shape.n_parts, &s->matrices[i][j]);

            if (r)
                return r;
        }
    }
    return place_all(s);
}

/* ---- in the thread of the backend ---- */

static void drop_matrix(struct staged_codes *s, struct staged_matrix *staged) {
    (void)s;
    quantized_matrix_done(&staged->matrix);
}

/* What the layer before left; nothing reads it any more. */
static void drop(struct staged_codes *s) {
    if (s->begun)
        each_matrix(s, drop_matrix);
    for (int i = 0; i < N_GROUPS; i++) {
        free(s->matrices[i]);
        s->matrices[i] = NULL;
    }
    free(s->grids);
    s->grids = NULL;
    s->begun = s->queued = s->useless = s->has_values = false;
}

int staged_codes_begin(struct staged_codes *s, struct backend *b, struct span memory,
                       const struct weights_source *source, int layer, struct failure *failure) {
    int r;

    drop(s);
    s->b = b;
    s->memory = memory;
    s->source = *source;
    s->layer = layer;
    r = task_start(&s->task, read_layer, s);
    s->begun = r == 0;
    return r ? failure_errno(failure, r, "cannot start a thread that reads",
                             source->checkpoint->dir)
             : 0;
}

static int stage_words(struct staged_codes *s, const struct staged_matrix *staged) {
    size_t size = quantized_matrix_bytes(&staged->matrix);

    return s->b->ops->stage(s->b, span_slice(s->memory, staged->words, size), staged->matrix.words,
                            DTYPE_U8, size);
}

static int stage_all(struct staged_codes *s) {
    int r = s->b->ops->stage(s->b, span_slice(s->memory, 0, s->grids_size), s->grids, DTYPE_U8,
                             s->grids_size);

    for (int i = 0; i < N_GROUPS && !r; i++) {
        struct group_shape shape;

        group_shape(&s->source.checkpoint->config, i, &shape);
        for (int j = 0; j < shape.G * shape.n_parts && !r; j++) {
            if (s->matrices[i][j].quantized)
                r = stage_words(s, &s->matrices[i][j]);
        }
    }
    return r;
}

int staged_codes_poll(struct staged_codes *s, bool wait, struct failure *failure) {
    int r;

    if (!s->begun || s->queued || (!wait && !task_is_done(&s->task)))
        return 0;
    r = task_finish(&s->task);
    if (r) {
        *failure = s->failure;
        return r;
    }
    s->queued = true;
    /* Then they come as they can. */
    s->useless = s->has_values || s->grids_size == 0 || s->size > s->memory.size;
    return s->useless ? 0 : stage_all(s);
}

int staged_codes_matrix(const struct staged_codes *s, enum group group, int i,
                        const struct code_memory *codes, struct span dst, bool *ret_done) {
    const struct staged_matrix *staged = s->queued ? &s->matrices[group][i] : NULL;
    const struct quantized_matrix *m = staged ? &staged->matrix : NULL;
    size_t grids = m ? (size_t)m->n_groups * m->rows : 0;
    struct quantized view;
    int r;

    *ret_done = staged && staged->quantized && !s->useless;
    if (!*ret_done)
        return 0;
    view = (struct quantized){
        .codes = span_slice(codes->codes, 0, (size_t)m->rows * m->n),
        .scales = span_slice(s->memory, staged->scales, grids * sizeof(*m->scales)),
        .zeros = span_slice(s->memory, staged->zeros, grids),
        .g_idx = span_slice(s->memory, staged->g_idx, m->n * sizeof(*m->g_idx)),
    };
    if (m->d)
        view.d = span_slice(s->memory, staged->d, units_bytes(m->rows, m->n));
    if (m->dmin)
        view.dmin = span_slice(s->memory, staged->dmin, units_bytes(m->rows, m->n));
    r = s->b->ops->unpack(s->b, view.codes,
                          span_slice(s->memory, staged->words, quantized_matrix_bytes(m)), m->wbits,
                          1, m->rows, m->n);
    return r ? r : s->b->ops->dequantize(s->b, dst, &view, m->n_groups, 1, m->rows, m->n);
}

void staged_codes_done(struct staged_codes *s) {
    if (!s->b)
        return;
    task_finish(&s->task);
    s->b->ops->stage_wait(s->b);
    drop(s);
}
