// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/keep.h"

#include "daemon/model/arch/scheme.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void keeper_take(const struct run *run, struct arena *arena, struct keeper *ret_keeper) {
    /* A plan of bits may ask for any. */
    int most = run->params->target_bits > 0 ? 8 : quantization_most_bits(&run->quantization);
    size_t size = 0;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(&run->checkpoint->config, i, &shape);
        size += group_size(&shape) * most / 8;
    }
    ret_keeper->used = 0;
    arena_take(arena, &ret_keeper->packed, 1, 1, size);
}

/* The scales, zeros and g_idx of a group, on the host. */
struct host_grids {
    uint16_t *scales; /* [G, n_groups, rows] */
    uint8_t *zeros;   /* [G, n_groups, rows] */
    int32_t *g_idx;   /* [G, n] */
};

static void host_grids_done(struct host_grids *host) {
    free(host->scales);
    free(host->zeros);
    free(host->g_idx);
}

static int download_grids(const struct problem *problem, struct host_grids *host) {
    const struct quantized *q = &problem->q;
    struct backend *b = problem->b;
    int r;

    host->scales = malloc(q->scales.size);
    host->zeros = malloc(q->zeros.size);
    host->g_idx = malloc(q->g_idx.size);
    if (!host->scales || !host->zeros || !host->g_idx)
        return failure_oom(problem->failure);
    r = b->ops->download(b, host->scales, q->scales);
    if (!r)
        r = b->ops->download(b, host->zeros, q->zeros);
    if (!r)
        r = b->ops->download(b, host->g_idx, q->g_idx);
    return r;
}

/* The rows of one part, out of [n_groups, rows of the stack], to [n_groups, rows of the part]. */
static void cut_rows(void *dst, const void *src, const struct problem *problem,
                     const struct group_part *part, size_t element) {
    for (int group = 0; group < problem->n_groups; group++)
        memcpy((char *)dst + (size_t)group * part->rows * element,
               (const char *)src + ((size_t)group * problem->shape.rows + part->row) * element,
               part->rows * element);
}

/* Part @p of stack @g, whose codes are or will be at @words. */
static int add_matrix(const struct problem *problem, struct layer_codes *layer, int number, int g,
                      int p, const void *words, const struct host_grids *host) {
    const struct group_shape *shape = &problem->shape;
    const struct group_part *part = &shape->parts[p];
    size_t n = (size_t)problem->n_groups * part->rows, columns = shape->n * sizeof(int32_t);
    size_t first = (size_t)g * problem->n_groups * shape->rows;
    struct matrix_codes matrix = {
        .sym = problem->grid.sym,
        .codes = {.wbits = problem->grid.wbits,
                  .rows = part->rows,
                  .n = shape->n,
                  .n_groups = problem->n_groups,
                  .words = words},
    };
    struct quantized_matrix *codes = &matrix.codes;

    group_matrix_name(shape, number, g, p, matrix.name);
    codes->scales = malloc(n * sizeof(*codes->scales));
    codes->zeros = malloc(n);
    codes->g_idx = malloc(columns);
    if (!codes->scales || !codes->zeros || !codes->g_idx) {
        quantized_matrix_done(codes);
        return failure_oom(problem->failure);
    }
    cut_rows(codes->scales, host->scales + first, problem, part, sizeof(*codes->scales));
    cut_rows(codes->zeros, host->zeros + first, problem, part, 1);
    memcpy(codes->g_idx, host->g_idx + (size_t)g * shape->n, columns);
    return layer_codes_add(layer, &matrix) ? failure_oom(problem->failure) : 0;
}

/* Bytes of the packed codes of part @p of a stack. */
static size_t packed_size(const struct problem *problem, int p) {
    return (size_t)problem->shape.parts[p].rows * problem->shape.n * problem->grid.wbits / 8;
}

/* Packs the codes of every part into @packed, one after the other. */
static int pack_parts(const struct problem *problem, struct span packed) {
    const struct group_shape *shape = &problem->shape;
    struct backend *b = problem->b;
    size_t offset = 0;

    for (int g = 0; g < shape->G; g++) {
        for (int p = 0; p < shape->n_parts; p++) {
            const struct group_part *part = &shape->parts[p];
            size_t size = packed_size(problem, p), n = (size_t)part->rows * shape->n;
            size_t first = g * group_stack_size(shape) + (size_t)part->row * shape->n;
            int r = b->ops->pack(b, span_slice(packed, offset, size),
                                 span_slice(problem->q.codes, first, n), problem->grid.wbits, 1,
                                 part->rows, shape->n);

            if (r)
                return r;
            offset += size;
        }
    }
    return 0;
}

int keep_group(struct keeper *keeper, int number, const struct problem *problem,
               struct layer_codes *layer) {
    const struct group_shape *shape = &problem->shape;
    size_t size = group_size(shape) * problem->grid.wbits / 8, offset = 0;
    struct span packed = span_slice(keeper->packed, keeper->used, size);
    unsigned char *words = shard_block(&layer->plain, size);
    cleanup(host_grids_done) struct host_grids host = {};
    int r;

    if (!words)
        return failure_oom(problem->failure);
    r = pack_parts(problem, packed);
    if (r)
        return r;
    keeper->used += size;
    r = problem->b->ops->fetch(problem->b, words, packed);
    if (!r)
        r = download_grids(problem, &host);
    for (int g = 0; g < shape->G && !r; g++) {
        for (int p = 0; p < shape->n_parts && !r; p++) {
            r = add_matrix(problem, layer, number, g, p, words + offset, &host);
            offset += packed_size(problem, p);
        }
    }
    return r;
}
