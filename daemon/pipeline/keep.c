// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/keep.h"

#include "daemon/model/packing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void keeper_take(const struct run *run, struct arena *arena, struct keeper *ret_keeper) {
    size_t size = 0;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(&run->checkpoint->config, i, &shape);
        size += group_size(&shape) * run->params->wbits / 8;
    }
    ret_keeper->used = 0;
    arena_take(arena, &ret_keeper->packed, 1, 1, size);
}

/* The scales, zeros and g_idx of a group, on the host. */
struct host_grids {
    uint16_t *scales; /* [G, n_groups, rows] */
    uint8_t *zeros;   /* [G, n_groups, rows] */
    int32_t *g_idx;   /* [G, n]; stays in the shard */
};

/* The rows of one part, out of [n_groups, rows of the stack], to [n_groups, rows of the part]. */
static void cut_rows(void *dst, const void *src, const struct problem *problem,
                     const struct group_part *part, size_t element) {
    for (int group = 0; group < problem->n_groups; group++)
        memcpy((char *)dst + (size_t)group * part->rows * element,
               (const char *)src + ((size_t)group * problem->shape.rows + part->row) * element,
               part->rows * element);
}

static int add_matrix(const struct run *run, const struct problem *problem, struct shard *shard,
                      const char *name, int g, int p, const void *qweight,
                      const struct host_grids *host) {
    const struct group_shape *shape = &problem->shape;
    const struct group_part *part = &shape->parts[p];
    size_t first = (size_t)g * problem->n_groups * shape->rows, n_grids;
    int wbits = problem->grid.wbits, words = part->rows * wbits / 32, n_groups = problem->n_groups;
    cleanup(freep) uint8_t *zeros = NULL;
    char full[MATRIX_NAME_SIZE + 16];
    uint16_t *scales;
    uint32_t *qzeros;
    int r;

    n_grids = (size_t)n_groups * part->rows;
    zeros = malloc(n_grids);
    scales = shard_block(shard, n_grids * sizeof(*scales));
    qzeros = shard_block(shard, (size_t)n_groups * words * sizeof(*qzeros));
    if (!zeros || !scales || !qzeros)
        return -ENOMEM;
    cut_rows(scales, host->scales + first, problem, part, sizeof(*scales));
    cut_rows(zeros, host->zeros + first, problem, part, 1);
    qzeros_pack(qzeros, zeros, n_groups, part->rows, wbits, run->quantization.v2);

    snprintf(full, sizeof(full), "%s.qweight", name);
    r = shard_add(shard, full, DTYPE_I32, (uint64_t)shape->n * wbits / 32, part->rows, qweight);
    snprintf(full, sizeof(full), "%s.qzeros", name);
    if (!r)
        r = shard_add(shard, full, DTYPE_I32, n_groups, words, qzeros);
    snprintf(full, sizeof(full), "%s.scales", name);
    if (!r)
        r = shard_add(shard, full, DTYPE_F16, n_groups, part->rows, scales);
    snprintf(full, sizeof(full), "%s.g_idx", name);
    if (!r)
        r = shard_add(shard, full, DTYPE_I32, shape->n, 0, host->g_idx + (size_t)g * shape->n);
    return r;
}

/* The caller frees scales and zeros, also on failure. */
static int download_grids(const struct problem *problem, struct shard *shard,
                          struct host_grids *host) {
    const struct quantized *q = &problem->q;
    struct backend *b = problem->b;
    int r;

    host->scales = malloc(q->scales.size);
    host->zeros = malloc(q->zeros.size);
    host->g_idx = shard_block(shard, q->g_idx.size);
    if (!host->scales || !host->zeros || !host->g_idx)
        return failure_oom(problem->failure);
    r = b->ops->download(b, host->scales, q->scales);
    if (!r)
        r = b->ops->download(b, host->zeros, q->zeros);
    if (!r)
        r = b->ops->download(b, host->g_idx, q->g_idx);
    return r;
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

int keep_group(struct keeper *keeper, struct run *run, int layer, const struct problem *problem,
               struct shard *shard) {
    const struct group_shape *shape = &problem->shape;
    size_t size = group_size(shape) * problem->grid.wbits / 8, offset = 0;
    struct span packed = span_slice(keeper->packed, keeper->used, size);
    unsigned char *words = shard_block(shard, size);
    cleanup(freep) uint16_t *scales = NULL;
    cleanup(freep) uint8_t *zeros = NULL;
    struct host_grids host = {};
    int r;

    if (!words)
        return failure_oom(run->failure);
    r = pack_parts(problem, packed);
    if (r)
        return r;
    keeper->used += size;
    r = run->b->ops->fetch(run->b, words, packed);
    if (!r)
        r = download_grids(problem, shard, &host);
    scales = host.scales;
    zeros = host.zeros;

    for (int g = 0; g < shape->G && !r; g++) {
        for (int p = 0; p < shape->n_parts && !r; p++) {
            char name[MATRIX_NAME_SIZE];

            group_matrix_name(shape, layer, g, p, name);
            r = add_matrix(run, problem, shard, name, g, p, words + offset, &host);
            offset += packed_size(problem, p);
        }
    }
    return r;
}
