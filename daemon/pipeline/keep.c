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
    uint16_t *d;      /* [G, n / GRID_SUPER, rows], of a K grid */
    uint16_t *dmin;   /* likewise, unless it is symmetric */
};

static void host_grids_done(struct host_grids *host) {
    free(host->scales);
    free(host->zeros);
    free(host->g_idx);
    free(host->d);
    free(host->dmin);
}

/* All of @src; NULL when it is empty, or *r says why. */
static void *download(const struct problem *problem, struct span src, int *r) {
    void *dst = src.size > 0 && !*r ? malloc(src.size) : NULL;

    if (src.size == 0 || *r)
        return NULL;
    *r = dst ? problem->b->ops->download(problem->b, dst, src) : failure_oom(problem->failure);
    return dst;
}

static int download_grids(const struct problem *problem, struct host_grids *host) {
    const struct quantized *q = &problem->q;
    int r = 0;

    host->scales = download(problem, q->scales, &r);
    host->zeros = download(problem, q->zeros, &r);
    host->g_idx = download(problem, q->g_idx, &r);
    host->d = download(problem, q->d, &r);
    host->dmin = download(problem, q->dmin, &r);
    return r;
}

/*
 * The rows of part @part of stack @g, out of @src [G, n, rows of the stack], as [n, rows of the
 * part]; NULL when there is no @src, or no memory: *oom says so.
 */
static void *cut_rows(const void *src, const struct problem *problem, const struct group_part *part,
                      int g, int n, size_t element, bool *oom) {
    size_t size = part->rows * element, stack = problem->shape.rows * element;
    const char *from = (const char *)src + (size_t)g * n * stack + part->row * element;
    char *dst = src ? malloc(n * size) : NULL;

    *oom |= src && !dst;
    for (int i = 0; i < n && dst; i++)
        memcpy(dst + i * size, from + i * stack, size);
    return dst;
}

/* Part @p of stack @g, whose codes are or will be at @words. */
static int add_matrix(const struct problem *problem, struct layer_codes *layer, int number, int g,
                      int p, const void *words, const struct host_grids *host) {
    const struct group_shape *shape = &problem->shape;
    const struct group_part *part = &shape->parts[p];
    size_t columns = shape->n * sizeof(int32_t);
    int n_groups = problem->n_groups, n_supers = shape->n / GRID_SUPER;
    bool oom = false;
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
    codes->scales = cut_rows(host->scales, problem, part, g, n_groups, sizeof(uint16_t), &oom);
    codes->zeros = cut_rows(host->zeros, problem, part, g, n_groups, 1, &oom);
    codes->d = cut_rows(host->d, problem, part, g, n_supers, sizeof(uint16_t), &oom);
    codes->dmin = cut_rows(host->dmin, problem, part, g, n_supers, sizeof(uint16_t), &oom);
    codes->g_idx = malloc(columns);
    if (oom || !codes->g_idx) {
        quantized_matrix_done(codes);
        return failure_oom(problem->failure);
    }
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
