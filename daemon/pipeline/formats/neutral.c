// SPDX-License-Identifier: Apache-2.0
/*
 * The format of layers in work/, and of the codes that a job keeps, when the format that was asked
 * for does not hold them. It is no row of the table: no other software reads it. A lossless
 * format's own layers lie in work/ instead, and are linked into the checkpoint: so the 3.9 GB of a
 * 7 B model at 4 bits are written once and not twice, as the disk bounds the whole job.
 */
#include "daemon/model/readers/neutral.h"
#include "daemon/pipeline/formats/dynamic.h"
#include "daemon/pipeline/formats/format.h"

#include <errno.h>
#include <stdio.h>

static int check(const struct quantization_config *q, const struct model_config *config,
                 struct failure *failure) {
    (void)q, (void)config, (void)failure;
    return 0;
}

static int add_matrix(const struct format_context *c, const struct matrix_codes *matrix,
                      struct shard *shard) {
    const struct quantized_matrix *m = &matrix->codes;
    char name[MATRIX_NAME_SIZE + 16];
    int r;

    (void)c;
    snprintf(name, sizeof(name), "%s.codes", matrix->name);
    r = shard_add(shard, name, DTYPE_I32, (uint64_t)m->n * m->wbits / 32, m->rows, m->words);
    snprintf(name, sizeof(name), "%s.scales", matrix->name);
    if (!r)
        r = shard_add(shard, name, DTYPE_F16, m->n_groups, m->rows, m->scales);
    snprintf(name, sizeof(name), "%s.zeros", matrix->name);
    if (!r)
        r = shard_add(shard, name, DTYPE_U8, m->n_groups, m->rows, m->zeros);
    snprintf(name, sizeof(name), "%s.g_idx", matrix->name);
    if (!r)
        r = shard_add(shard, name, DTYPE_I32, m->n, 0, m->g_idx);
    snprintf(name, sizeof(name), "%s.d", matrix->name);
    if (!r && m->d)
        r = shard_add(shard, name, DTYPE_F16, m->n / GRID_SUPER, m->rows, m->d);
    snprintf(name, sizeof(name), "%s.dmin", matrix->name);
    if (!r && m->dmin)
        r = shard_add(shard, name, DTYPE_F16, m->n / GRID_SUPER, m->rows, m->dmin);
    return r;
}

static int add_layer(const struct format_context *c, const struct layer_codes *layer,
                     struct shard *shard) {
    return format_add_layer(c, layer, add_matrix, shard);
}

static int describe(const struct format_context *c, json_t *meta, json_t *config) {
    const struct quantization_config *q = c->q;
    json_t *value =
        json_pack("{s:s s:i s:i s:b s:b s:O}", "quant_method", NEUTRAL_METHOD, "bits", q->wbits,
                  "group_size", q->groupsize, "sym", q->sym, "desc_act", q->desc_act, "meta", meta);

    if (value && q->sub_bits)
        json_object_set_new(value, NEUTRAL_SUB_BITS, json_integer(q->sub_bits));
    if (q->schemes && json_object_set_new(value, "dynamic", dynamic_rules(c->config, q))) {
        json_decref(value);
        return failure_oom(c->failure);
    }
    return json_object_set_new(config, "quantization_config", value) ? failure_oom(c->failure) : 0;
}

static struct code_bits bits_of(const struct quantization_config *q) {
    return (struct code_bits){.grid = 8 + 16, .column = 32, .super = q->sub_bits ? 2 * 16 : 0};
}

static double bits_per_weight(const struct model_config *config,
                              const struct quantization_config *q) {
    return codes_bits_per_weight(config, q, bits_of);
}

const struct format_ops format_neutral = {
    .name = "neutral",
    .title = "codes, scales, zeros and order as quantd keeps them",
    .holds = {.wbits = 1u << 2 | 1u << 3 | 1u << 4 | 1u << 8,
              .sym = true,
              .asym = true,
              .k_grids = true,
              .unordered = true},
    .reader = &reader_neutral,
    .check = check,
    .add_layer = add_layer,
    .add_plain = format_copy_plain,
    .describe = describe,
    .bits_per_weight = bits_per_weight,
};
